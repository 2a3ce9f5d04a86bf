"""How a condition and a target share one canvas."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from harness.tokenizer import PAD


@dataclass(frozen=True, kw_only=True, slots=True)
class Canvas:
    """Token positions that a model reads and writes.

    Attributes:
        ids: tokens; those that are to be written may hold anything when sampling.
        given: positions that are pinned: never corrupted, never written.
    """

    ids: Int[Tensor, "B L"]
    given: Bool[Tensor, "B L"]


def padded(rows: Sequence[Sequence[int]], length: int) -> Int[Tensor, "B L"]:
    """Rows of ids as one tensor, cut or padded on the right to a length."""
    canvas = torch.full((len(rows), length), PAD, dtype=torch.int64)
    for place, row in enumerate(rows):
        kept = torch.tensor(row[:length], dtype=torch.int64)
        canvas[place, : len(kept)] = kept
    return canvas


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
