import json

import pytest
import sacrebleu
from typer.testing import CliRunner

from harness.cli import app
from harness.errors import GridError, OutputsError, UnknownName
from harness.outputs.scoring import score

WORDS = ["small", "big", "red", "blue", "shy", "new", "odd", "sly"]
TEXTS = [f"the {word} dog sees a cat near the old house" + " of a friend" * place for place, word in enumerate(WORDS)]
REFERENCES = [[text.replace("cat", "bird"), text.replace("near", "behind")] for text in TEXTS]

OWN = """
from harness.errors import MeasurementRefused
from harness.measurement import Measurement


class Nothing:
    name, version, families, needs = "nothing", 1, ("ucg",), ()
    values = dict.fromkeys("abc")

    def __call__(self, evaluation):
        found = {"a": float("nan"), "b": None, "c": 1.0}
        return {name: Measurement(value=value, n=8, signature="s", low=float("-inf"), high=2.0) for name, value in found.items()}


class Refusing(Nothing):
    name, values = "refusing", {"d": None}

    def __call__(self, evaluation):
        raise MeasurementRefused("no language is known")
"""


@pytest.fixture
def write(tmp_path):
    def write(name, lines):
        path = tmp_path / name
        path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return path

    return write


@pytest.fixture
def outputs(write):
    return write("outputs.jsonl", [{"text": text} for text in TEXTS])


@pytest.fixture
def references(write):
    return write("references.jsonl", [{"references": accepted} for accepted in REFERENCES])


def test_values_are_those_of_sacrebleu(outputs, references):
    found = score(outputs, references, ["bleu", "chrf"])
    columns = [list(column) for column in zip(*REFERENCES, strict=True)]
    assert found["bleu"].value == sacrebleu.corpus_bleu(TEXTS, columns, force=True).score
    assert found["chrf"].value == sacrebleu.corpus_chrf(TEXTS, columns).score
    assert found["bleu"].signature.startswith("nrefs:2|")
    assert found["bleu"].n == len(TEXTS)
    assert found["bleu"].low < found["bleu"].value < found["bleu"].high


def test_ids_pair_whatever_the_order(write, outputs, references):
    shuffled = write("shuffled.jsonl", [{"id": n, "text": text} for n, text in reversed(list(enumerate(TEXTS)))])
    named = write("named.jsonl", [{"id": str(n), "references": accepted} for n, accepted in enumerate(REFERENCES)])
    assert score(shuffled, named, ["bleu"])["bleu"].value == score(outputs, references, ["bleu"])["bleu"].value


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "is empty; expected one JSON object per line"),
        (["{\n"], r":1: not valid JSON"),
        ([{"text": "a"}, [1]], r":2: a JSON list; expected an object"),
        ([{"output": "a"}], r":1: there is no `text`; expected a string. Keys of this line: output"),
        ([{"text": None}], r":1: `text` is None; expected a string"),
        (['{"text": "a", "text": "b"}\n'], r":1: not valid JSON: key 'text' stands twice in one object"),
        (["[" * 100_000 + "\n"], r":1: not valid JSON: maximum recursion depth"),
        (['{"text": "\\ud800"}\n'], r":1: `text` is no Unicode text: .*surrogates not allowed"),
        ([{"text": ["x" * 1000]}], r"`text` is \['x{190,200}\.\.\.; expected a string"),
        ([{"text": 1}], r"`text` is 1; expected a string"),
        ([{"text": "a", "id": 1.5}], r"`id` is 1.5; expected a string or a whole number"),
        ([{"text": "a", "id": "x"}, {"text": "b"}], r":2: no id, but other lines have one"),
        ([{"text": "a", "id": 1}, {"text": "b", "id": "1"}], r":2: id '1' stands on line 1 already"),
        ([{"text": "a"}], r"1 outputs for 8 references; without ids their lines must correspond"),
        ([{"text": "a", "id": 7}], r"the outputs have ids and the references have none"),
    ],
)
def test_what_is_wrong_with_outputs_is_said(write, references, lines, message):
    with pytest.raises(OutputsError, match=message):
        score(write("bad.jsonl", lines), references)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([{"reference": "a"}], r":1: there is no `references`; expected a list of one or more strings"),
        ([{"references": None}], r":1: `references` is None; expected a list of one or more strings"),
        ([{"references": ["", " "]}], r":1: `references` is \['', ' '\]; expected a word in one of them at least"),
        ([{"references": ["\ud800"]}], r":1: `references` is no Unicode text"),
        ([{"references": []}], r"`references` is \[\]"),
        ([{"references": "a"}], r"`references` is 'a'"),
        ([{"references": ["a"], "source": 3}], r"`source` is 3; expected a string"),
        ([{"references": ["a"], "id": n} for n in range(8)], r"the references have ids and the outputs have none"),
    ],
)
def test_what_is_wrong_with_references_is_said(write, outputs, lines, message):
    with pytest.raises(OutputsError, match=message):
        score(outputs, write("bad.jsonl", lines))


def test_ids_without_a_partner_are_named(write):
    outputs = write("o.jsonl", [{"text": "a", "id": name} for name in "abcde"])
    references = write("r.jsonl", [{"references": ["a"], "id": name} for name in "ab"])
    with pytest.raises(OutputsError, match=r"3 of the outputs are not among the references: c, d, e\. Ids must be the same"):
        score(outputs, references)
    with pytest.raises(OutputsError, match=r"3 of the references are not among the outputs: c, d, e\."):
        score(write("few.jsonl", [{"text": "a", "id": name} for name in "ab"]), write("m.jsonl", [
            {"references": ["a"], "id": name} for name in "abcde"
        ]))  # fmt: skip


