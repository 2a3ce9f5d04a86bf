"""A pretrained model from a folder as judge: small random ones, saved as `transformers` saves them."""

import json

import numpy as np
import pytest
import torch
from random_bert import saved_bert
from safetensors.torch import load_file, save_file

from baselines.local_judge import LocalJudge, windows
from harness.contracts import Budget, Example, FitContext, Sampling, TaskView
from harness.errors import GridError, MeasurementRefused, ModelError
from harness.grid import load
from harness.pretrained import digest_of_folder
from harness.runner.execute import run
from harness.runner.plan import make_plan
from harness.runner.pool import InProcessPool
from harness.tokenizer import Tokenizer
from harness.tracking.records import Store, rows

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

WORDS = ["the", "old", "cat", "dog", "sees", "a", "red", "house", ",", "."]
SPECIAL = ["<s>", "</s>", "<unk>"]
VIEW = TaskView(name="t", family="ucg", tokenizer=Tokenizer.train("words", ["a"]), max_tokens=4)
TEXTS = ["the cat sees a dog", "", "dog", " ".join(WORDS * 3), "a strange word"]
CONTEXT = 12


def tokenizer():
    backend = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: index for index, word in enumerate([*SPECIAL, *WORDS])}, unk_token="<unk>")
    )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>", model_max_length=CONTEXT
    )


@pytest.fixture(scope="module")
def causal(tmp_path_factory):
    place = tmp_path_factory.mktemp("gpt2")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=len(SPECIAL) + len(WORDS), n_positions=CONTEXT, n_embd=8, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=1,
        initializer_range=0.5,
    )  # fmt: skip
    transformers.GPT2LMHeadModel(config).save_pretrained(place, safe_serialization=True)
    tokenizer().save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return saved_bert(tmp_path_factory.mktemp("bert"), WORDS, positions=CONTEXT)


def read(place, tmp_path, **keys):
    model = LocalJudge(None, VIEW, weights=str(place), sha256=digest_of_folder(place), **keys)
    model.fit([], [], Budget(tokens=0), FitContext(seed=0))
    model.save(tmp_path / "saved")
    return LocalJudge.load(tmp_path / "saved", "cpu")


def log_probabilities(place, ids):
    model = transformers.GPT2LMHeadModel.from_pretrained(place).eval()
    with torch.no_grad():
        return torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), -1)


def test_texts_are_scored_from_bos_to_eos_in_the_model_s_own_tokens(causal, tmp_path):
    found = read(causal, tmp_path).likelihood_of_texts(TEXTS)
    for index in (0, 1, 2, 4):
        ids = [0, *tokenizer()(TEXTS[index])["input_ids"], 1]
        logs = log_probabilities(causal, ids[:-1])
        assert found.nats[index] == pytest.approx(
            -sum(logs[place, token].item() for place, token in enumerate(ids[1:])), rel=1e-5
        )
        assert found.tokens[index] == len(ids) - 1
    assert (found.kind, found.bytes[:3]) == ("exact", (18, 0, 3))


