"""E2E: restaurant descriptions from attributes (Novikova et al. 2017, arXiv:1706.09254)."""

import csv
import io
import re
from functools import cache
from typing import ClassVar

from harness.contracts import Content, Example, Family
from harness.errors import DataError
from tasks.corpus import Corpus, Splits
from tasks.fetch import Source, text_of

SLOTS = ("name", "eatType", "food", "priceRange", "customer rating", "area", "familyFriendly", "near")
_ATTRIBUTE = re.compile(r"([^,\[\]]+)\[([^\[\]]*)\]")


class E2E(Corpus):
    """Say the attributes (A2T), or write such a description (UCG).

    A2T: the control is `Content` with the attributes of the meaning representation (MR) in the order of `SLOTS`.
    Training and validation have one example per reference (42,061 and 4,672); test has one per MR (630), with all its
    references, the first of them as target. Many references say more or less than their MR.

    UCG: the texts alone; test has all 4,693 references.

    White space, of which a few texts hold runs and line ends, becomes single spaces.
    """

    name: ClassVar[str] = "e2e"
    families: ClassVar[tuple[Family, ...]] = ("a2t", "ucg")

    def metrics(self, family: Family) -> tuple[str, ...]:
        """With attributes, also whether the text says them."""
        return ("e2e-slots", *super().metrics(family)) if family == "a2t" else super().metrics(family)

    def read(self, family: Family) -> Splits:
        """Read the three csv files; see the class for what a test example is."""
        train, valid, test = (rows_of(self.source(split)) for split in ("train", "valid", "test"))
        if family == "ucg":
            return Splits(train=self._texts("train", train), valid=self._texts("valid", valid), test=self._texts("test", test))
        return Splits(train=self._controlled("train", train), valid=self._controlled("valid", valid), test=self._grouped(test))

    def _texts(self, split: str, rows: list[tuple[str, str]]) -> tuple[Example, ...]:
        return self.texts(split, [text for _, text in rows])

    def _controlled(self, split: str, rows: list[tuple[str, str]]) -> tuple[Example, ...]:
        return tuple(
            Example(id=self.example_id(split, index), control=content_of(mr), target=text)
            for index, (mr, text) in enumerate(rows)
        )

    def _grouped(self, rows: list[tuple[str, str]]) -> tuple[Example, ...]:
        references: dict[str, list[str]] = {}
        for mr, text in rows:
            references.setdefault(mr, []).append(text)
        return tuple(
            Example(id=self.example_id("test", index), control=content_of(mr), target=texts[0], references=tuple(texts))
            for index, (mr, texts) in enumerate(references.items())
        )


def rows_of(source: Source) -> list[tuple[str, str]]:
    """(meaning representation, text) of every row of a csv file with the columns mr and ref, in file order.

    Raises:
        DataError: the columns are others.
    """
    header, *rows = csv.reader(io.StringIO(text_of(source), newline="\n"))
    if header != ["mr", "ref"]:
        raise DataError(f"{source.name}: the columns are {header}; expected ['mr', 'ref']. Compare it with {source.address}.")
    return [(mr, " ".join(text.split())) for mr, text in rows]


@cache
def content_of(mr: str) -> Content:
    """The attributes of a meaning representation such as `name[Aromi], area[riverside]`, in the order of `SLOTS`.

    Raises:
        DataError: it is not of that form, or has an unknown slot.
    """
    attributes = [(name.strip(), value) for name, value in _ATTRIBUTE.findall(mr)]
    written = ", ".join(f"{name}[{value}]" for name, value in attributes)
    unknown = [name for name, _ in attributes if name not in SLOTS]
    if written != mr or unknown:
        raise DataError(f"e2e: meaning representation {mr!r}: expected `slot[value], ...` with slots of {', '.join(SLOTS)}")
    return Content(tuple(sorted(attributes, key=lambda attribute: SLOTS.index(attribute[0]))))
