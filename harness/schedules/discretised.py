"""Discretised schedules: T values of alpha-bar, as the released chains have them."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from harness.schedules.base import Schedule
from harness.schedules.closed_form import ClosedForm, checked_time, within

GRID_TOLERANCE = 1e-3
"""How far t * T may lie from an integer: i / T in float32 is off by less for any T below 10,000."""
CAP = 0.999
Betas = Float[Tensor, "T"]


class Discretised(Schedule):
    """alpha-bar((i + 1) / T) = start prod_{j <= i} (1 - beta_j), i = 0..T-1; alpha-bar(0) = start. Undefined off the grid."""

    betas: Tensor
    levels: Tensor

    def __init__(self, betas: Betas, *, start: float = 1.0) -> None:
        """A table from its betas.

        Args:
            betas: share of the remaining signal that each step destroys, float64.
            start: alpha-bar(0).

        Raises:
            ValueError: a beta lies outside [0, 1], which happens when T is too small for the curve.
        """
        super().__init__()
        refuse(betas, (betas < 0) | (betas > 1))
        self.steps = len(betas)
        self.register_buffer("betas", betas.to(torch.float64))
        kept = torch.cumprod(1 - self.betas, 0)
        self.register_buffer("levels", start * torch.cat([torch.ones_like(kept[:1]), kept]))

    @classmethod
    def from_levels(cls, levels: Float[Tensor, "T_plus_1"]) -> "Discretised":
        """A table from alpha-bar at 0, 1/T, ..., 1."""
        return cls(drops(levels), start=float(levels[0]))

    @property
    def table(self) -> Betas:
        """alpha-bar at 1/T, 2/T, ..., 1: the released code's `alphas_cumprod`."""
        return self.levels[1:]

    @property
    def ratios(self) -> Betas:
        """Signal kept by each step alone, 1 - beta."""
        return 1 - self.betas

    def index(self, t: Float[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """Number of completed steps, 0..T, at time t.

        Raises:
            ValueError: t outside [0, 1] or off the grid.
        """
        assert self.steps is not None
        return completed_steps(t, self.steps, self.specification)

    def alpha_bar(self, t: Float[Tensor, "B #L"], ids: Int[Tensor, "B L"] | None = None) -> Float[Tensor, "B #L"]:
        """See `Schedule`."""
        return self.levels[self.index(t)]

    def rate(self, t: Float[Tensor, "B #L"], ids: Int[Tensor, "B L"] | None = None) -> Float[Tensor, "B #L"]:
        """Backward difference over one step (forward at t = 0), per unit of t."""
        assert self.steps is not None
        last = self.index(t).clamp(min=1)
        return (self.levels[last] - self.levels[last - 1]) * self.steps

    def respaced(self, indices: Int[Tensor, "K"]) -> "Discretised":
        """The chain that visits only some steps: beta_k = 1 - table[i_k] / table[i_(k-1)].

        Args:
            indices: 0-based steps to keep, ascending.
        """
        return Discretised.from_levels(torch.cat([self.levels[:1], self.table[indices]]))


def completed_steps(t: Float[Tensor, "*shape"], steps: int, specification: str) -> Int[Tensor, "*shape"]:
    """Number of completed steps, 0..T, at time t.

    Args:
        t: times that are i / T.
        steps: T.
        specification: of the schedule, for the message.

    Raises:
        ValueError: t outside [0, 1] or off the grid.
    """
    exact = checked_time(t) * steps
    nearest = exact.round()
    if bool(((exact - nearest).abs() > GRID_TOLERANCE).any()):
        off = (t[(exact - nearest).abs() > GRID_TOLERANCE]).flatten()[0]
        raise ValueError(
            f"t = {off:g} is off the grid of {specification or 'this table'}: t must be i / {steps}. "
            "Let the sampler's spacing pick the indices, or use the closed form (the name without @)."
        )
    return nearest.long()


def drops(levels: Float[Tensor, "T_plus_1"], cap: float = 1.0) -> Betas:
    """Betas from levels: min(1 - levels[i + 1] / levels[i], cap); the cap itself where nothing is left to destroy."""
    before, after = levels[:-1], levels[1:]
    ratio = after / before.clamp(min=torch.finfo(torch.float64).tiny)
    return torch.where(before > 0, 1 - ratio, 1.0).clamp(max=cap)


def discretise(schedule: ClosedForm, steps: int, *, cap: float | None = None) -> Discretised:
    """The table of a closed form, built from capped ratios as the released codes build it.

    Args:
        schedule: the curve.
        steps: T.
        cap: largest beta; `None` for the curve's own.
    """
    return Discretised(ratio_capped(schedule, steps, cap=cap))


def ratio_capped(schedule: ClosedForm, steps: int, *, cap: float | None = None) -> Betas:
    """beta_i = min(1 - f((i + 1) / T) / f(i / T), cap), i = 0..T-1, unchecked."""
    at_least_one(steps)
    return drops(schedule.levels(steps), schedule.cap if cap is None else within("max_beta", cap, 1e-6, 1))


def outside(betas: Betas) -> Bool[Tensor, "T"]:
    """Which betas lie outside (0, 1]."""
    return ~((betas > 0) & (betas <= 1))


def valid(betas: Betas) -> bool:
    """Whether every beta lies in (0, 1], so that every step is a step of a diffusion."""
    return not bool(outside(betas).any())


def refuse(betas: Betas, wrong: Bool[Tensor, "T"]) -> None:
    """Nothing, where no beta is wrong.

    Raises:
        ValueError: some beta is wrong.
    """
    if bool(wrong.any()):
        first = int(wrong.nonzero()[0])
        raise ValueError(
            f"beta at step {first} of {len(betas)} is {betas[first]:g}, outside (0, 1]: with these parameters a chain of "
            f"{len(betas)} steps does not exist. Use more steps, or smaller betas."
        )


def capped_steps(betas: Betas, cap: float = CAP) -> int:
    """Number of betas that sit at the cap."""
    return int((betas == cap).sum())


# --- curves that exist as betas only ---------------------------------------------------------------------------------
def _line(first: float, last: float, steps: int) -> Betas:
    return torch.linspace(first, last, steps, dtype=torch.float64)


def linear_beta_rescaled(steps: int, *, start: float = 0.1, stop: float = 20.0) -> Betas:
    """beta_i = linspace(start, stop, T) / T: rates per unit of time, so 1e-4 to 0.02 at T = 1000 (DDPM, arXiv 2006.11239)."""
    return _line(start / steps, stop / steps, steps)


def linear_beta_fixed(steps: int, *, start: float = 1e-4, stop: float = 0.02) -> Betas:
    """beta_i = linspace(start, stop, T): betas per step, whatever T (image code of D3PM, arXiv 2107.03006)."""
    return _line(start, stop, steps)


def linear_beta_ramp(steps: int, *, start: float = 1e-4, stop: float = 0.02) -> Betas:
    """beta_i = start + (stop - start) i / T: betas per step that end one step short of stop (text code of D3PM)."""
    return _line(start, stop, steps + 1)[:-1]


def truncated_linear_beta(steps: int, *, start: float = 0.1, stop: float = 20.0, offset: float = 0.01) -> Betas:
    """beta_i = offset + linspace(start, stop, T) / T: starts with visible noise (trunc_lin in Diffusion-LM's code)."""
    return _line(start / steps + offset, stop / steps + offset, steps)


def piecewise_linear_beta(steps: int, *, start: float = 0.1, stop: float = 20.0, offset: float = 0.01, head: int = 10) -> Betas:
    """beta_i falls from offset + start / T to start / T over `head` steps, then rises to stop / T (pw_lin there)."""
    if steps <= head:
        raise ValueError(f"piecewise-linear-beta needs more steps than its head of {head}; got {steps}.")
    return torch.cat([_line(start / steps + offset, start / steps, head), _line(start / steps, stop / steps, steps - head)])


def linear_alpha_bar_fixed(steps: int, *, start: float = 0.99999, stop: float = 9e-6) -> Float[Tensor, "T_plus_1"]:
    """alpha-bar_i = linspace(start, stop, T), whatever T, after 1 at t = 0 (VQ-Diffusion, arXiv 2111.14822; Diffusion-NAT)."""
    return torch.cat([torch.ones(1, dtype=torch.float64), _line(start, stop, steps)])


def at_least_one(steps: int) -> None:
    """Nothing, for a positive number of steps.

    Raises:
        ValueError: there are none.
    """
    if steps < 1:
        raise ValueError(f"a table needs at least 1 step; got {steps}.")
