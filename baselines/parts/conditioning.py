"""How a condition and a target share one canvas."""

from collections.abc import Sequence
from typing import Protocol

import torch
from jaxtyping import Int
from torch import Tensor

from baselines.engine import Canvas
from harness.tokenizer import PAD


class Layout(Protocol):
    """A way to lay out conditions and targets.

    Attributes:
        length: positions of a canvas, the unit in which budgets are counted.
    """

    length: int

    def canvas(self, conditions: Sequence[Sequence[int]], targets: Sequence[Sequence[int]] | None, rows: int | None = None) -> Canvas:
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

    def canvas(self, conditions: Sequence[Sequence[int]], targets: Sequence[Sequence[int]] | None, rows: int | None = None) -> Canvas:
        """Targets with PAD behind them; conditions are not looked at."""
        count = len(targets) if targets is not None else rows if rows is not None else len(conditions)
        ids = torch.full((count, self.length), PAD, dtype=torch.int64)
        for place, row in enumerate(targets or ()):
            kept = row[: self.length]
            ids[place, : len(kept)] = torch.tensor(kept, dtype=torch.int64)
        return Canvas(ids=ids, given=torch.zeros_like(ids, dtype=torch.bool))

    def targets(self, canvas: Canvas) -> list[list[int]]:
        """The whole canvas."""
        ids: Int[Tensor, "B L"] = canvas.ids
        return ids.tolist()
