"""Schedules made from another one: cut to a band, shifted in log-SNR, mapped into the range that a model can bear."""

import math
from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from harness.schedules.base import Schedule
from harness.schedules.closed_form import ClosedForm, within
from harness.schedules.discretised import Discretised

LOG_SNR_LIMIT = 15.0
"""Where log-SNR is cut before it is mapped: LD4LG's released value (arXiv 2212.09462). exp(-15) is 3e-7."""


class Composed(ClosedForm):
    """A schedule whose alpha-bar is a function of another one's alpha-bar."""

    def __init__(self, of: Schedule) -> None:
        super().__init__()
        self.of = of
        self.cap = of.cap if isinstance(of, ClosedForm) else 1.0

    @abstractmethod
    def change(self, alpha: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """New alpha-bar from the old one, non-decreasing."""

    def curve(self, t: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """See the class."""
        return self.change(self._closed().curve(t).clamp(0, 1))

    def levels(self, steps: int) -> Float[Tensor, "T_plus_1"]:
        """The levels of the other schedule, changed."""
        return self.change(self._closed().levels(steps)).clamp(0, 1)

    def on_table(self) -> Discretised:
        """This change on a schedule that is a table: t = 0 stays what it is, because no network sees it."""
        assert isinstance(self.of, Discretised)
        return Discretised.from_levels(torch.cat([self.of.levels[:1], self.change(self.of.table)]))

    def _closed(self) -> ClosedForm:
        assert isinstance(self.of, ClosedForm), "a change of a table is a table: use on_table()"
        return self.of


class Between(Composed):
    """low + (high - low) a: the other curve squeezed between two values (MD4 and MDLM use low = eps)."""

    def __init__(self, of: Schedule, *, low: float = 0.0, high: float = 1.0) -> None:
        super().__init__(of)
        self.low = within("low", low, 0, 1)
        self.high = within("high", high, low, 1)

    def change(self, alpha: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """See the class."""
        return self.low + (self.high - self.low) * alpha


class Shifted(Composed):
    """logit(a) + 2 log(scale): log-SNR shifted, cut to +-limit before; scale < 1 means more noise (LD4LG, arXiv 2212.09462)."""

    def __init__(self, of: Schedule, *, scale: float = 1.0, limit: float = LOG_SNR_LIMIT) -> None:
        super().__init__(of)
        self.odds = within("scale", scale, 1e-6, 1e6) ** 2
        self.limit = within("limit", limit, 1, math.inf)

    def change(self, alpha: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """See the class."""
        edge = 1 / (1 + math.exp(-self.limit))
        kept = alpha.clamp(1 - edge, edge)
        return self.odds * kept / (self.odds * kept + (1 - kept))


class NoiseRescaled(Composed):
    """a / (F^2 - (F^2 - 1) a): noise F times stronger at the same variance (Difformer, arXiv 2212.09412)."""

    def __init__(self, of: Schedule, *, factor: float = 1.0) -> None:
        super().__init__(of)
        self.factor = within("factor", factor, 1e-6, 1e6)

    def change(self, alpha: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """See the class."""
        return alpha / (alpha + self.factor**2 * (1 - alpha))


class InRange(Composed):
    """sigmoid(m logit(a) + b): the other curve's log-SNR mapped affinely onto the part of [snr_low, snr_high] it leaves.

    An end that already lies inside stays; log-SNR is cut to +-15 first, so that an end at infinity can be mapped at all.
    """

    def __init__(self, of: Schedule, *, snr_low: float = 0.0, snr_high: float = math.inf) -> None:
        super().__init__(of)
        within("snr_low", snr_low, 0, 1e9)
        within("snr_high", snr_high, snr_low, math.inf)
        last, first = ends(of)
        low = max(last, math.log(snr_low) if snr_low else -math.inf)
        high = min(first, math.log(snr_high))
        if not low < high:
            raise ValueError(f"[{snr_low:g}, {snr_high:g}] shares no signal-to-noise ratio with the schedule's own range.")
        self.slope = (high - low) / (first - last)
        self.shift = low - last * self.slope

    def change(self, alpha: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """See the class."""
        edge = 1 / (1 + math.exp(-LOG_SNR_LIMIT))
        return torch.sigmoid(self.slope * torch.logit(alpha.clamp(1 - edge, edge)) + self.shift)


def ends(schedule: Schedule) -> tuple[float, float]:
    """Lowest and highest log-SNR that a network meets, cut to +-15; the t = 0 of a table is met by none."""
    first_time = 1 / schedule.steps if schedule.steps else 0.0
    alpha = schedule.alpha_bar(torch.tensor([[1.0], [first_time]], dtype=torch.float64))
    last, first = torch.logit(alpha).flatten().clamp(-LOG_SNR_LIMIT, LOG_SNR_LIMIT).tolist()
    return last, first


def bears(schedule: Schedule, snr_range: tuple[float, float]) -> bool:
    """Whether a model that can bear these signal-to-noise ratios can use the schedule as it is."""
    first_time = 1 / schedule.steps if schedule.steps else 0.0
    alpha = schedule.alpha_bar(torch.tensor([[1.0], [first_time]], dtype=torch.float64))
    last, first = (alpha / (1 - alpha)).flatten().tolist()
    return snr_range[0] <= last and first <= snr_range[1]
