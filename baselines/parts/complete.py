"""Schedules of chains whose first state is the data and whose last one is pure noise."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.schedules.base import Schedule


class Complete(Schedule):
    """A schedule that begins with the data and ends in pure noise: 1 at t = 0, 0 at t = 1, unchanged in between."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self.schedule, self.steps, self.specification = schedule, schedule.steps, schedule.specification

    def alpha_bar(self, t: Float[Tensor, "B #L"], ids: Int[Tensor, "B L"] | None = None) -> Float[Tensor, "B #L"]:
        """See `Schedule`."""
        return torch.where(t <= 0, 1.0, torch.where(t >= 1, 0.0, self.schedule.alpha_bar(t, ids)))