def test_long_texts_are_scored_in_windows_that_leave_half_a_context(causal, tmp_path):
    ids = [0, *tokenizer()(TEXTS[3])["input_ids"], 1]
    expected = 0.0
    for place in range(1, len(ids)):
        start = 0 if place < CONTEXT else (place - CONTEXT) // (CONTEXT // 2) * (CONTEXT // 2) + CONTEXT // 2
        logs = log_probabilities(causal, ids[start:place])
        assert place - start >= min(place, CONTEXT // 2)
        expected -= logs[-1, ids[place]].item()
    found = read(causal, tmp_path).likelihood_of_texts(TEXTS)
    assert (found.nats[3], found.tokens[3]) == (pytest.approx(expected, rel=1e-5), len(ids) - 1)


@pytest.mark.parametrize("length", [0, 1, 2, 8, 9, 12, 13, 40])
def test_windows_score_every_token_but_the_first_once(length):
    ids, seen = list(range(length)), []
    for tokens, first in windows(ids, 8):
        assert len(tokens) <= 8
        seen += tokens[first:]
    assert seen == ids[1:]


def test_without_bos_the_first_token_and_the_end_stay_unscored(causal, tmp_path):
    found = read(causal, tmp_path).likelihood_after_first(TEXTS)
    ids = tokenizer()(TEXTS[0])["input_ids"]
    logs = log_probabilities(causal, ids[:-1])
    assert found.nats[0] == pytest.approx(-sum(logs[place, token].item() for place, token in enumerate(ids[1:])), rel=1e-5)
    assert found.tokens == (4, 0, 0, 29, 2)


def test_features_of_a_causal_model_are_its_last_token_s(causal, tmp_path):
    judge, plain = read(causal, tmp_path), transformers.GPT2LMHeadModel.from_pretrained(causal).eval()
    found = judge.features(TEXTS)
    assert (found.shape, found.dtype) == ((5, 8), np.float32)
    for index, ids in ((0, tokenizer()(TEXTS[0])["input_ids"]), (1, [1]), (3, tokenizer()(TEXTS[3])["input_ids"][:CONTEXT])):
        with torch.no_grad():
            states = plain(torch.tensor([ids]), output_hidden_states=True).hidden_states
        np.testing.assert_allclose(found[index], states[-1][0, -1], atol=1e-5)
        np.testing.assert_allclose(read(causal, tmp_path, layer=1).features(TEXTS)[index], states[1][0, -1], atol=1e-5)
    assert judge.signature != read(causal, tmp_path, layer=1).signature


def test_an_encoder_gives_features_and_no_likelihood(encoder, tmp_path):
    judge, plain = read(encoder, tmp_path), transformers.BertModel.from_pretrained(encoder).eval()
    cut = transformers.BertTokenizerFast.from_pretrained(encoder)
    found = judge.features(TEXTS)
    for index in (0, 1, 4):
        with torch.no_grad():
            states = plain(**cut(TEXTS[index], return_tensors="pt")).last_hidden_state[0]
        np.testing.assert_allclose(found[index], states.mean(0), atol=1e-5)
    with pytest.raises(MeasurementRefused, match="is an encoder: it gives features and no likelihood"):
        judge.likelihood_of_texts(TEXTS)
    assert judge.likelihood([Example(id="0", target="a")]) is None
    with pytest.raises(ModelError, match="name it as the `judge` of a grid"):
        judge.generate([], Sampling())


def test_what_is_wrong_with_a_folder_is_said(causal, encoder, tmp_path, monkeypatch):
    digest = digest_of_folder(causal)
    with pytest.raises(ValueError, match="no weights; say `weights: FOLDER`"):
        LocalJudge.design_for()
    with pytest.raises(ValueError, match=f"expected none was given; say `sha256: {digest}`"):
        LocalJudge.design_for(weights=str(causal))
    with pytest.raises(ValueError, match="is no folder; give an absolute path"):
        LocalJudge.design_for(weights=str(tmp_path / "none"))
    with pytest.raises(ValueError, match="nor a name in the local cache of the hub"):
        LocalJudge.design_for(weights="nobody/nothing-of-this-name")
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"no \*.safetensors lies in .*pickled; pickled weights are not read"):
        LocalJudge.design_for(weights=str(tmp_path / "pickled"))
    with pytest.raises(ValueError, match=r"layer 3: .* has layers 1 to 2"):
        read(encoder, tmp_path, layer=3)
    monkeypatch.setattr("harness.pretrained.find_spec", lambda name: None)
    with pytest.raises(ModelError, match="pip install transformers"):
        read(causal, tmp_path)


def copied(place, folder, **configuration):
    folder.mkdir()
    for path in place.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **configuration}))
    return folder


def without_a_layer(tensors):
    return {key: tensor for key, tensor in tensors.items() if ".1." not in key}


def not_finite(tensors):
    return {key: tensor + float("nan") for key, tensor in tensors.items()}


