"""How a condition and a target share one canvas."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from harness.tokenizer import EOS, PAD, SEP


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """What stands beside a canvas, for an encoder to read.

    Attributes:
        ids: tokens, padded on the right.
        present: False at padding; every row has a present token.
    """

    ids: Int[Tensor, "B N"]
    present: Bool[Tensor, "B N"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Canvas:
    """Token positions that a model reads and writes.

    Attributes:
        ids: tokens, padding (`PAD`, 0) too; those that are to be written may hold anything when sampling.
        given: positions that are pinned: never corrupted, never written.
        source: what is read beside it; `None` where nothing is.
    """

    ids: Int[Tensor, "B L"]
    given: Bool[Tensor, "B L"]
    source: Source | None = None


def padded(rows: Sequence[Sequence[int]], length: int, pad: int = PAD) -> Int[Tensor, "B L"]:
    """Rows of ids as one tensor, cut or padded on the right to a length."""
    canvas = torch.full((len(rows), length), pad, dtype=torch.int64)
    for place, row in enumerate(rows):
        kept = torch.tensor(row[:length], dtype=torch.int64)
        canvas[place, : len(kept)] = kept
    return canvas


@runtime_checkable
class Layout(Protocol):
    """A way to lay out conditions and targets.

    Attributes:
        length: positions of a canvas, the unit in which budgets are counted.
    """

    length: int

    def canvas(self, conditions: Sequence[Sequence[int]], targets: Sequence[Sequence[int]] | None) -> Canvas:
        """Canvases to train on, or to write into where targets are `None`."""
        ...

    def targets(self, canvas: Canvas) -> list[list[int]]:
        """Target ids of written canvases, padding and all."""
        ...


class TargetOnly:
    """The target alone, padded to the task's length; nothing is given (unconditional generation).

    Args:
        length: canvas length L.
    """

    def __init__(self, length: int) -> None:
        self.length = length

    def canvas(self, conditions: Sequence[Sequence[int]], targets: Sequence[Sequence[int]] | None) -> Canvas:
        """Targets with PAD behind them; conditions are not looked at."""
        ids = padded(targets if targets is not None else [()] * len(conditions), self.length)
        return Canvas(ids=ids, given=torch.zeros_like(ids, dtype=torch.bool))

    def targets(self, canvas: Canvas) -> list[list[int]]:
        """The whole canvas."""
        ids: Int[Tensor, "B L"] = canvas.ids
        return ids.tolist()


class SourceBeside(TargetOnly):
    """The target alone on the canvas, its source beside it: source, EOS, PAD.

    Args:
        source: longest source N.
        target: canvas length L.
    """

    def __init__(self, *, source: int, target: int) -> None:
        super().__init__(target)
        self.source = source + 1

    def canvas(self, conditions: Sequence[Sequence[int]], targets: Sequence[Sequence[int]] | None) -> Canvas:
        """Targets with PAD behind them, sources with EOS and PAD behind them."""
        rows = [[*condition[: self.source - 1], EOS] for condition in conditions]
        lengths = torch.tensor([len(row) for row in rows])
        source = Source(ids=padded(rows, self.source), present=torch.arange(self.source) < lengths[:, None])
        return replace(super().canvas(conditions, targets), source=source)


class SourceThenTarget:
    """Source and target one after the other on one canvas; the source is given, the target and the padding are not.

    Gong et al. 2023 (DiffuSeq, arXiv:2210.08933), section 3, laid out as released: source, EOS, SEP, target, EOS, PAD. Each row's
    target begins right behind its own source.

    Args:
        source: longest source N.
        target: longest target L, EOS included.
    """

    def __init__(self, *, source: int, target: int) -> None:
        self.target = target
        self.length = source + 2 + target

    def canvas(self, conditions: Sequence[Sequence[int]], targets: Sequence[Sequence[int]] | None) -> Canvas:
        """Lay out; where targets are `None` everything behind the source is to be written."""
        rows = [
            side_by_side(source, target, length=self.length, end=EOS, separator=SEP)
            for source, target in zip(conditions, _without_end(targets, len(conditions)), strict=True)
        ]
        ids = padded([row if targets is not None else row[:given] for row, given in rows], self.length)
        starts = torch.tensor([given for _, given in rows])
        return Canvas(ids=ids, given=torch.arange(self.length) < starts[:, None])

    def targets(self, canvas: Canvas) -> list[list[int]]:
        """What stands behind each source, at most the longest target."""
        starts = canvas.given.sum(-1).tolist()
        return [row[start : start + self.target] for row, start in zip(canvas.ids.tolist(), starts, strict=True)]


class SourceBefore:
    """The source in a place of its own before the target, on one canvas: source, EOS, PAD, then target, EOS, PAD.

    Every target begins at the same position. The source's place is given, the target's is not.

    Args:
        source: longest source N.
        target: longest target L, EOS included.
    """

    def __init__(self, *, source: int, target: int) -> None:
        self.start = source + 1
        self.length = self.start + target

    def canvas(self, conditions: Sequence[Sequence[int]], targets: Sequence[Sequence[int]] | None) -> Canvas:
        """Lay out; where targets are `None` their place is to be written."""
        sources = padded([[*condition[: self.start - 1], EOS] for condition in conditions], self.start)
        written = padded([()] * len(conditions) if targets is None else targets, self.length - self.start)
        given = torch.arange(self.length).expand(len(conditions), -1) < self.start
        return Canvas(ids=torch.cat([sources, written], 1), given=given)

    def targets(self, canvas: Canvas) -> list[list[int]]:
        """What stands behind the sources."""
        return canvas.ids[:, self.start :].tolist()


def side_by_side(source: Sequence[int], target: Sequence[int], *, length: int, end: int, separator: int) -> tuple[list[int], int]:
    """One row: source, end, separator, target, end; the longer side loses tokens on the right until the row fits.

    Args:
        source, target: ids without their end token.
        length: longest row.

    Returns:
        the row without padding, and how many of its tokens are given.
    """
    source, target = list(source), list(target)
    while len(source) + len(target) > length - 3:
        excess = len(source) - len(target)
        if excess >= 0:
            source.pop()
        if excess <= 0:
            target.pop()
    return [*source, end, separator, *target, end], len(source) + 2


def _without_end(targets: Sequence[Sequence[int]] | None, rows: int) -> list[Sequence[int]]:
    if targets is None:
        return [()] * rows
    return [row[:-1] if row and row[-1] == EOS else row for row in targets]
