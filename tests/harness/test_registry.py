import importlib.util
import pickle

import pytest

from harness import registry
from harness.errors import GridError
from harness.registry import resolve
from harness.report.matrix import as_table, listing

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


@pytest.fixture
def twice(tmp_path, monkeypatch):
    """A package that registers a name of ours, and one of its own."""
    folder = tmp_path / "stranger-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[harness.models]\ntrigram = own:Renamed\nstrange = json:JSONEncoder\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry._entries.cache_clear()
    yield
    registry._entries.cache_clear()


@pytest.mark.usefixtures("twice")
def test_a_name_of_two_packages_is_refused_when_it_is_asked_for():
    with pytest.raises(GridError, match="model 'trigram' is registered more than once: by ") as refused:
        resolve("models", "trigram")
    assert "stranger 1.0 (own:Renamed)" in str(refused.value)
    assert "(baselines.floors.trigram:Trigram)" in str(refused.value)
    assert "rename the entry point of one, or uninstall one" in str(refused.value)


@pytest.mark.usefixtures("twice")
def test_a_name_of_two_packages_that_nobody_asks_for_breaks_nothing():
    assert resolve("models", "unigram").reference == "baselines.floors.unigram:Unigram"
    assert resolve("models", "strange").origin == "stranger 1.0"
    entries = listing("models")
    assert [entry["registered"] for entry in entries if "registered more than once" in entry.get("error", "")] == ["trigram"]
    assert "- trigram cannot be used: GridError: model 'trigram' is registered more than once" in as_table("models", entries)
