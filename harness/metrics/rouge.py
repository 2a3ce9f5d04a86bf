"""ROUGE: shared words, word pairs and subsequences, as the library rouge-score counts them."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Float

from harness.design import Family
from harness.measurement import Evaluation, Measurement
from harness.metrics.answers import checked_texts, empty_flags, measured, over_items, refusals
from harness.metrics.references import references_of
from harness.stats.intervals import ratio_of_sums

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer

_KINDS = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}


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
        texts, references = checked_texts(evaluation), references_of(evaluation.examples)
        if not texts or isinstance(references, str):
            reason = references if isinstance(references, str) else "no items"
            return refusals(self.values, reason, n=len(texts), signature="rouge")
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
        ValueError: not one list of references per text.
    """
    if len(texts) != len(references):
        raise ValueError(f"{len(texts)} texts and {len(references)} lists of references: expected one list per text")
    scorer = _scorer()
    rows = [scorer.score_multi(list(accepted), text) for text, accepted in zip(texts, references, strict=True)]
    return np.array([[row[kind].fmeasure for kind in _KINDS.values()] for row in rows])


def _scorer() -> "RougeScorer":
    """The library's scorer, which forgets no text that it has cut into words; nltk below it takes a second to import."""
    from rouge_score.rouge_scorer import RougeScorer
    from rouge_score.tokenizers import DefaultTokenizer, Tokenizer

    plain = DefaultTokenizer(use_stemmer=True)

    class Remembering(Tokenizer):
        tokenize = staticmethod(lru_cache(maxsize=2**16)(plain.tokenize))

    return RougeScorer(list(_KINDS.values()), tokenizer=Remembering())


def _count(references: Sequence[Sequence[str]]) -> str:
    counts = {len(accepted) for accepted in references}
    return f"nrefs:{counts.pop() if len(counts) == 1 else 'var'}"


def _foreign(references: Sequence[Sequence[str]]) -> tuple[str, ...]:
    strange = sum(
        any(letter.isalpha() and not letter.isascii() for text in accepted for letter in text) for accepted in references
    )
    return (f"{strange} of {len(references)} items have letters outside a-z, at which words are cut",) if strange else ()