def test_files_that_are_not_there_or_no_text_are_refused(tmp_path, outputs):
    with pytest.raises(OutputsError, match=r"missing.jsonl: cannot be read as UTF-8 text"):
        score(tmp_path / "missing.jsonl", None, ["diversity"])
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(OutputsError, match="cannot be read as UTF-8 text"):
        score(tmp_path / "binary.jsonl", None, ["diversity"])


def test_metrics_that_need_more_are_refused_before_files_are_read(tmp_path):
    missing = tmp_path / "missing"
    with pytest.raises(UnknownName, match=r"unknown metric 'blue'\. Did you mean 'bleu'"):
        score(missing, missing, ["blue"])
    with pytest.raises(OutputsError, match=r"mauve needs the judge of a task: use `harness import`.*bleu, chrf"):
        score(missing, missing, ["mauve"])
    for name, wanted in (
        ("e2e-slots", "E2E attributes"), ("world", "likelihood and the grammar"), ("memorisation", "training split"),
    ):  # fmt: skip
        with pytest.raises(OutputsError, match=f"metric {name} needs the {wanted} of a task: use `harness import`") as refused:
            score(missing, missing, [name])
        assert name not in str(refused.value).partition("alone: ")[2]
    with pytest.raises(OutputsError, match=r"bleu compares with references: give a file of them with --references"):
        score(missing, None, ["bleu"])


def test_what_is_no_metric_is_refused(tmp_path, outputs, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text("class Half:\n    name, version, families = 'half', 1, ('ucg',)\n")
    with pytest.raises(GridError, match=r"own.py:Half .*lacks needs, values; see harness/measurement.py"):
        score(outputs, None, ["own.py:Half"])
    with pytest.raises(GridError, match="no file"):
        score(outputs, None, ["missing.py:Half"])


def test_what_a_metric_of_ones_own_cannot_say_is_a_reason(tmp_path, outputs, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN)
    found = score(outputs, None, ["own.py:Nothing", "own.py:Refusing"])
    assert {name: (value.value, value.reason) for name, value in found.items()} == {
        "a": (None, "metric nothing gave nan"), "b": (None, "metric nothing gave neither a value nor a reason"),
        "c": (1.0, None), "d": (None, "no language is known"),
    }  # fmt: skip
    assert (found["c"].low, found["c"].flags) == (None, ("no interval: its ends are not finite",))


def test_texts_are_not_cut_before_their_words_are_counted(write):
    words = ["small", "big", "red", "blue", "shy", "new", "odd", "sly"]
    texts = [f"the {words[n % 8]} dog {words[n // 8 % 8]} sees {words[n // 64]} cats" for n in range(512)]
    outputs = write("many.jsonl", [{"text": text} for text in texts])
    other = [text.replace("dog", "bird") for text in texts]
    for wanted, least, most in ((texts, 0.0, 0.0), (other, 0.05, 0.5)):
        references = write("wanted.jsonl", [{"references": [text]} for text in wanted])
        found = score(outputs, references, ["ngram-divergence"])
        assert all(least <= found[f"jsd_{order}"].value <= most for order in (1, 2, 3))
    assert score(outputs, None, ["ngram-divergence"])["jsd_1"].reason == "all references are empty"


def test_metrics_of_texts_alone_need_no_references(outputs):
    found = score(outputs, None, ["self-bleu"])
    assert found["self_bleu"].value > 50


def test_metrics_of_sources_take_them_from_the_references_or_refuse(write, outputs, references):
    sourced = write("sourced.jsonl", [
        {"references": accepted, "source": text if place % 2 else accepted[0]}
        for place, (text, accepted) in enumerate(zip(TEXTS, REFERENCES, strict=True))
    ])  # fmt: skip
    found = score(outputs, sourced, ["rouge", "sari", "copying"])
    assert found["exact_copy_rate"].value == 0.5
    assert 0 < found["sari"].value < 100
    assert 0.8 < found["rouge_1"].value < 1
    bare = score(outputs, references, ["rouge", "sari", "copying"])
    assert bare["rouge_1"].value == found["rouge_1"].value
    for name in ("sari", "copy_bleu", "ibleu", "exact_copy_rate"):
        assert bare[name].value is None
        assert bare[name].reason == "8 of 8 items have no source (in a file of references: the key `source`)"


def test_metrics_of_attributes_and_encoders_say_what_they_lack(outputs, references, monkeypatch):
    monkeypatch.delenv("HARNESS_BERTSCORE", raising=False)
    found = score(outputs, references, ["bertscore"])
    assert "set HARNESS_BERTSCORE to a folder" in found["bertscore_f1"].reason
    with pytest.raises(OutputsError, match="rouge compares with references"):
        score(outputs, None, ["rouge"])


def test_empty_texts_count_and_are_said(write, references):
    found = score(write("empty.jsonl", [{"text": ""}] * 8), references, ["bleu", "chrf"])
    assert found["bleu"].value == 0
    assert "8 empty texts" in found["bleu"].flags
    assert found["bleu"].low is None


def test_line_separators_within_a_text_end_no_line(write, references):
    lines = [json.dumps({"text": f"{text}\u2028 more"}, ensure_ascii=False) + "\n" for text in TEXTS]
    assert score(write("separators.jsonl", lines), references, ["chrf"])["chrf"].n == 8


def test_the_command_prints_json_and_text(outputs, references):
    command = ["score", str(outputs), "--references", str(references)]
    answer = CliRunner().invoke(app, [*command, "--metrics", "bleu, chrf", "--json"])
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.output)
    assert set(found) == {"bleu", "chrf", "chrf++"}
    assert set(found["bleu"]) == {"value", "low", "high", "n", "signature", "flags", "reason"}
    answer = CliRunner().invoke(app, command)
    assert "length_ratio" in answer.output
    assert "eos_rate: no value: 8 texts came without a finish reason" in answer.output
