import importlib.util
import pickle

import pytest

from harness.errors import GridError
from harness.registry import resolve

MODULE = "from dataclasses import dataclass\n\n\n@dataclass\nclass Said:\n    text: str = '{}'\n"


def test_an_edited_file_is_another_plug_in_in_the_same_session(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(MODULE.format("one"))
    first = resolve("models", "own.py:Said", tmp_path)
    assert first.load()().text == "one"
    file.write_text(MODULE.format("two"))
    second = resolve("models", "own.py:Said", tmp_path)
    assert second.load()().text == "two"
    assert first.origin != second.origin
    assert first.load()().text == "one", "what was named by the first digest"


def test_digest_and_text_are_of_one_read(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(MODULE.format("one"))
    target = resolve("models", "own.py:Said", tmp_path)
    file.write_text(MODULE.format("two"))
    assert target.load()().text == "one"
    assert pickle.loads(pickle.dumps(target)) == target


def test_one_content_is_imported_once(tmp_path):
    (tmp_path / "own.py").write_text(MODULE.format("one"))
    loaded = [resolve("models", "own.py:Said", tmp_path).load() for _ in range(2)]
    assert loaded[0] is loaded[1]
    assert importlib.util.find_spec(loaded[0].__module__) is not None


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "own.py").write_bytes(b"\xff\xfe")
    with pytest.raises(GridError, match=r"own\.py is not UTF-8"):
        resolve("models", "own.py:Said", tmp_path)


def test_a_failing_file_is_tried_again(tmp_path):
    (tmp_path / "own.py").write_text("raise RuntimeError('no')")
    for _ in range(2):
        with pytest.raises(GridError, match="RuntimeError: no"):
            resolve("models", "own.py:Said", tmp_path).load()


def test_a_file_that_ends_the_process_is_named(tmp_path):
    (tmp_path / "own.py").write_text("import sys\nsys.exit(3)")
    with pytest.raises(GridError, match=r"own.py:Said: importing .*own.py failed: SystemExit: 3"):
        resolve("models", "own.py:Said", tmp_path).load()
