"""MRPC: sentences of news that say the same (Dolan and Brockett 2005, aclanthology.org/I05-5002)."""

from typing import ClassVar

from harness.contracts import Example, Family
from harness.errors import DataError
from tasks.corpus import Corpus, Splits
from tasks.fetch import lines_of


class MRPC(Corpus):
    """Say a sentence in other words (T2T).

    Only the pairs that people judged to be paraphrases: 2,753 to train, of which validation is cut by hash, and 1,147 to
    test. Source is the first sentence of the pair, target the second, as in the file. The other direction is not added:
    folds go by target, so the two directions of one pair would fall into different folds. The published splits overlap: 66
    test targets also occur in train.
    """

    name: ClassVar[str] = "mrpc"
    families: ClassVar[tuple[Family, ...]] = ("t2t",)

    def metrics(self, family: Family) -> tuple[str, ...]:
        """Also what a rewriting adds, keeps and deletes."""
        return (*super().metrics(family), "sari")

    def read(self, family: Family) -> Splits:
        """Read the two files of tab-separated pairs."""
        return Splits(train=self._read("train"), valid=None, test=self._read("test"))

    def _read(self, split: str) -> tuple[Example, ...]:
        source = self.source(split)
        header, *rows = (line.split("\t") for line in lines_of(source))
        wrong = next((number for number, row in enumerate(rows, start=2) if len(row) != len(header)), None)
        if header != ["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"] or wrong is not None:
            place = f"line {wrong or 1}"
            raise DataError(f"{source.name}: {place} has not the five columns of the corpus. Compare it with {source.address}.")
        return self.pairs(split, [(first, second) for quality, _, _, first, second in rows if quality == "1"])
