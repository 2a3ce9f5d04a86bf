"""The two sides of a comparison of text distributions, and a third: samples, references, and other human texts in their place.

All are cut to the task's length, as targets are, so that no side holds what the other cannot. Samples and references stand in
the order of their ids.
"""

import hashlib
import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from harness.contracts import TaskView
from harness.measurement import Evaluation
from harness.metrics.answers import checked_texts, clusters

LEAST, UNFLAGGED, RANKED = 500, 1000, 2000
"""Texts per side below which a comparison that small samples bias is refused, flagged, and not ranked."""
_LEAST_TOLD = 0.01  # share of training texts that are references, from which on a reader is told


@dataclass(frozen=True, kw_only=True, slots=True)
class Sides:
    """As many samples as references, cut to the task's length.

    Attributes:
        ids: of the examples, in order.
        samples, references: one text of each for every id.
        median: median length in tokens of the side with the shorter texts.
    """

    ids: tuple[str, ...]
    samples: tuple[str, ...]
    references: tuple[str, ...]
    median: float


@dataclass(frozen=True, kw_only=True, slots=True)
class HumanTexts:
    """Human texts in the place of samples: what they score against the references is the ceiling of a perfect model.

    Attributes:
        texts: training texts of the contestants, cut to the task's length.
        digest: start of the sha256 of ids and texts.
        flags: what a reader must know.
    """

    texts: tuple[str, ...]
    digest: str
    flags: tuple[str, ...]


def sides(evaluation: Evaluation) -> Sides:
    """Samples and references.

    Args:
        evaluation: with at least one example.

    Raises:
        ValueError: not one text per example, or something that is no text.
    """
    texts, examples = checked_texts(evaluation), evaluation.examples
    order = sorted(range(len(texts)), key=lambda index: examples[index].id)
    samples, written = cut([texts[index] for index in order], evaluation.view)
    references, wanted = cut([examples[index].target for index in order], evaluation.view)
    ids = tuple(examples[index].id for index in order)
    return Sides(ids=ids, samples=tuple(samples), references=tuple(references), median=min(written, wanted))


def why_not_compared(evaluation: Evaluation, *, least: int, otherwise: str) -> str | None:
    """Why samples and references are not compared as distributions; `None` where nothing speaks against it.

    Args:
        evaluation: what was generated, and for what.
        least: fewest texts per side.
        otherwise: what fewer would lead to.
    """
    n = len(evaluation.texts)
    if n < least:
        return f"n = {n} is below {least}: {otherwise}"
    if len(set(clusters(evaluation))) < n:
        return "references repeat: as many distinct references as samples are needed"
    return None


def size_flags(n: int) -> tuple[str, ...]:
    """Flags of a comparison that small samples bias."""
    small = (f"flagged: n below {UNFLAGGED}",) if n < UNFLAGGED else ()
    return (*small, f"not ranked: n below {RANKED}") if n < RANKED else small


def biased_flags(n: int, ceiling: str) -> tuple[str, ...]:
    """The same for a distance, which small samples make larger, with the name of the ceiling to read it beside."""
    return (*size_flags(n), f"biased upward: n below {RANKED}, read it beside {ceiling}") if n < RANKED else ()


def other_human_texts(evaluation: Evaluation) -> HumanTexts | str:
    """As many training texts as there are references, none of them a reference, or why there are none.

    The sha256 of their ids chooses, so that all models are held against the same ceiling.
    """
    n, references = len(evaluation.examples), {example.target for example in evaluation.examples}
    others = [example for example in evaluation.train if example.target not in references]
    if len(others) < n:
        return f"{len(others)} training texts are not among the references: a human ceiling needs {n}"
    chosen = heapq.nsmallest(n, others, key=lambda example: hashlib.sha256(f"ceiling/{example.id}".encode()).digest())
    chosen.sort(key=lambda example: example.id)
    texts, _ = cut([example.target for example in chosen], evaluation.view)
    shared = 1 - len(others) / len(evaluation.train)
    flags = (f"ceiling without {shared:.0%} of the training texts: they are references too",) if shared >= _LEAST_TOLD else ()
    return HumanTexts(texts=tuple(texts), digest=digest_of((item.id, item.target) for item in chosen), flags=flags)


def cut(texts: Sequence[str], view: TaskView) -> tuple[list[str], float]:
    """Texts up to the task's length, as targets are cut, and their median length in tokens."""
    encoded, limit = view.tokenizer.encode_batch(texts), view.max_tokens
    kept = [text if len(ids) <= limit else view.tokenizer.decode(ids[:limit]) for text, ids in zip(texts, encoded, strict=True)]
    return kept, float(np.median([min(len(ids), limit) for ids in encoded]))


def references_digest(evaluation: Evaluation) -> str:
    """Start of the sha256 of ids and targets, which must agree before two distances are compared."""
    return digest_of((example.id, example.target) for example in evaluation.examples)


def digest_of(texts: Iterable[tuple[str, str]]) -> str:
    """Start of the sha256 of ids and texts, in whatever order."""
    return hashlib.sha256("\n".join(sorted(f"{name}\t{text}" for name, text in texts)).encode()).hexdigest()[:12]
