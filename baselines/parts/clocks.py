"""How a system counts time between data (t = 0) and noise (t = 1): in the steps of a chain, or without steps.

A place is where a loss is taken, in the clock's own unit: the number of a step, or a time.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from baselines.parts.timesteps import Indices, network_time, trailing

Time = Float[Tensor, "B #L"]
Grid = Float[Tensor, "stops"]
"""Times that a sampler stands at, from 1 down to 0, float64."""


class Clock(ABC):
    """What both ways of counting share.

    Attributes:
        steps: number of steps T; `None` without steps.
        span: what the mean of a bound's terms over all places is multiplied by.
    """

    steps: int | None
    span: float

    @abstractmethod
    def interval(self, place: Tensor) -> tuple[Time, Time]:
        """The times t and s, s towards the data, between which a term of the loss lies."""

    @abstractmethod
    def place(self, share: Float[Tensor, "*shape"]) -> Tensor:
        """The place below which a share of all places lies."""

    @abstractmethod
    def network_time(self, t: Time) -> Float[Tensor, " B"]:
        """What a network is usually told at time t: 0 at the data, rising to 1000."""

    @abstractmethod
    def grid(self, steps: int) -> Grid:
        """Where a sampler stands that is asked for a number of steps.

        Raises:
            ValueError: the clock has fewer.
        """


class Chain(Clock):
    """T steps; step i, counted from 0, leads from t = i / T to t = (i + 1) / T.

    Args:
        steps: their number T.
        visited: which of T steps a sampler visits, ascending, given how many.
    """

    def __init__(self, steps: int, visited: Callable[[int, int], Indices] = trailing) -> None:
        self.steps: int = steps
        self.span, self.visited = float(steps), visited

    def interval(self, place: Int[Tensor, " B"]) -> tuple[Time, Time]:
        """See `Clock`; a place is the number of a step."""
        return self._after(place + 1)[:, None], self._after(place)[:, None]

    def place(self, share: Float[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """See `Clock`."""
        return (share * self.steps).long().clamp(max=self.steps - 1)

    def grid(self, steps: int) -> Grid:
        """See `Clock`."""
        return self.through(self.visited(self.steps, steps))

    def through(self, visited: Indices) -> Grid:
        """The grid that visits these ascending steps: each leads to the end of the one before it, the first to the data."""
        return self._after(torch.cat([visited.flip(0) + 1, torch.zeros(1, dtype=torch.int64)]))

    def index(self, t: Float[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """The step that ends at t."""
        return (t * self.steps).round().long() - 1

    def network_time(self, t: Time) -> Float[Tensor, " B"]:
        """1000 i / T of the step i that ends at t."""
        return network_time(self.index(t)[:, 0], self.steps)

    def _after(self, completed: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return completed.to(torch.float64) / self.steps


def even_grid(steps: int) -> Grid:
    """1 down to 0 in equal pieces."""
    return torch.linspace(1, 0, steps + 1, dtype=torch.float64)


def uniform_grid(steps: int, *, last: float) -> Grid:
    """1 down to `last` in equal pieces; what is noise still is then removed in one move to 0, which counts as no step."""
    return torch.cat([torch.linspace(1, last, steps + 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)])


def cosine_grid(steps: int, *, last: float) -> Grid:
    """cos(pi / 2 (1 - u)) for u from 1 down to 0 in equal pieces, but not below `last`; then one move to 0 as in `uniform_grid`.

    Shi et al. 2024 (MD4, arXiv:2406.04329): few tokens are written at first, many at the end.
    """
    times = torch.cos(math.pi / 2 * (1 - even_grid(steps))).clamp(min=last)
    return torch.cat([times, torch.zeros(1, dtype=torch.float64)])


class Continuum(Clock):
    """Time without steps: a place is a time, and both ends of its interval are that time.

    Args:
        first: the earliest time that a loss is taken at.
        grid_of: where a sampler stands, given the number of its steps.
    """

    steps = None

    def __init__(self, first: float, grid_of: Callable[[int], Grid]) -> None:
        self.first, self.span, self.grid_of = first, 1 - first, grid_of

    def interval(self, place: Float[Tensor, "B ..."]) -> tuple[Time, Time]:
        """See `Clock`; one time per row, or one per position."""
        t = place if place.dim() > 1 else place[:, None]
        return t, t

    def place(self, share: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """See `Clock`."""
        return self.first + share * self.span

    def grid(self, steps: int) -> Grid:
        """See `Clock`."""
        return self.grid_of(steps)

    def network_time(self, t: Time) -> Float[Tensor, " B"]:
        """1000 t."""
        return 1000 * t[:, 0]
