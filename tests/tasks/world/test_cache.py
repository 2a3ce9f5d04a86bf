import numpy as np
import pytest

from tasks.world.cache import cache_folder, cached_tables, cached_texts
from tasks.world.language import Language, compiled, digest_of, reduced
from tasks.world.sizes import SIZES, replace


def refuse():
    raise AssertionError("compiled although the tables are in the cache")


def test_tables_are_compiled_once(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    grammar = Language(SIZES["tiny"]).first
    built = cached_tables("some-digest", lambda: reduced(grammar))
    read = cached_tables("some-digest", refuse)
    assert built[0] == read[0]
    assert all(np.array_equal(built[1][name], read[1][name]) for name in built[1])
    assert [path.name for path in cache_folder().iterdir()] == ["some-digest.npz"]


@pytest.mark.parametrize("content", [b"", b"PK", b"no tables"])
def test_damaged_tables_are_compiled_again(monkeypatch, tmp_path, caplog, content):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    grammar = Language(SIZES["tiny"]).first
    path = cache_folder() / f"{digest_of(grammar)}.npz"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert compiled(grammar, 16).states > 100
    assert "making it again" in caplog.text
    assert path.stat().st_size > 1000


@pytest.mark.parametrize("damage", [None, b"", b'[["tex'])
def test_texts_are_found_once_and_again_when_damaged(monkeypatch, tmp_path, damage):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    rows = [("one \u00e9", "two"), (), ("three",)]
    assert cached_texts("some-digest", lambda: rows) == rows
    if damage is not None:
        (cache_folder() / "some-digest.json").write_bytes(damage)
    assert cached_texts("some-digest", refuse if damage is None else lambda: rows) == rows
    assert cached_texts("some-digest", refuse) == rows


def test_a_folder_that_cannot_be_written_is_no_error(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert compiled(Language(SIZES["tiny"]).first, 16).states > 100


def test_the_digest_follows_the_grammar():
    digests = {
        digest_of(Language(SIZES["tiny"]).first),
        digest_of(Language(SIZES["tiny"]).second),
        digest_of(Language(SIZES["small"]).first),
        digest_of(Language(replace(SIZES["tiny"], relative=0.1)).first),
    }
    assert len(digests) == 4
    assert digest_of(Language(SIZES["tiny"]).first) in digests