def of_other_names(tensors):
    return {f"other.{key}": tensor for key, tensor in tensors.items()}


@pytest.mark.parametrize(
    ("change", "said"),
    [(without_a_layer, "lacks"), (not_finite, "numbers that are not finite"), (of_other_names, "lacks")],
)
@pytest.mark.parametrize("kind", ["causal", "encoder"])
def test_a_judge_with_random_or_broken_weights_is_refused_before_anything_is_scored(kind, change, said, tmp_path, request):
    place = copied(request.getfixturevalue(kind), tmp_path / "broken")
    tensors = load_file(place / "model.safetensors")
    save_file({key: value.contiguous() for key, value in change(tensors).items()}, place / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=f"the checkpoint in .* {said}"):
        LocalJudge.design_for(weights=str(place), sha256=digest_of_folder(place))


@pytest.mark.parametrize("kind", ["causal", "encoder"])
def test_a_judge_without_a_tokenizer_or_with_other_weights_named_is_refused(kind, tmp_path, request):
    place = copied(request.getfixturevalue(kind), tmp_path / "bare")
    for path in place.glob("*token*"):
        path.unlink()
    for path in place.glob("vocab.*"):
        path.unlink()
    with pytest.raises(ModelError, match="no tokenizer lies in"):
        LocalJudge.design_for(weights=str(place), sha256=digest_of_folder(place))
    place = copied(request.getfixturevalue(kind), tmp_path / "pickled", transformers_weights="adapter_model.bin")
    with pytest.raises(ModelError, match=r"transformers_weights: 'adapter_model\.bin'; weights are read from model\.safetensors"):
        LocalJudge.design_for(weights=str(place), sha256=digest_of_folder(place))


def test_a_tokenizer_without_bos_is_refused(causal, tmp_path):
    place = tmp_path / "endless"
    place.mkdir()
    for path in causal.iterdir():
        (place / path.name).write_bytes(path.read_bytes())
    bare = tokenizer()
    bare.bos_token = None
    bare.save_pretrained(place)
    with pytest.raises(ValueError, match="has no BOS or no EOS"):
        read(place, tmp_path)


GRID = """
models: [trigram, human]
tasks: [{{name: world, size: tiny, families: [ucg], train: 300, valid: 10, judge: 10, test: 120}}]
budget: {{tokens: {tokens}}}
judge: {{name: "{file}:LocalJudge", weights: {weights}, sha256: {sha256}}}
metrics: [judge-perplexity, sample-perplexity, mmd]
profile: smoke
latency: false
"""


def test_a_grid_names_it_as_its_judge(causal, encoder, tmp_path):
    import baselines.local_judge

    store, found = Store(tmp_path / "runs"), {}
    for name, place, tokens in (("gpt", causal, 1000), ("other-budget", causal, 2000), ("bert", encoder, 1000)):
        path = tmp_path / f"{name}.yaml"
        digest = digest_of_folder(place)
        path.write_text(GRID.format(file=baselines.local_judge.__file__, weights=place, sha256=digest, tokens=tokens))
        with InProcessPool() as pool:
            assert run(make_plan(load(path), store), store, pool).failed == 0
        found[name] = {row.model: row.metrics for row in rows(store, name)}["human"]
    for name in ("judge_ppl", "judge_ppl_median", "judge_ppl_mean_of_samples_bos_0", "mmd"):
        assert found["gpt"][name].value is not None
        assert f"local-judge {digest_of_folder(causal)[:12]} gpt2 context:12" in found["gpt"][name].signature
        assert found["gpt"][name].signature == found["other-budget"][name].signature
        assert found["gpt"][name].value == found["other-budget"][name].value
    assert "is an encoder: it gives features and no likelihood" in found["bert"]["judge_ppl"].reason
    assert "bert context:12 layer:last pool:mean" in found["bert"]["mmd"].signature
    path.write_text(path.read_text().replace(f"sha256: {digest}", "sha256: none"))
    with pytest.raises(GridError, match=f"say `sha256: {digest}`"):
        make_plan(load(path))
