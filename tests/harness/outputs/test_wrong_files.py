"""Wrong files on the command line: one clear message, exit status 2, no traceback, nothing written."""

import json
import subprocess
import sys

import pytest

from harness.cli import main

TEXTS = [{"text": f"the old dog {index} sees a cat"} for index in range(8)]
REFERENCES = [{"references": [f"the old dog {index} hears a cat"]} for index in range(8)]
FILES = {
    "good": TEXTS,
    "references": REFERENCES,
    "not-json": ["hello\n"],
    "list": [TEXTS],
    "other-keys": [{"output": "a"}],
    "number": [{"text": 5}] * 8,
    "null": [{"text": None}] * 8,
    "empty": [],
    "blank-line": [TEXTS[0], "\n", TEXTS[1]],
    "same-ids": [{"id": "a", "text": "x"}, {"id": "a", "text": "y"}],
    "few": TEXTS[:5],
    "half-a-character": ['{"text": "\\ud800"}\n'] * 8,
    "deep": ["[" * 100_000 + "\n"],
    "a-string": [{"references": "the old dog"}] * 8,
    "blank": [{"references": [""]}] * 8,
    "with-ids": [{"id": index, **line} for index, line in enumerate(REFERENCES)],
}


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, lines in FILES.items():
        text = "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
        (tmp_path / f"{name}.jsonl").write_text(text, encoding="utf-8")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    return tmp_path


@pytest.fixture
def said(files, monkeypatch, capsys):
    """Runs a command that must fail; gives its one line of error."""

    def call(*words):
        before = sorted(path.name for path in files.iterdir())
        monkeypatch.setattr(sys, "argv", ["harness", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert (ended.value.code, printed.out) == (2, "")
        assert printed.err.startswith("error: ")
        assert printed.err.count("\n") == 1
        assert len(printed.err) < 700
        assert sorted(path.name for path in files.iterdir()) == before
        return printed.err

    return call


WRONG_OUTPUTS = {
    "missing": "cannot be read", "binary": "cannot be read as UTF-8", "not-json": ":1: not valid JSON", "list": "a JSON list",
    "other-keys": "there is no `text`", "number": "`text` is 5", "null": "`text` is None", "empty": "is empty",
    "blank-line": ":2: not valid JSON", "same-ids": "id 'a' stands on line 1 already", "half-a-character": "no Unicode text",
    "deep": "not valid JSON",
}  # fmt: skip


@pytest.mark.parametrize("name", [*WRONG_OUTPUTS, "few"])
def test_wrong_outputs_are_not_scored(said, name):
    expected = WRONG_OUTPUTS.get(name, "5 outputs for 8 references; without ids their lines must correspond")
    assert expected in said("score", f"{name}.jsonl", "--references", "references.jsonl", "--metrics", "bleu", "--json")


@pytest.mark.parametrize("name", [*WRONG_OUTPUTS, "few"])
def test_wrong_outputs_are_not_imported(said, name):
    expected = WRONG_OUTPUTS.get(name, "5 outputs for 16 test items; without ids their lines must correspond")
    command = ("--model", "x", "--task", "world", "--family", "ucg", "--profile", "test")
    assert expected in said("import", f"{name}.jsonl", *command)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("missing", "cannot be read"), ("a-string", "`references` is 'the old dog'; expected a list"), ("empty", "is empty"),
        ("blank", "expected a word in one of them at least"), ("good", "there is no `references`"), ("deep", "not valid JSON"),
        ("with-ids", "the references have ids and the outputs have none"),
    ],
)  # fmt: skip
def test_wrong_references_are_refused(said, name, expected):
    assert expected in said("score", "good.jsonl", "--references", f"{name}.jsonl", "--metrics", "bleu")


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ("blue", "unknown metric 'blue'. Did you mean 'bleu'"), ("world", "needs the likelihood and the grammar of a task"),
        ("e2e-slots", "needs the E2E attributes of a task"), ("mauve", "needs the judge of a task"),
        ("bleu,memorisation", "needs the training split of a task"), (" ,", "--metrics names none"), ("own.py:X", "no file"),
    ],
)  # fmt: skip
def test_metrics_that_cannot_be_are_refused(said, metrics, expected):
    assert expected in said("score", "good.jsonl", "--references", "references.jsonl", "--metrics", metrics)


def test_a_fresh_process_prints_no_traceback(files):
    program = "from harness.cli import main; main()"
    command = [sys.executable, "-c", program, "score", "deep.jsonl", "--metrics", "self-bleu"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=files)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: deep.jsonl:1: not valid JSON")
