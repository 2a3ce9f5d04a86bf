"""Multi30k: captions of photographs in English and German (Elliott et al. 2016, arXiv:1605.00459)."""

from typing import ClassVar

from harness.contracts import Example, Family
from harness.errors import DataError
from tasks.corpus import Corpus, Splits
from tasks.fetch import lines_of


class Multi30k(Corpus):
    """Translate a caption from English to German (T2T).

    29,000 pairs to train, 1,014 to validate, 1,000 to test (2016 Flickr); raw text, white space at the ends removed.
    """

    name: ClassVar[str] = "multi30k"
    families: ClassVar[tuple[Family, ...]] = ("t2t",)

    def read(self, family: Family) -> Splits:
        """Read the parallel files."""
        return Splits(train=self._read("train"), valid=self._read("valid"), test=self._read("test"))

    def _read(self, split: str) -> tuple[Example, ...]:
        english, german = (lines_of(self.source(f"{split}.{language}")) for language in ("en", "de"))
        if len(english) != len(german):
            raise DataError(f"multi30k/{split}: {len(english)} English and {len(german)} German lines; expected as many")
        return self.pairs(split, [(source.strip(), target.strip()) for source, target in zip(english, german, strict=True)])
