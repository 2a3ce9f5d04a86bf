"""WikiText-2: Wikipedia articles (Merity et al. 2016, arXiv:1609.07843), in windows of words."""

import re
from typing import ClassVar

from harness.contracts import Family
from tasks.corpus import Corpus, Splits
from tasks.fetch import lines_of

_HEADING = re.compile(r" (= )+.*( =)+ ")


class WikiText2(Corpus):
    """Write a stretch of an article (UCG).

    Every paragraph (a line that is neither blank nor a ` = Heading = `) is split at spaces and cut into consecutive windows
    of `window` words; no window crosses a paragraph. What is left at its end is a shorter example if it has at least a
    quarter of a window, and is left out otherwise, since such fragments are hardly text: with 64 words, 2 % of the
    words. The text keeps the source's tokenisation (`@-@`, `<unk>`). Not comparable with published word-level
    perplexities, which run over the whole stream with headings and line ends.
    """

    name: ClassVar[str] = "wikitext2"
    families: ClassVar[tuple[Family, ...]] = ("ucg",)

    def __init__(self, *, window: int = 64, limit: int | None = None) -> None:
        """Take the parameters; no data is read.

        Args:
            window: longest example in words.
            limit: most training examples that contestants get; see `Corpus`.

        Raises:
            ValueError: window or limit below 1.
        """
        super().__init__(limit=limit)
        if window < 1:
            raise ValueError(f"wikitext2: window is {window} words; expected at least 1")
        self.window = window

    def parameters(self) -> dict[str, int | None]:
        """The window, beside the limit."""
        return {**super().parameters(), "window": self.window}

    def read(self, family: Family) -> Splits:
        """Cut the three files into windows."""
        train, valid, test = (
            self.texts(split, windows_of(lines_of(self.source(split)), self.window)) for split in ("train", "valid", "test")
        )
        return Splits(train=train, valid=valid, test=test)


def windows_of(lines: list[str], window: int) -> list[str]:
    """Consecutive windows of words within each paragraph, ends shorter than a quarter of a window left out.

    Args:
        lines: lines of a file, blank ones and headings among them.
        window: longest window in words.
    """
    paragraphs = [line.split() for line in lines if line.strip() and not _HEADING.fullmatch(line)]
    windows = (words[start : start + window] for words in paragraphs for start in range(0, len(words), window))
    return [" ".join(words) for words in windows if 4 * len(words) >= window]
