"""Scores, the ratios p_t(y) / p_t(x_t) of noisy texts that differ in one token: their entropy as a loss, and reverse steps.

Lou, Meng and Ermon 2024 (arXiv:2310.16834). The noise is any that mixes with a fixed law pi: in columns its generator is
Q = pi 1^T - I, and it has run for the total noise sigma = -log alpha. Log-scores are over tokens only, which is all that a
reverse step can lead to; that of x_t itself is 0. Uniform noise changes tokens to tokens; under absorbing noise only masks can
have come from elsewhere, so nothing is read at other positions.

Where everything is destroyed (alpha = 0) or nothing is (alpha = 1) scores are infinite or say nothing: alpha is kept within
[1e-12, 1 - 1e-12].
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from baselines.parts.categorical import Absorbing, Mixing, normalised
from baselines.parts.denoisers import Tempered
from baselines.parts.estimates import Estimate, Wrapped
from baselines.parts.kernels import Kernel
from baselines.parts.objectives_discrete import Term
from baselines.parts.randomness import categorical
from baselines.parts.samplers import Level, Reverse
from baselines.parts.steps import Step
from harness.schedules.base import Schedule
from harness.schedules.quantities import noise_rate

LEAST = 1e-12
BLOCK = 1 << 22  # weights, in float64, that a sampler has in hand at a time

Scores = Float[Tensor, "M V"]
Tokens = Int[Tensor, " M"]
Amount = Float[Tensor, " M"]


def bounded(alpha: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Alpha where scores are finite; see the module."""
    return alpha.clamp(LEAST, 1 - LEAST)


