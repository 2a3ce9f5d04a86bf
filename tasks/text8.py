"""text8: Wikipedia as a stream of 27 characters (Mahoney 2006, mattmahoney.net/dc/textdata)."""

import struct
import zlib
from typing import ClassVar, Literal

from harness.contracts import Family
from harness.errors import DataError
from tasks.corpus import Corpus, Splits
from tasks.fetch import Source, path_of


class Text8(Corpus):
    """Write a stretch of text in a-z and spaces (UCG, by characters).

    The source holds the beginning of text8 only: 6,877,825 of its 100 million characters. Train is characters 0-6.4 M,
    validation 6.4-6.6 M, test the rest: NOT the standard splits (90 M, 5 M, 5 M), so bits per character are not
    comparable with published ones. Examples are consecutive windows of `window` characters; what is left at the end of
    a split is left out.
    """

    name: ClassVar[str] = "text8"
    families: ClassVar[tuple[Family, ...]] = ("ucg",)
    tokenizer: ClassVar[Literal["words", "characters", "bpe"]] = "characters"
    cuts: ClassVar[tuple[int, int]] = (6_400_000, 6_600_000)

    def __init__(self, *, window: int = 256, limit: int | None = None) -> None:
        """Take the parameters; no data is read.

        Args:
            window: characters of every example.
            limit: most training examples that contestants get; see `Corpus`.

        Raises:
            ValueError: window or limit below 1.
        """
        super().__init__(limit=limit)
        if window < 1:
            raise ValueError(f"text8: window is {window} characters; expected at least 1")
        self.window = window
        self.max_tokens = window + 1

    def parameters(self) -> dict[str, int | None]:
        """The window, beside the limit."""
        return {**super().parameters(), "window": self.window}

    def read(self, family: Family) -> Splits:
        """Inflate the prefix and cut it."""
        text = prefix_of(self.source("prefix"))
        start, end = self.cuts
        train, valid, test = (
            self.texts(split, windows_of(part, self.window))
            for split, part in (("train", text[:start]), ("valid", text[start:end]), ("test", text[end:]))
        )
        return Splits(train=train, valid=valid, test=test)


def prefix_of(source: Source) -> str:
    """What can be inflated of the first member of a zip archive that breaks off (the file's name says gz; it is a zip).

    Raises:
        DataError: it does not begin with a deflated zip member.
    """
    content = path_of(source).read_bytes()
    if content[:4] != b"PK\x03\x04" or struct.unpack_from("<H", content, 8) != (zlib.DEFLATED,):
        raise DataError(
            f"{source.name} begins with {content[:4]!r}; expected a deflated zip member. Compare with {source.address}."
        )
    name_length, extra_length = struct.unpack_from("<2H", content, 26)
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(content[30 + name_length + extra_length :]).decode("ascii")


def windows_of(text: str, window: int) -> list[str]:
    """Consecutive windows of exactly `window` characters."""
    return [text[start : start + window] for start in range(0, len(text) - window + 1, window)]
