import math

import numpy as np
import pytest
from random_bert import saved_bert

from harness.grid import load
from harness.metrics.aggregates import AGGREGATES, statistics
from harness.metrics.bertscore import FOLDER, BertScore, Encoder, matched
from harness.runner.plan import make_plan

WORDS = [
    "the",
    "a",
    "old",
    "new",
    "cat",
    "dog",
    "bird",
    "sees",
    "hears",
    "follows",
    "red",
    "blue",
    ",",
    ".",
    "house",
    "very",
    "often",
]
VALUES = ("bertscore_p", "bertscore_r", "bertscore_f1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An encoder that knows a few words and pieces."""
    return saved_bert(tmp_path_factory.mktemp("bert"), [*WORDS, "ri", "##ver", "##s"], positions=12)


@pytest.fixture
def named(folder, monkeypatch):
    monkeypatch.setenv(FOLDER, str(folder))
    return folder


@pytest.fixture
def short(make_sentences):
    def made(n, seed):
        return [" ".join(text.split()[:8]) for text in make_sentences(n, seed)]

    return made


def embedded(folder, text, layer):
    """Hidden states of the words of one text alone."""
    import torch
    from transformers import BertModel, BertTokenizerFast

    tokenizer, model = BertTokenizerFast.from_pretrained(folder), BertModel.from_pretrained(folder).eval()
    with torch.no_grad():
        states = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states[layer]
    return states[0, 1:-1].double().tolist()


def cosine(one, other):
    return sum(x * y for x, y in zip(one, other, strict=True)) / math.sqrt(sum(x * x for x in one) * sum(y * y for y in other))


def naive(text, reference):
    precision = sum(max(cosine(word, other) for other in reference) for word in text) / len(text)
    recall = sum(max(cosine(word, other) for word in text) for other in reference) / len(reference)
    return precision, recall, 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize(("suffix", "layer"), [("", 2), ("@1", 1)])
def test_scores_are_the_loop_over_pairs_of_tokens(folder, monkeypatch, make_evaluation, short, suffix, layer):
    monkeypatch.setenv(FOLDER, f"{folder}{suffix}")
    texts, pool = short(6, 1), short(12, 2)
    references = [pool[2 * i : 2 * i + 1 + i % 2] for i in range(6)]
    found = BertScore()(make_evaluation(texts, references=references, family="t2t"))
    for index, (text, accepted) in enumerate(zip(texts, references, strict=True)):
        sides = [naive(embedded(folder, text, layer), embedded(folder, reference, layer)) for reference in accepted]
        best = max(sides, key=lambda row: row[2])
        assert [found[name].items[index] for name in VALUES] == pytest.approx(best, abs=1e-5)
    assert f"|layer:{layer}|content:" in found["bertscore_r"].signature


@pytest.mark.usefixtures("named")
def test_values_intervals_and_items(make_evaluation, short):
    found = BertScore()(make_evaluation(["", *short(29, 1)], references=[[text] for text in short(30, 2)], family="a2t"))
    for name in VALUES:
        assert found[name].low < found[name].value < found[name].high
        assert found[name].items[0] == 0
        assert found[name].flags == ("1 empty text",)
        rows = statistics(found[name].items, found[name].aggregate)
        assert AGGREGATES[found[name].aggregate](rows.sum(0)[None]) == pytest.approx([found[name].value])


@pytest.mark.usefixtures("named")
def test_the_same_text_is_1_and_what_is_too_long_is_told(make_evaluation, short):
    texts = [*short(6, 1), " ".join(WORDS)]
    found = BertScore()(make_evaluation(texts, references=[[text] for text in texts], family="t2t"))
    assert all(found[name].value == pytest.approx(1) for name in VALUES)
    assert "1 texts cut to 12 tokens" in found["bertscore_f1"].flags


def test_the_signature_follows_the_weights(named):
    from safetensors.numpy import load_file, save_file

    before = Encoder.named().signature
    weights = load_file(named / "model.safetensors")
    original = (named / "model.safetensors").read_bytes()
    name = sorted(weights)[0]
    save_file({**weights, name: weights[name] + 1}, named / "model.safetensors", metadata={"format": "pt"})
    after = Encoder.named().signature
    (named / "model.safetensors").write_bytes(original)
    assert before != after
    assert before == Encoder.named().signature


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "no encoder: set HARNESS_BERTSCORE to a folder with config.json"),
        ("/nowhere/at/all", "HARNESS_BERTSCORE is '/nowhere/at/all', and no *.safetensors lies in '/nowhere/at/all'"),
        ("{folder}@3", "HARNESS_BERTSCORE names layer 3, and the encoder has 2"),
    ],
)
def test_no_encoder_is_a_refusal_that_says_what_to_do(folder, monkeypatch, make_evaluation, value, reason):
    monkeypatch.delenv(FOLDER, raising=False)
    if value is not None:
        monkeypatch.setenv(FOLDER, value.format(folder=folder))
    for found in BertScore()(make_evaluation(["a"], references=[["a"]], family="t2t")).values():
        assert found.value is None
        assert reason in found.reason


