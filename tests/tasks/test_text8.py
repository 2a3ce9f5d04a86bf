import random
import struct
import zlib

import pytest

from harness.errors import DataError
from tasks.text8 import Text8

TEXT = "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz ", k=20_000))


def _broken_zip(text: str, *, method: int = 8, kept: float = 0.9) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    deflated = packer.compress(text.encode()) + packer.flush()
    header = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 2, method, 0, 0, 0, len(deflated), len(text), 5, 3)
    return header + b"text8" + b"xyz" + deflated[: int(kept * len(deflated))]


@pytest.fixture
def task(write_sources, monkeypatch: pytest.MonkeyPatch) -> Text8:
    write_sources("text8", {"prefix": ("text8.gz", _broken_zip(TEXT))})
    monkeypatch.setattr(Text8, "cuts", (6_000, 8_010))
    return Text8(window=100)


def test_prefix_of_a_broken_archive_in_windows(task: Text8) -> None:
    data = task.load("ucg")
    assert [example.target for example in data.valid] == [TEXT[start : start + 100] for start in range(6_000, 8_000, 100)]
    assert data.test[1].target == TEXT[8_110:8_210]
    assert 90 <= len(data.test) <= 101
    train = sorted((*data.train, *data.judge), key=lambda example: int(example.id.rpartition("/")[2]))
    assert "".join(example.target for example in train) == TEXT[:6_000]
    assert (data.tokenizer, data.max_tokens) == ("characters", 101)


@pytest.mark.parametrize("content", [b"\x1f\x8b not a zip", _broken_zip(TEXT, method=0)])
def test_refuses_other_archives(content: bytes, write_sources) -> None:
    write_sources("text8", {"prefix": ("text8.gz", content)})
    with pytest.raises(DataError, match=r"text8/prefix begins with .* expected a deflated zip member"):
        Text8().load("ucg")


def test_refuses_an_empty_window() -> None:
    with pytest.raises(ValueError, match="window is 0 characters"):
        Text8(window=0)
