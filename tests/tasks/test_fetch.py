import gzip
import http.server
import io
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pooch
import pytest

from harness.errors import DataError, UnknownName
from tasks import fetch

TEXT = "one\u2028still one\ntwo\r\nthree\n".encode()


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def host(tmp_path: Path) -> Iterator[str]:
    """A server on this machine that offers what `write_sources` wrote."""
    (tmp_path / "data").mkdir(exist_ok=True)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=str(tmp_path / "data"))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder instead of the user's."""
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    return tmp_path / "cache" / "text-diffusion-harness"


@pytest.fixture
def source(write_sources) -> fetch.Source:
    write_sources("demo", {"train": ("folder/train.txt", TEXT)})
    return fetch.sources_of("demo")[0]


def test_source_speaks_of_itself(source: fetch.Source) -> None:
    assert (source.name, source.task, source.licence, source.bytes) == ("demo/train", "demo", "made up", len(TEXT))
    assert source.address == "https://raw.githubusercontent.com/owner/repository/c0ffee/folder/train.txt"
    assert source.present()
    assert source.fetch().read_bytes() == TEXT


def test_a_relative_folder_stays_where_it_was_when_first_used(source: fetch.Source, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HARNESS_DATA", "data")
    monkeypatch.chdir(tmp_path)
    assert source.present()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert source.present()
    assert subprocess.check_output(["sh", "-c", "echo $HARNESS_DATA"], text=True).strip() == str(tmp_path / "data")


def test_lines_end_at_newline_only(source: fetch.Source) -> None:
    assert fetch.lines_of(source) == ["one\u2028still one", "two", "three"]


def test_archives_are_unpacked(write_sources) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("inner/train.txt", TEXT)
    zipped = ("a.zip", buffer.getvalue())
    write_sources("demo", {"zip": zipped, "gz": ("a.gz", gzip.compress(b"\xef\xbb\xbf" + TEXT))}, member="inner/train.txt")
    assert [fetch.text_of(source) for source in fetch.sources_of("demo")] == [TEXT.decode()] * 2


def test_missing_file_under_the_data_folder(source: fetch.Source) -> None:
    fetch.location_of(source).unlink()
    assert not source.present()
    with pytest.raises(
        DataError, match=rf"demo/train: .*train.txt is missing: expected sha256 {source.sha256}, found no file.*HARNESS"
    ):
        source.fetch()


def test_corrupt_file_under_the_data_folder(source: fetch.Source) -> None:
    fetch.location_of(source).write_bytes(TEXT[:-1])
    found = fetch.checksum_of(fetch.location_of(source))
    assert not source.present()
    with pytest.raises(DataError, match=rf"corrupt.*expected sha256 {source.sha256}, found {found}.*harness data fetch demo"):
        source.fetch()


def test_download_into_the_cache_once(source: fetch.Source, host: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = fetch.location_of(source)
    monkeypatch.delenv("HARNESS_DATA")
    assert not source.present()
    with pytest.raises(DataError, match=r"missing.*harness data fetch demo"):
        fetch.verified(source)
    assert fetch.fetch_all("demo", host=host) == (cache / source.place,)
    assert (cache / source.place).read_bytes() == TEXT
    original.unlink()
    assert source.fetch(host=host) == cache / source.place


def test_damaged_cache_is_replaced(source: fetch.Source, host: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARNESS_DATA")
    source.fetch(host=host).write_bytes(b"damaged")
    assert not source.present()
    assert source.fetch(host=host).read_bytes() == TEXT


def test_download_of_another_file_is_refused(
    source: fetch.Source, host: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch.location_of(source).write_bytes(b"another")
    found = fetch.checksum_of(fetch.location_of(source))
    monkeypatch.delenv("HARNESS_DATA")
    with pytest.raises(DataError, match=rf"not the pinned file: expected sha256 {source.sha256}, found {found}"):
        source.fetch(host=host)
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_address_without_the_file(source: fetch.Source, host: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch.location_of(source).unlink()
    monkeypatch.delenv("HARNESS_DATA")
    with pytest.raises(DataError, match=r"could not be downloaded.*404.*HARNESS_DATA"):
        source.fetch(host=host)


def test_unknown_data_set_names_the_near_one(source: fetch.Source) -> None:
    with pytest.raises(UnknownName, match=r"unknown data set 'demos'\. Did you mean 'demo'"):
        fetch.fetch_all("demos")


def test_shipped_catalogue_is_well_formed() -> None:
    sources = fetch.list_sources()
    assert len({source.name for source in sources}) == len({source.place for source in sources}) == len(sources) == 22
    assert {source.task for source in sources} == {"e2e", "wikitext2", "rocstories", "text8", "multi30k", "mrpc"}
    for source in sources:
        assert len(bytes.fromhex(source.sha256)) == 32
        assert len(bytes.fromhex(source.commit)) == 20
        assert source.bytes > 0
        assert source.licence
        assert (source.member is not None) == source.path.endswith(".zip")
