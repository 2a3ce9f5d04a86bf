import numpy as np

from tasks.world.cache import cache_folder, cached_tables
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


def test_damaged_tables_are_compiled_again(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    grammar = Language(SIZES["tiny"]).first
    path = cache_folder() / f"{digest_of(grammar)}.npz"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no tables")
    assert compiled(grammar, 16).states > 100
    assert "compiling again" in caplog.text
    assert path.stat().st_size > 1000


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
