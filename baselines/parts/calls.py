"""What a network costs: its forward evaluations, counted."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jaxtyping import Int
from torch import Tensor, nn


class Calls:
    """Forward evaluations seen so far, and the positions that went through, row by row of a batch.

    Args:
        rows: rows of the batch.

    Attributes:
        asked: the rows that the next evaluation is for; `None` = all.
    """

    def __init__(self, rows: int) -> None:
        self.count, self.positions = [0] * rows, [0] * rows
        self.asked: list[int] | None = None

    def note(self, positions: int) -> None:
        """One more evaluation, of so many positions in every row that was asked for."""
        for row in range(len(self.count)) if self.asked is None else self.asked:
            self.count[row] += 1
            self.positions[row] += positions


@contextmanager
def among(calls: Calls | None, rows: Int[Tensor, " C"] | None) -> Iterator[None]:
    """Evaluations inside are for these rows of a batch; `None` = for all."""
    if calls is not None:
        calls.asked = None if rows is None else rows.tolist()
    yield
    if calls is not None:
        calls.asked = None


@contextmanager
def counted(network: nn.Module, rows: int) -> Iterator[Calls]:
    """Count the forward evaluations of a network on a batch of rows, whatever calls it.

    Positions are counted per row: the second dimension of the first argument, added over calls.
    """
    calls = Calls(rows)

    def note(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        calls.note(arguments[0].shape[1])

    handle = network.register_forward_pre_hook(note)
    try:
        yield calls
    finally:
        handle.remove()