@pytest.mark.usefixtures("named")
def test_without_transformers_it_says_so(monkeypatch, make_evaluation):
    monkeypatch.setattr("harness.pretrained.find_spec", lambda name: None)
    found = BertScore()(make_evaluation(["a"], references=[["a"]], family="t2t"))["bertscore_f1"]
    assert "the package transformers is not installed; pip install transformers" in found.reason
    assert BertScore()(make_evaluation([], references=[], family="t2t"))["bertscore_f1"].reason == "no items"


def test_an_encoder_without_its_layers_or_its_tokenizer_is_no_encoder(folder, tmp_path, monkeypatch, make_evaluation):
    from safetensors.numpy import load_file, save_file

    monkeypatch.setenv(FOLDER, str(tmp_path))
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    whole = load_file(tmp_path / "model.safetensors")
    kept = {key: value for key, value in whole.items() if ".layer.1." not in key}
    save_file(kept, tmp_path / "model.safetensors", {"format": "pt"})
    reasons = [BertScore()(make_evaluation(["a"], references=[["a"]], family="t2t"))["bertscore_f1"].reason]
    save_file(whole, tmp_path / "model.safetensors", {"format": "pt"})
    depended = BertScore.depends_on()
    for path in [*tmp_path.glob("*token*"), *tmp_path.glob("vocab.*")]:
        path.unlink()
    reasons += [BertScore()(make_evaluation(["a"], references=[["a"]], family="t2t"))["bertscore_f1"].reason]
    assert [word in reason for word, reason in zip(("lacks", "no tokenizer lies in"), reasons, strict=True)] == [True, True]
    assert BertScore.depends_on() != depended  # the tokenizer is in the key of a score


def test_opposite_vectors_have_no_f1():
    one = np.array([[1.0, 0.0]])
    assert matched(one, np.array([[0.0, 1.0]])) == (0.0, 0.0, 0.0)
    assert matched(one, np.zeros((0, 2))) == (0.0, 0.0, 0.0)
    assert matched(one, np.array([[0.6, 0.8], [0.0, 1.0]])) == pytest.approx((0.6, 0.3, 0.4))


def test_the_encoder_is_in_the_key_of_a_score(folder, tmp_path, monkeypatch):
    monkeypatch.delenv(FOLDER, raising=False)
    path = tmp_path / "grid.yaml"
    path.write_text(
        "models: [copy-source]\ntasks: [{name: world, size: tiny, families: [t2t]}]\nmetrics: [bertscore, chrf]\n"
        "budget: {tokens: 0}\nprofile: test\n"
    )
    plans = [make_plan(load(path))]
    for given in (f"{folder}", f"{folder}@1"):
        monkeypatch.setenv(FOLDER, given)
        plans.append(make_plan(load(path)))
    scores = [
        {stage.key: stage.spec["depends_on"] for stage in plan.stages.values() if stage.spec.get("metric") == "bertscore"}
        for plan in plans
    ]
    assert len({key for found in scores for key in found}) == 3
    assert [next(iter(found.values()))["encoder"] is None for found in scores] == [True, False, False]
    assert len({key for plan in plans for key in plan.stages}) == len(plans[0].stages) + 2
