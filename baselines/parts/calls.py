"""What a network costs: its forward evaluations, counted."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Int
from torch import Tensor, nn


@runtime_checkable
class ReadsSources(Protocol):
    """A network that reads sources beside its canvas, whose encoder is called apart from the network's own evaluations."""

    @property
    def source_encoder(self) -> nn.Module:
        """What reads them; its first argument, named or not, is embedded positions "B N D"."""
        ...


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
        for row in self._rows():
            self.count[row] += 1
        self.read(positions)

    def read(self, positions: int) -> None:
        """So many positions more in every row that was asked for, of a source that is read beside an evaluation."""
        for row in self._rows():
            self.positions[row] += positions

    def _rows(self) -> Sequence[int]:
        return range(len(self.count)) if self.asked is None else self.asked


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

    Positions are counted per row: the second dimension of the first argument, added over calls, and over what an encoder of
    sources is called with: as often as it reads them, padding and all, as on the canvas.
    """
    calls = Calls(rows)

    def note(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        calls.note(arguments[0].shape[1])

    def read(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        calls.read((*arguments, *named.values())[0].shape[1])

    handles = [network.register_forward_pre_hook(note)]
    if isinstance(network, ReadsSources):
        handles.append(network.source_encoder.register_forward_pre_hook(read, with_kwargs=True))
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
