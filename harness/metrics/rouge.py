"""ROUGE: shared words, word pairs and subsequences, as the library rouge-score counts them."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.metadata import version
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int

from harness.design import Family
from harness.measurement import Evaluation, Measurement
from harness.metrics.answers import empty_flags, measured, over_items, refusals
from harness.metrics.overlaps import Sequences, in_a_row, of_words, overlaps
from harness.metrics.references import texts_and_references
from harness.stats.intervals import ratio_of_sums

_KINDS = ("rouge_1", "rouge_2", "rouge_l")
_ASCII = frozenset(map(chr, range(128)))


class Rouge:
    """Mean F1 of ROUGE-1, ROUGE-2 and ROUGE-L between 0 and 1 (Lin 2004, aclanthology.org/W04-1013), words stemmed after Porter.

    With several references each text takes the one with the highest F1, for each of the three by itself. ROUGE-L is that of
    the whole text, not of its sentences. The library keeps the letters a to z and digits and cuts words at all others, and its
    stemmer is English: a flag says where that matters.
    """

    name: ClassVar[str] = "rouge"
    version: ClassVar[int] = 2
    families: ClassVar[tuple[Family, ...]] = ("a2t", "t2t")
    needs: ClassVar[tuple[str, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ("rouge-score", "nltk")
    values: ClassVar[Mapping[str, bool | None]] = dict.fromkeys(_KINDS, True)
    exposes: ClassVar[Mapping[str, tuple[str, ...]]] = dict.fromkeys(_KINDS, ("empty", "constant"))

    def __call__(self, evaluation: Evaluation) -> Mapping[str, Measurement]:
        """Measure the selected texts against all references."""
        sides = texts_and_references(evaluation)
        if isinstance(sides, str):
            return refusals(self.values, sides, n=len(evaluation.texts), signature="rouge")
        texts, references = sides
        signature = f"{_count(references)}|stem:porter|best:f1|rouge-score:{version('rouge-score')}|nltk:{version('nltk')}"
        flags = (*empty_flags(texts), *_foreign(references))
        found = {}
        for name, items in zip(_KINDS, rouge_scores(texts, references).T, strict=True):
            interval = over_items(evaluation, np.stack([items, np.ones_like(items)], axis=1), ratio_of_sums, name=name)
            found[name] = measured(float(items.mean()), interval, n=len(items), signature=signature, flags=flags, items=items)
        return found


def rouge_scores(texts: Sequence[str], references: Sequence[Sequence[str]]) -> Float[np.ndarray, "n 3"]:
    """F1 of ROUGE-1, ROUGE-2 and ROUGE-L of every text.

    Args:
        texts: what is scored.
        references: all references of every text.

    Raises:
        ValueError: not one list of references per text, or an item without a reference.
    """
    words = _stemmed(in_a_row(texts, references))
    sequences = of_words(words, references)
    found = overlaps(sequences, longest=2)
    shared = np.stack([found.shared[:, 0], found.shared[:, 1], _subsequences(words, sequences, found.shared[:, 0])])
    written, wanted = found.texts[[0, 1, 0]][:, None], np.moveaxis(found.references[:, [0, 1, 0]], 1, 0)
    return np.ascontiguousarray(_f1(shared, written, wanted).max(1, initial=0.0).T)


def _subsequences(words: Sequence[Sequence[str]], sequences: Sequences, like: Int[np.ndarray, "R n"]) -> Int[np.ndarray, "R n"]:
    """Words of the longest common subsequence with every reference."""
    found, text = np.zeros_like(like), words[0] if words else ()
    for row, item, column in zip(words, sequences.items.tolist(), sequences.columns.tolist(), strict=True):
        if column:
            found[column - 1, item] = longest_common(text, row)
        else:
            text = row
    return found


def _f1(shared: Int[np.ndarray, "3 R n"], written: Int[np.ndarray, "3 1 n"], wanted: Int[np.ndarray, "3 R n"]) -> np.ndarray:
    precision, recall = shared / np.maximum(written, 1), shared / np.maximum(wanted, 1)
    return 2 * precision * recall / np.where(shared > 0, precision + recall, 1.0)


def longest_common(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence, all cells of a row of the table in the bits of one integer.

    Hyyrö 2004 ("Bit-parallel LCS-length computation revisited"), algorithm of Crochemore et al. 2001: a bit is 0 where the
    table grows from one column to the next.
    """
    places: dict[str, int] = {}
    for place, word in enumerate(b):
        places[word] = places.get(word, 0) | 1 << place
    whole = flat = (1 << len(b)) - 1
    for word in a:
        if word in places:
            same = flat & places[word]
            flat = (flat + same | flat - same) & whole
    return len(b) - flat.bit_count()


def _stemmed(texts: Sequence[str]) -> list[list[str]]:
    """The library's words, every word stemmed once; nltk below it takes a second to import."""
    from nltk.stem.porter import PorterStemmer
    from rouge_score.tokenize import tokenize

    class Remembering:
        stem = staticmethod(lru_cache(maxsize=2**16)(PorterStemmer().stem))

    return [tokenize(text, Remembering) for text in texts]


def _count(references: Sequence[Sequence[str]]) -> str:
    counts = {len(accepted) for accepted in references}
    return f"nrefs:{counts.pop() if len(counts) == 1 else 'var'}"


def _foreign(references: Sequence[Sequence[str]]) -> tuple[str, ...]:
    strange = sum(any(map(str.isalpha, set("".join(accepted)) - _ASCII)) for accepted in references)
    return (f"{strange} of {len(references)} items have letters outside a-z, at which words are cut",) if strange else ()
