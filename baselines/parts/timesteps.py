"""Which steps of a chain are trained on and which are visited in sampling. Indices count from 0 (least noise).

Every `sampling` function here returns ascending indices; a sampler walks them backwards.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from harness.schedules.base import Schedule

Indices = Int[Tensor, "K"]
Weights = Float[Tensor, "T"]
Visited = Callable[[int, int], Indices]
"""From T and a count to the steps that are visited."""


# --- visited steps ---------------------------------------------------------------------------------------------------
def respaced(T: int, sections: str) -> Indices:
    """Steps to keep of a chain, in the notation of improved-diffusion (arXiv 2102.09672, section 4).

    Args:
        T: steps of the chain.
        sections: "a,b,c" splits the chain into equal parts and keeps a, b and c evenly spaced steps of them; "ddimN" keeps
            N steps at the first integer stride that gives exactly N, beginning with step 0.

    Raises:
        ValueError: not of that form, more steps than a part holds, or no stride gives N.
    """
    if sections.startswith("ddim"):
        return strided(T, _count(sections.removeprefix("ddim"), sections))
    counts = [_count(part, sections) for part in sections.split(",")]
    size, longer = divmod(T, len(counts))
    kept, first = list[int](), 0
    for part, count in enumerate(counts):
        length = size + (part < longer)
        kept += [first + index for index in _evenly(length, count)]
        first += length
    return torch.tensor(kept)


def _count(text: str, sections: str) -> int:
    if not text.strip().isdigit() or int(text) < 1:
        raise ValueError(f"respacing {sections!r}: expected step counts such as '200' or '10,15,20', or 'ddim50'.")
    return int(text)


def _evenly(length: int, count: int) -> list[int]:
    if count > length:
        raise ValueError(f"cannot keep {count} of {length} steps; ask for at most {length}.")
    stride = (length - 1) / (count - 1) if count > 1 else 1.0
    place, kept = 0.0, list[int]()
    for _ in range(count):
        kept.append(round(place))
        place += stride
    return kept


def strided(T: int, count: int) -> Indices:
    """0, k, 2k, ... for the smallest integer k that gives exactly `count` steps (DDIM, arXiv 2010.02502).

    Raises:
        ValueError: no k does.
    """
    for stride in range(1, T + 1):
        if len(range(0, T, stride)) == count:
            return torch.arange(0, T, stride)
    raise ValueError(f"no integer stride visits exactly {count} of {T} steps; try {T // max(1, round(T / count))}.")


def from_the_end(T: int, stride: int) -> Indices:
    """T - 1, T - 1 - stride, ... in ascending order; the least noisy step need not be 0 (strided sampling of released codes)."""
    return torch.arange(T - 1, -1, -stride).flip(0)


def evenly(T: int, count: int) -> Indices:
    """`count` steps from 0 to T - 1, both included: `respaced` with one section."""
    return respaced(T, str(count))


def trailing(T: int, count: int) -> Indices:
    """round(T k / count) - 1 for k = 1..count: always the last step, and time is cut into equal pieces.

    Lin et al. 2023 (arXiv 2305.08891), section 3.3.

    Raises:
        ValueError: more steps than the chain has.
    """
    if not 1 <= count <= T:
        raise ValueError(f"cannot visit {count} of {T} steps; ask for 1 to {T}.")
    return torch.tensor([round(T * k / count) - 1 for k in range(1, count + 1)])


def network_time(index: Int[Tensor, "*shape"], T: int) -> Float[Tensor, "*shape"]:
    """What a network trained with rescaled time is told at a step: index * 1000 / T."""
    return index.to(torch.float64) * (1000 / T)


# --- steps trained on ------------------------------------------------------------------------------------------------
@runtime_checkable
class TimeSampler(Protocol):
    """Draws the steps that a batch is trained on."""

    def sample(self, batch: int, generator: torch.Generator) -> tuple[Int[Tensor, "B"], Float[Tensor, "B"]]:
        """Steps, and the weights that keep the loss unbiased."""
        ...

    def observe(self, t: Int[Tensor, "B"], loss: Float[Tensor, "B"]) -> None:
        """Hear of the unweighted losses at some steps."""
        ...


class UniformTimes(nn.Module):
    """Every step equally often, weight 1."""

    def __init__(self, T: int) -> None:
        super().__init__()
        self.T = T

    def sample(self, batch: int, generator: torch.Generator) -> tuple[Int[Tensor, "B"], Float[Tensor, "B"]]:
        """See `TimeSampler`."""
        device = generator.device
        return torch.randint(self.T, (batch,), generator=generator, device=device), torch.ones(batch, device=device)

    def observe(self, t: Int[Tensor, "B"], loss: Float[Tensor, "B"]) -> None:
        """Nothing is learnt."""


class StratifiedTimes(UniformTimes):
    """Every step equally often, one from each of B equal parts of the chain: less noise between batches.

    Kingma et al. 2021 (variational diffusion models, arXiv:2107.00630), appendix I.1, with a draw of its own in every part.
    """

    def sample(self, batch: int, generator: torch.Generator) -> tuple[Int[Tensor, "B"], Float[Tensor, "B"]]:
        """See `TimeSampler`; ascending, which means nothing because examples come in random order."""
        place = torch.rand(batch, generator=generator, device=generator.device, dtype=torch.float64)
        place = (torch.arange(batch, device=generator.device) + place) / batch
        return (place * self.T).long().clamp(max=self.T - 1), torch.ones(batch, dtype=torch.float64, device=generator.device)


class LossSecondMoment(nn.Module):
    """Steps in proportion to the root mean square of their last losses (arXiv 2102.09672, eq. 18).

    Until every step has a full history all steps are equally likely. The history is part of the state dict, so that training
    resumes with it.
    """

    history: Tensor
    seen: Tensor

    def __init__(self, T: int, *, per_step: int = 10, uniform_share: float = 0.001) -> None:
        """An empty history.

        Args:
            T: steps of the chain.
            per_step: losses remembered per step.
            uniform_share: share of the uniform law that is mixed in.
        """
        super().__init__()
        self.T, self.per_step, self.uniform_share = T, per_step, uniform_share
        self.register_buffer("history", torch.zeros(T, per_step, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(T, dtype=torch.int64))

    @property
    def warm(self) -> bool:
        """Whether every step has a full history."""
        return bool((self.seen == self.per_step).all())

    def weights(self) -> Weights:
        """How likely each step is, not normalised: all ones before the history is full."""
        if not self.warm:
            return torch.ones(self.T, dtype=torch.float64, device=self.history.device)
        moments = self.history.square().mean(-1).sqrt()
        return moments / moments.sum() * (1 - self.uniform_share) + self.uniform_share / self.T

    def probabilities(self) -> Weights:
        """How likely each step is."""
        weights = self.weights()
        return weights / weights.sum()

    def loss_weights(self) -> Weights:
        """Factor on the loss of each step, 1 / (T p)."""
        return 1 / (self.T * self.probabilities())

    def sample(self, batch: int, generator: torch.Generator) -> tuple[Int[Tensor, "B"], Float[Tensor, "B"]]:
        """See `TimeSampler`."""
        t = torch.multinomial(self.probabilities(), batch, replacement=True, generator=generator)
        return t, self.loss_weights()[t]

    def observe(self, t: Int[Tensor, "B"], loss: Float[Tensor, "B"]) -> None:
        """Remember losses in order; the oldest of a full step is forgotten."""
        for step, value in zip(t.tolist(), loss.detach().tolist(), strict=True):
            if self.seen[step] == self.per_step:
                self.history[step] = self.history[step].roll(-1)
                self.history[step, -1] = value
            else:
                self.history[step, self.seen[step]] = value
                self.seen[step] += 1


class LossAware(nn.Module):
    """Steps in proportion to the root of a running mean of their squared losses, once every step was drawn often.

    As the released code of Hoogeboom et al. 2021 (arXiv:2102.05379) has it: before, all steps are equally likely; after, step 0
    is taken as often as step 1. The running means are part of the state dict, so that training resumes with them.

    Args:
        T: steps of the chain.
        scale: factor from a loss that is observed to nats of a whole canvas.
    """

    KEPT, OFTEN = 0.9, 10
    UNDER_ROOT, BESIDE_ROOT = 1e-10, 1e-4

    squares: Tensor
    seen: Tensor

    def __init__(self, T: int, *, scale: float = 1.0) -> None:
        super().__init__()
        self.T, self.scale = T, scale
        self.register_buffer("squares", torch.zeros(T, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(T, dtype=torch.int64))

    @property
    def warm(self) -> bool:
        """Whether every step was drawn often enough."""
        return bool((self.seen > self.OFTEN).all())

    def probabilities(self) -> Weights:
        """How likely each step is."""
        if self.warm:
            return self.by_loss(self.squares)
        return torch.full((self.T,), 1 / self.T, dtype=torch.float64, device=self.squares.device)

    @classmethod
    def by_loss(cls, squares: Weights) -> Weights:
        """How likely each step is, given running means of its squared loss, in nats of a canvas."""
        weights = (squares + cls.UNDER_ROOT).sqrt() + cls.BESIDE_ROOT
        weights[0] = weights[min(1, len(weights) - 1)]
        return weights / weights.sum()

    def sample(self, batch: int, generator: torch.Generator) -> tuple[Int[Tensor, "B"], Float[Tensor, "B"]]:
        """See `TimeSampler`; the weight of a loss is 1 / (T p)."""
        law = self.probabilities()
        t = torch.multinomial(law, batch, replacement=True, generator=generator)
        return t, 1 / (self.T * law[t])

    def observe(self, t: Int[Tensor, "B"], loss: Float[Tensor, "B"]) -> None:
        """Move the running means, one observation after the other."""
        for step, value in zip(t.tolist(), (loss.detach().double() * self.scale).square().tolist(), strict=True):
            self.squares[step] = self.KEPT * self.squares[step] + (1 - self.KEPT) * value
            self.seen[step] += 1


def stratified(draws: Float[Tensor, "B *blocks"]) -> Float[Tensor, "B *blocks"]:
    """One time of [0, 1) from each of as many equal parts as there are draws, in their order."""
    parts = torch.arange(draws.numel(), device=draws.device).view_as(draws)
    return (parts + draws) / draws.numel()


class ContinuousTimes(nn.Module):
    """Times between `first` and 1, one from each of B equal parts, weight 1.

    The low-discrepancy sampler of Sahoo et al. 2024 (MDLM, arXiv:2406.07524), appendix C.3, as released.

    Args:
        first: the earliest time.
        shared: whether all parts share one draw (Shi et al. 2024, MD4, arXiv:2406.04329; Kingma et al. 2021, appendix I.1).
    """

    def __init__(self, first: float, *, shared: bool = False) -> None:
        super().__init__()
        self.first, self.shared = first, shared

    def sample(self, batch: int, generator: torch.Generator) -> tuple[Float[Tensor, "B"], Float[Tensor, "B"]]:
        """Times and weights."""
        device = generator.device
        draws = torch.rand(1 if self.shared else batch, generator=generator, device=device, dtype=torch.float64)
        return self.between(stratified(draws.expand(batch))), torch.ones(batch, dtype=torch.float64, device=device)

    def between(self, share: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The time below which a share of all times lies."""
        return self.first + (1 - self.first) * share

    def observe(self, t: Float[Tensor, "B"], loss: Float[Tensor, "B"]) -> None:
        """Nothing is learnt."""


