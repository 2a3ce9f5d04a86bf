"""Folds by the sha256 of the text, so that the same text always lands in the same fold, in every family and on every machine.

A fifth of the training split belongs to the judge; where a data set has no validation split, a twentieth becomes that.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from harness.contracts import Example

JUDGE_SHARE = 0.20
VALID_SHARE = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Folds:
    """What a training split is divided into.

    Attributes:
        train: for contestants.
        valid: the data set's own validation split, or the fold that takes its place.
        judge: for the judge alone; no target of it occurs in `train`, nor in a `valid` cut from the training split.
    """

    train: tuple[Example, ...]
    valid: tuple[Example, ...]
    judge: tuple[Example, ...]


def place(text: str, *, purpose: str = "") -> float:
    """Where a text lies in [0, 1): the first 53 bits of the sha256 of `purpose` and the text in UTF-8."""
    digest = hashlib.sha256((purpose + text).encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def divide(train: Sequence[Example], *, valid: Sequence[Example] | None = None) -> Folds:
    """Divide a training split by the place of each target: judge below 0.20, then, if it has to be cut, valid below 0.25.

    Args:
        train: the data set's training split.
        valid: its validation split; `None` where it has none.
    """
    limit = JUDGE_SHARE + (VALID_SHARE if valid is None else 0.0)
    placed = [(place(example.target), example) for example in train]
    cut = tuple(example for where, example in placed if JUDGE_SHARE <= where < limit)
    return Folds(
        train=tuple(example for where, example in placed if where >= limit),
        valid=cut if valid is None else tuple(valid),
        judge=tuple(example for where, example in placed if where < JUDGE_SHARE),
    )


def capped(examples: Sequence[Example], limit: int | None) -> tuple[Example, ...]:
    """At most `limit` examples in their order, chosen by hash, since many files are sorted.

    A smaller limit gives a subset of a larger one. `None` keeps everything.
    """
    if limit is None or len(examples) <= limit:
        return tuple(examples)
    ranked = sorted(range(len(examples)), key=lambda index: (place(examples[index].target, purpose="cap/"), index))
    return tuple(examples[index] for index in sorted(ranked[:limit]))
