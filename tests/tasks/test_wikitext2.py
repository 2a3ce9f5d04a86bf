import io
import zipfile

import pytest

from tasks.wikitext2 import WikiText2, windows_of

HEAD = [" ", " = A Title = ", " ", " = = A Section ( 1990 – 1995 ) = = "]


def _paragraph(words: int, prefix: str = "w") -> str:
    return " " + " ".join(f"{prefix}{index}" for index in range(words)) + " "


def _zip(member: str, lines: list[str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, "\n".join(lines) + "\n")
    return buffer.getvalue()


def test_windows_stay_within_a_paragraph() -> None:
    windows = windows_of([*HEAD, _paragraph(10, "a"), " ", _paragraph(4, "b")], 4)
    assert windows == ["a0 a1 a2 a3", "a4 a5 a6 a7", "a8 a9", "b0 b1 b2 b3"]


def test_ends_below_a_quarter_of_a_window_are_left_out() -> None:
    assert [len(text.split()) for text in windows_of([_paragraph(64 + 15), _paragraph(64 + 16), _paragraph(3)], 64)] == [
        64,
        64,
        16,
    ]


def test_an_equals_sign_does_not_make_a_heading() -> None:
    assert windows_of([" = a b is not a heading "], 4) == ["= a b is", "not a heading"]


def test_reads_the_three_archives(write_sources) -> None:
    lines = [*HEAD, _paragraph(130), " "]
    content = {split: _zip("wiki.tokens", lines) for split in ("train", "valid", "test")}
    write_sources("wikitext2", {split: (f"{split}.zip", value) for split, value in content.items()}, member="wiki.tokens")
    data = WikiText2().load("ucg")
    assert [len(example.target.split()) for example in data.test] == [64, 64]
    assert [example.id for example in data.valid] == ["wikitext2/valid/0", "wikitext2/valid/1"]
    assert len(data.train) + len(data.judge) == 2
    assert len(WikiText2(window=10).load("ucg").test) == 13


def test_refuses_an_empty_window() -> None:
    with pytest.raises(ValueError, match="window is 0 words"):
        WikiText2(window=0)