def remaining(alpha_t: Float[Tensor, "*shape"], alpha_s: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """exp(-d), d the total noise between two times: the share of tokens that it leaves alone; below 1 where alpha_s is 1."""
    return bounded(alpha_t) / alpha_s.clamp_min(LEAST)


# --- from a network's output to log-scores ---------------------------------------------------------------------------
def zero_at_own(log_score: Float[Tensor, "*batch S"], x_t: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch S"]:
    """The tensor itself, with the log-score of x_t set to 0."""
    return log_score.scatter_(-1, x_t[..., None], 0.0)


class OwnZero(Estimate):
    """An estimate whose raw output is the log-scores of all tokens, where x_t is always one: its own is set to 0.

    Normalised they are the law of x_t at each position given the others, which stands for that of x_0.

    Args:
        estimate: whose raw output is taken.
        x_t: the states it was made from.
    """

    def __init__(self, estimate: Estimate, x_t: Int[Tensor, "B L"]) -> None:
        self.estimate, self.x_t = estimate, x_t

    @property
    def x0_hat(self) -> Tensor:
        """See `Estimate`."""
        return normalised(self.raw)

    @property
    def raw(self) -> Tensor:
        """See `Estimate`."""
        return zero_at_own(self.estimate.raw, self.x_t)

    def at(self, chosen: Bool[Tensor, "B L"]) -> Float[Tensor, "M W"]:
        """See `Estimate`."""
        return normalised(self.raw_at(chosen))

    def raw_at(self, chosen: Bool[Tensor, "B L"]) -> Float[Tensor, "M W"]:
        """See `Estimate`."""
        return zero_at_own(self.estimate.raw_at(chosen), self.x_t[chosen])

    def everywhere(self) -> Bool[Tensor, "B L"]:
        """See `Estimate`."""
        return torch.ones_like(self.x_t, dtype=torch.bool)


class TemperedScores(Tempered):
    """A denoiser whose raw output is log-scores, at a temperature; for absorbing noise.

    What is sharpened or flattened is the law of the tokens that masks become; the sum of the scores stays, and with it the chance
    that a mask is left. Neither the paper nor its code has a temperature.
    """

    def tempered(self, estimate: Estimate) -> Estimate:
        """See `Tempered`."""
        return Sharpened(estimate, self.temperature)


class Sharpened(Wrapped):
    """An estimate by log-scores, whose law over tokens is at a temperature; see `TemperedScores`."""

    def __init__(self, estimate: Estimate, temperature: float) -> None:
        super().__init__(estimate)
        self.temperature = temperature

    @property
    def x0_hat(self) -> Tensor:
        """See `Estimate`."""
        return normalised(self.raw)

    @property
    def raw(self) -> Tensor:
        """See `Estimate`."""
        return self._sharpened(self.estimate.raw)

    def at(self, chosen: Bool[Tensor, "B L"]) -> Float[Tensor, "M W"]:
        """See `Estimate`."""
        return normalised(self.raw_at(chosen))

    def raw_at(self, chosen: Bool[Tensor, "B L"]) -> Float[Tensor, "M W"]:
        """See `Estimate`."""
        return self._sharpened(self.estimate.raw_at(chosen))

    def _sharpened(self, log_score: Float[Tensor, "*batch V"]) -> Float[Tensor, "*batch V"]:
        log_score = log_score.to(torch.promote_types(log_score.dtype, torch.float32))
        return (log_score / self.temperature).log_softmax(-1) + log_score.logsumexp(-1, keepdim=True)


def log_scores(kernel: Mixing, logits: Float[Tensor, "M W"], alpha: Amount) -> Float[Tensor, "M W"]:
    """Log-scores of outputs; absorbing ones are divided by (exp(sigma) - 1) V, so that outputs of 0 mean a law over tokens.

    `scale_by_sigma` of the released code. In float32 at least.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if not isinstance(kernel, Absorbing):
        return logits
    return logits + (torch.logit(bounded(alpha)) - math.log(kernel.mask))[:, None].to(logits.dtype)


# --- the loss --------------------------------------------------------------------------------------------------------
def score_entropy(kernel: Mixing, log_score: Scores, x_t: Tokens, x0: Tokens, alpha: Amount) -> Amount:
    """Denoising score entropy (theorem 3.4) with its constant, so that the ratios of q(x_t | x_0) give 0; float64.

    Sum over y other than x_t of Q(x_t, y) (s_y - r_y log s_y + r_y (log r_y - 1)), where r_y = q(y | x_0) / q(x_t | x_0) is
    c pi_y, and more at x_0. The released code takes expm1 at low noise for the sake of float32; here alpha is float64. No
    product is taken in bfloat16, which would round pi_y and so move the log-scores that are best.
    """
    kept = bounded(alpha)
    law, tokens = kernel.stationary, kernel.stationary[: log_score.shape[-1]]
    inside = (x_t < len(tokens)).double()
    reached = kept * (x_t == x0) + (1 - kept) * law[x_t]
    spread, sharp = (1 - kept) / reached, kept / reached  # r_y = spread * pi_y + sharp where y is x_0

    positive = log_score.exp().sum(-1).double() - inside
    at_x0 = log_score.gather(-1, x0[:, None])[:, 0].double()
    with torch.autocast(log_score.device.type, enabled=False):
        mean = (log_score @ tokens.to(log_score.dtype)).double()
    negative = spread * mean + sharp * at_x0

    everywhere = _constant(spread) * tokens.sum() + spread * torch.xlogy(tokens, tokens).sum()
    without_own = everywhere - inside * _constant(spread * law[x_t])
    more_at_x0 = _constant(spread * law[x0] + sharp) - _constant(spread * law[x0])
    constant = without_own + torch.where(x_t == x0, 0.0, more_at_x0)
    return law[x_t] * (positive - negative + constant)


def _constant(ratio: Amount) -> Amount:
    """K(r) = r (log r - 1)."""
    return torch.xlogy(ratio, ratio) - ratio


def score_bound(kernel: Mixing, schedule: Schedule) -> Term:
    """The integrand over time of the bound on -log p(x_0): score entropy times the rate of the noise (theorem 3.6)."""

    def term(step: Step) -> Float[Tensor, "B L"]:
        moved = changeable(kernel, step.x_t, step.alpha_t)
        alpha, x_t = step.alpha_t[moved], step.x_t[moved]
        log_score = log_scores(kernel, step.estimate.raw_at(moved), alpha)
        rate = noise_rate(bounded(alpha), schedule.rate(step.t, step.ids).expand_as(moved)[moved])
        entropy = rate * score_entropy(kernel, log_score, x_t, step.ids[moved], alpha)
        return torch.zeros_like(step.alpha_t).masked_scatter(moved, entropy)

    return term


def changeable(kernel: Mixing, x_t: Int[Tensor, "B L"], alpha_t: Level) -> Bool[Tensor, "B L"]:
    """Positions that noise may have brought where they are: masks, or everything that is not given."""
    return x_t == kernel.mask if isinstance(kernel, Absorbing) else (alpha_t < 1).expand(x_t.shape)


# --- reverse steps ---------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Leap:
    """Weights of where one reverse step leads from some positions, float64; below 0 counts as 0.

    Moves to tokens y other than x_t weigh gain exp(log_score_y) - loss pi_y. Noise that leads to no token takes nothing from
    them: then the sum of all moves is known without their table.

    Attributes:
        kernel: the noise.
        x_t: the states there.
        log_score: of the tokens.
        total: of the scores of all tokens but x_t.
        gain, loss: of each position.
        stay: weight of x_t.
    """

    kernel: Mixing
    x_t: Tokens
    log_score: Scores
    total: Amount
    gain: Amount
    loss: Amount
    stay: Amount

    @property
    def moves(self) -> Scores:
        """Weights of the tokens, 0 at x_t itself."""
        weights = self.log_score.double().exp() * self.gain[:, None]
        if _is_absorbing(self.kernel):  # where x_t is a token, nothing is gained
            return weights
        return (weights - self.loss[:, None] * self.kernel.stationary).scatter_(-1, self.x_t[:, None], 0.0)

    def left(self) -> Amount:
        """The probability that x_t is left: 1 where the weight of leaving is beyond the precision of the scores."""
        away = self.gain * self.total if _is_absorbing(self.kernel) else self.moves.clamp_min(0).sum(-1)
        return torch.where(away.isinf(), 1.0, away / (away + self.stay.clamp_min(0)))

    def of(self, rows: Int[Tensor, " C"]) -> "Leap":
        """Of some of the positions."""
        values = self.x_t, self.log_score, self.total, self.gain, self.loss, self.stay
        return Leap(self.kernel, *(value[rows] for value in values))

    def to_tokens(self) -> "Leap":
        """Without staying where no token is: the mask is left for sure."""
        return replace(self, stay=self.stay.masked_fill(self.x_t >= self.log_score.shape[-1], 0.0))

    def weights(self, states: int) -> Float[Tensor, "M S"]:
        """All weights in one table, those below 0 as they are."""
        moves = nn.functional.pad(self.moves, (0, states - self.log_score.shape[-1]))
        return moves.scatter(-1, self.x_t[:, None], self.stay[:, None])


Law = Callable[[Mixing, Scores, Tokens, Amount], Leap]


def reverse_rates(kernel: Mixing, log_score: Scores, x_t: Tokens) -> Leap:
    """Rates of the reverse process per unit of total noise; those of staying make the rows sum to 0."""
    rate, total = kernel.stationary[x_t], total_score(kernel, log_score, x_t)
    return Leap(kernel, x_t, log_score, total, rate, torch.zeros_like(rate), -rate * total)


def euler(kernel: Mixing, log_score: Scores, x_t: Tokens, noise: Amount) -> Leap:
    """One step with constant rates (section 4.1).

    Args:
        noise: the rate of the total noise times the length of the step.
    """
    rates = reverse_rates(kernel, log_score, x_t)
    return replace(rates, gain=noise * rates.gain, stay=1 + noise * rates.stay)


def analytic(kernel: Mixing, log_score: Scores, x_t: Tokens, kept: Amount) -> Leap:
    """One step that is exact for every position by itself: Tweedie tau-leaping (theorem 4.2).

    The weight of y is (exp(-d Q) s)_y exp(d Q)(x_t, y), d the total noise between the two times.

    Args:
        kept: exp(-d), what the noise between the two times leaves.
    """
    law, total, noise = kernel.stationary[x_t], total_score(kernel, log_score, x_t), 1 - kept
    lost, gain = noise * (1 + total), noise * law / kept
    return Leap(kernel, x_t, log_score, total, gain, gain * lost, (1 - lost * law) / kept * (kept + noise * law))


def total_score(kernel: Mixing, log_score: Scores, x_t: Tokens) -> Amount:
    """The sum of the scores of all tokens but x_t, added up in the precision that they have.

    Under absorbing noise of all tokens: masks are none, and from tokens nothing leads away, whatever the sum.
    """
    scores = log_score.exp()
    total = scores.sum(-1).double()
    return total if _is_absorbing(kernel) else total - scores.gather(-1, x_t[:, None])[:, 0]


def _is_absorbing(kernel: Mixing) -> bool:
    return isinstance(kernel, Absorbing)


def analytic_step(
    kernel: Kernel, x_t: Tensor, estimate: Estimate, alpha_t: Level, alpha_s: Level, *, noise: Tensor, final: bool
) -> Tensor:
    """A draw from `analytic`; the final step removes all noise and leaves no mask."""
    later = torch.ones_like(alpha_s) if final else alpha_s
    return leapt(kernel, x_t, estimate, alpha_t, remaining(alpha_t, later), analytic, noise=noise, final=final)


class EulerSteps:
    """Draws from `euler`; the final step is that of `analytic_step`.

    Args:
        schedule: the noise, whose rate at the start of a step counts.
    """

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule

    def between(self, t: float, s: float) -> Reverse:
        """See `samplers.Timed`."""
        return partial(self._step, t=t, s=s)

    def noise(self, t: float, step: float, alpha_t: Level) -> Level:
        """What `euler` takes for a step of this length from t."""
        return step * noise_rate(bounded(alpha_t), self.schedule.rate(torch.full_like(alpha_t, t)))

    def _step(
        self, kernel: Kernel, x_t: Tensor, estimate: Estimate, alpha_t: Level, alpha_s: Level, *, noise: Tensor, final: bool,
        t: float, s: float,
    ) -> Tensor:  # fmt: skip
        if final:
            return analytic_step(kernel, x_t, estimate, alpha_t, alpha_s, noise=noise, final=True)
        amount = self.noise(t, t - s, alpha_t)
        return leapt(kernel, x_t, estimate, alpha_t, amount, euler, noise=noise, final=False)


def leapt(
    kernel: Kernel, x_t: Int[Tensor, "B L"], estimate: Estimate, alpha_t: Level, amount: Level, law: Law, *,
    noise: Float[Tensor, "B L 2"], final: bool,
) -> Int[Tensor, "B L"]:  # fmt: skip
    """One reverse step: whether a position is left is drawn first, where it goes only if it is.

    Weights are float64, for a block of positions at a time. Where no position can change the network is not asked.

    Args:
        amount: what the law takes, at every position.

    Raises:
        TypeError: the kernel does not mix with a fixed law.
    """
    if not isinstance(kernel, Mixing):
        raise TypeError(f"scores need noise that mixes with a fixed law; {type(kernel).__name__} does not")
    moved = changeable(kernel, x_t, alpha_t)
    places = moved.flatten().nonzero()[:, 0]
    if not len(places):
        return x_t
    logits, here, uniform = estimate.raw_at(moved), x_t.flatten()[places], noise.flatten(0, 1)[places]
    alpha, amount = (level.expand(x_t.shape).flatten()[places] for level in (alpha_t, amount))
    x_s = x_t.flatten()
    block = max(1, BLOCK // logits.shape[-1])
    for start in range(0, len(here), block):
        part = slice(start, start + block)
        leap = law(kernel, log_scores(kernel, logits[part], alpha[part]), here[part], amount[part])
        leap = leap.to_tokens() if final else leap
        left = (uniform[part, 0] < leap.left()).nonzero()[:, 0]
        x_s = x_s.index_put((places[part][left],), categorical(leap.of(left).moves.clamp_min(0), uniform[part, 1][left]))
    return x_s.view_as(x_t)