def time_at(schedule: Schedule, alpha: Float[Tensor, "*shape"], first: float = 0.0) -> Float[Tensor, "*shape"]:
    """The time from `first` on at which a schedule of grain "sequence" keeps so much, by bisection."""
    low, high = torch.full_like(alpha, first), torch.ones_like(alpha)
    for _ in range(60):
        middle = (low + high) / 2
        late = schedule.alpha_bar(middle.view(-1, 1)).view_as(alpha) < alpha
        low, high = torch.where(late, low, middle), torch.where(late, middle, high)
    return high


class ImportanceTimes(ContinuousTimes):
    """Times at which the logarithm of the masked share 1 - alpha is spread evenly, one from each of B equal parts of it.

    Every time then weighs the same in the bound of absorbing noise: the loss of a masked token times -alpha' / (1 - alpha)
    times the weight of its time is the same at all times. Sahoo et al. 2024 (MDLM, arXiv:2406.07524), released option; the
    weights here are 1 over the density relative to the uniform one, so that the mean is that of `ContinuousTimes`.

    Args:
        first: the earliest time.
        schedule: of grain "sequence", without steps.

    Raises:
        ValueError: the schedule masks nothing at the earliest time.
    """

    def __init__(self, first: float, schedule: Schedule) -> None:
        super().__init__(first)
        self.alpha_bar, self.rate = schedule.alpha_bar, schedule.rate
        self.time_at = partial(time_at, schedule, first=first)
        self.log_shares = torch.log1p(-schedule.alpha_bar(torch.tensor([[first], [1.0]], dtype=torch.float64)))[:, 0].tolist()
        if self.log_shares[0] == -math.inf:
            raise ValueError(
                f"schedule {schedule.specification} masks nothing at t = {first:g}, so the logarithm of the masked share has no "
                "first value; draw the times evenly"
            )

    def sample(self, batch: int, generator: torch.Generator) -> tuple[Float[Tensor, "B"], Float[Tensor, "B"]]:
        """See `ContinuousTimes`."""
        t, _ = super().sample(batch, generator)
        return t, self.weights(t)

    def between(self, share: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """See `ContinuousTimes`."""
        low, high = self.log_shares
        return self.time_at(-torch.expm1(low + (high - low) * share))

    def weights(self, t: Float[Tensor, "B"]) -> Float[Tensor, "B"]:
        """1 over the density of times relative to the uniform one."""
        low, high = self.log_shares
        share, growth = 1 - self.alpha_bar(t[:, None])[:, 0], -self.rate(t[:, None])[:, 0]
        return (high - low) * share / (growth * (1 - self.first))
