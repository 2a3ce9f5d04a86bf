"""Texts from elsewhere on the leaderboard of a real store, with the generated language as task."""

import json
import shlex

import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.errors import OutputsError
from harness.grid import load
from harness.leaderboard import rows_of
from harness.outputs.imported import Imported, digest_of_file

GRID = """
models: [copy-source, template]
tasks: [{name: world, size: tiny, label: tiny}]
budget: {tokens: 2000}
metrics: [world, bleu, lengths]
profile: test
latency: false
"""


@pytest.fixture
def harness(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "like.yaml").write_text(GRID)

    def call(*words):
        return CliRunner().invoke(app, list(map(str, words)))

    return call


def written(harness, tmp_path, family="t2t", answer=lambda item: item["condition"], keys=("id", "text")):
    """A file of texts for the test items."""
    listed = harness("items", "--task", "tiny", "--family", family, "--like", "like.yaml")
    assert listed.exit_code == 0, listed.output
    items = [json.loads(line) for line in listed.output.splitlines()]
    lines = [{"id": item["id"], "text": answer(item)} for item in items]
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({key: line[key] for key in keys}) + "\n" for line in lines))
    return path


@pytest.mark.parametrize("keys", [("id", "text"), pytest.param(("text",), marks=pytest.mark.slow)])
def test_texts_are_scored_as_those_of_models_are(harness, tmp_path, keys):
    texts = written(harness, tmp_path, keys=keys)
    done = harness("import", texts, "--model", "elsewhere", "--task", "tiny", "--family", "t2t", "--like", "like.yaml")
    assert done.exit_code == 0, (done.output, done.exception)
    printed = next(line for line in done.output.splitlines() if line.startswith("Beside the others: "))
    assert harness("run", "like.yaml", "--pool", "serial").exit_code == 0
    beside = harness(*shlex.split(printed)[4:], "--family", "t2t")
    assert beside.output.count("\n## ") == 0, "one section"
    assert all(f"| {name} " in beside.output for name in ("elsewhere", "copy-source", "template"))
    rows = {row.model: row for row in rows_of("runs") if row.family == "t2t"}
    other, own = rows["elsewhere"], rows["copy-source"]
    assert other.status == "done"
    assert own.metrics["bleu"].value == pytest.approx(other.metrics["bleu"].value)
    assert own.metrics["bleu"].signature == other.metrics["bleu"].signature
    assert other.metrics["eos_rate"].value is None
    assert other.latency == {}
    assert {name: value for name, value in other.cost.items() if value is not None}.keys() == {"score_seconds"}
    assert own.cost["parameters"] == 0
    assert "own_nll_per_token" not in other.metrics
    compared = harness("compare", "elsewhere", "template", "--task", "tiny")
    assert compared.exit_code == 0, compared.output


def test_what_does_not_fit_is_refused_before_anything_is_spent(harness, tmp_path):
    texts = written(harness, tmp_path)
    command = ("import", texts, "--model", "x", "--task", "tiny", "--like", "like.yaml", "--family")
    lines = texts.read_text().splitlines(keepends=True)
    texts.write_text("".join(lines[:-2]))
    refused = harness(*command, "t2t")
    assert isinstance(refused.exception, OutputsError)
    assert "2 of the test items are not among the outputs" in str(refused.exception)
    texts.write_text("".join(json.dumps({"text": "a"}) + "\n" for _ in lines[:-2]))
    assert "outputs for 16 test items; without ids" in str(harness(*command, "t2t").exception)
    assert "families ucg, a2t, t2t: say which" in str(harness(*command[:-1]).exception)
    assert "unknown family 't2'" in str(harness(*command, "t2").exception)
    assert "has 0 tasks 'small'; expected one of tiny" in str(
        harness("import", texts, "--model", "x", "--task", "small", "--like", "like.yaml").exception
    )
    named = [*command, "t2t"]
    named[named.index("x")] = " "
    assert "--model is empty" in str(harness(*named).exception)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["copy-source", "copy-source[width=8]", "trigram", "theirs"])
def test_a_name_that_a_model_has_is_refused(harness, tmp_path, name):
    like = tmp_path / "like.yaml"
    like.write_text(GRID.replace("template]", "{name: template, label: theirs}]"))
    refused = harness("import", "none.jsonl", "--model", name, "--task", "tiny", "--family", "t2t", "--like", "like.yaml")
    assert isinstance(refused.exception, OutputsError)
    assert str(refused.exception).startswith(f"--model {name!r} is ")
    assert str(refused.exception).endswith(f"choose another name, such as {name.partition('[')[0]}-elsewhere.")


def test_another_file_under_the_same_name_is_told_what_keeps_both(harness, tmp_path):
    first = written(harness, tmp_path)
    second = tmp_path / "second.jsonl"
    second.write_text(first.read_text())
    options = ("--model", "elsewhere", "--task", "tiny", "--family", "t2t", "--like", "like.yaml")
    assert "warning" not in harness("import", first, *options).stderr
    assert "To keep both, import one under another --model.\n" in harness("import", second, *options).stderr


def test_an_import_that_failed_is_tried_again_by_the_printed_command(harness, tmp_path):
    texts = written(harness, tmp_path).rename(tmp_path / "the texts.jsonl")
    command = ("import", texts, "--model", "elsewhere", "--task", "tiny", "--family", "t2t", "--like", "like.yaml")
    assert harness(*command).exit_code == 0
    for record in (tmp_path / "runs" / "records").rglob("*.json"):
        record.write_text(record.read_text().replace('"status": "done"', '"status": "failed"'))
        record.rename(record.with_suffix(".fail-1.json"))
    failed = harness(*command)
    assert failed.exit_code == 1
    printed = shlex.split(failed.output.partition("Again: ")[2])
    assert printed == ["harness", *map(str, command), "--retry", "failed"]
    again = harness(*printed[1:])
    assert again.exit_code == 0, (again.output, again.exception)


def test_a_grid_may_name_a_file_of_texts_with_its_checksum(harness, tmp_path):
    texts = written(harness, tmp_path)
    with pytest.raises(OutputsError, match=r"expected none was given; say `sha256: [0-9a-f]{64}`"):
        Imported.design_for(outputs=str(texts))
    with pytest.raises(OutputsError, match="no file of texts"):
        Imported.design_for()
    model = f"{{name: imported, label: theirs, outputs: {texts}, sha256: {digest_of_file(texts)}}}"
    grid = tmp_path / "both.yaml"
    grid.write_text(GRID.replace("[copy-source, template]", f"[copy-source, {model}]").replace("label: tiny", "families: [t2t]"))
    assert [entry.title for entry in load(grid).models] == ["copy-source", "theirs"]
    assert harness("run", grid, "--pool", "serial").exit_code == 0
    assert {row.status for row in rows_of("runs", "both")} == {"done"}
    texts.write_text(texts.read_text() + "\n")
    assert "has sha256" in str(harness("plan", grid).exception)
