"""Kernels over token ids that mix x_0 with a fixed law, a x_0 + (1 - a) pi: absorbing and uniform noise.

Estimates of x_0 are log-probabilities "B L V"; a kernel may have states behind the V tokens (a mask), which no estimate names.
The reverse law is the joint form of Austin et al. 2021 (D3PM, arXiv:2107.03006), equation 4: p(x_s | x_t) is proportional to
the sum over x_0 of q(x_s, x_t | x_0) p(x_0 | x_t), which factorises into q(x_t | x_s) times the mean of q(x_s | x_0). With a
one-hot estimate it is the true posterior. It is not the mean of q(x_s | x_t, x_0): the two agree for absorbing noise only.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from baselines.parts.kernels import Distribution, Kernel
from baselines.parts.randomness import categorical
from baselines.parts.spaces import DrawSource
from harness.schedules import mutual_information
from harness.schedules.base import Exact

Level = Float[Tensor, "B #L"]
Ids = Int[Tensor, "B L"]
Pairs = Float[Tensor, "B L 2"]
"""A kernel's noise: one draw for whether a position changes, one for what it becomes."""
NEVER = float("-inf")


@runtime_checkable
class Law(Distribution, Protocol):
    """A law over states that can be written out."""

    def log_probabilities(self) -> Float[Tensor, "B L S"]:
        """Normalised log-probabilities."""
        ...


@dataclass(frozen=True, slots=True)
class Categorical:
    """A law over states at every position.

    Attributes:
        logits: log-probabilities up to a constant per position.
    """

    logits: Float[Tensor, "B L S"]

    def log_probabilities(self) -> Float[Tensor, "B L S"]:
        """Normalised log-probabilities."""
        return self.logits.log_softmax(-1)

    def probabilities(self) -> Float[Tensor, "B L S"]:
        """Probabilities."""
        return self.logits.softmax(-1)

    def sample(self, noise: Pairs) -> Ids:
        """A draw at every position."""
        return categorical(self.probabilities(), noise[..., 1])

    def mode(self) -> Ids:
        """The most probable state of every position."""
        return self.logits.argmax(-1)


@dataclass(frozen=True, slots=True)
class Unmasking:
    """The law of one reverse step of absorbing noise; nothing of size "B L V" is computed until positions are revealed.

    Attributes:
        x_t: states at t; those that are no mask stay.
        mask: id of the mask.
        reveal: probability that a masked position is revealed.
        log_x0: log-probabilities of the tokens that it then gets.
    """

    x_t: Ids
    mask: int
    reveal: Float[Tensor, "B L"]
    log_x0: Float[Tensor, "B L V"]

    def log_probabilities(self) -> Float[Tensor, "B L S"]:
        """The whole law, the mask last."""
        revealed = self.log_x0 + self.reveal.log()[..., None].to(self.log_x0.dtype)
        masked = torch.cat([revealed, torch.log1p(-self.reveal)[..., None].to(self.log_x0.dtype)], -1)
        return torch.where((self.x_t == self.mask)[..., None], masked, point(self.x_t, self.mask + 1).to(masked.dtype))

    def probabilities(self) -> Float[Tensor, "B L S"]:
        """The whole law, the mask last."""
        return self.log_probabilities().exp()

    def sample(self, noise: Pairs) -> Ids:
        """Tokens are drawn only at the positions that are revealed."""
        chosen = (self.x_t == self.mask) & (noise[..., 0] < self.reveal)
        x_s = self.x_t.clone()
        x_s[chosen] = categorical(self.log_x0[chosen].softmax(-1), noise[..., 1][chosen])
        return x_s

    def mode(self) -> Ids:
        """The most probable state of every position; where everything is revealed, the argmax of the estimate."""
        best, token = self.log_x0.max(-1)
        revealed = (self.x_t == self.mask) & (self.reveal * best.exp() > 1 - self.reveal)
        return torch.where(revealed, token, self.x_t)


def point(ids: Int[Tensor, "*batch"], states: int) -> Float[Tensor, "*batch S"]:
    """Logarithm of the one-hot law of ids."""
    logarithm = torch.full((*ids.shape, states), NEVER, device=ids.device, dtype=torch.float64)
    return logarithm.scatter_(-1, ids[..., None], 0.0)


def normalised(logits: Float[Tensor, "*batch V"]) -> Float[Tensor, "*batch V"]:
    """Log-probabilities of tokens from a network's output, in float32 at least."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)


def mixed(first: Float[Tensor, "*batch S"], second: Float[Tensor, "*batch S"], gamma: float) -> Float[Tensor, "*batch S"]:
    """Log-probabilities of two laws, mixed with weights gamma and 1 - gamma and normalised.

    So classifier-free guidance (Schiff et al. 2024, arXiv:2412.10193, section 3.1) mixes estimates of x_0 under absorbing noise,
    as released; for reverse laws under uniform noise see `samplers_discrete.Renewal`.

    Args:
        first: log-probabilities with the condition.
        second: log-probabilities without it.
        gamma: weight of the condition.
    """
    return (gamma * first + (1 - gamma) * second).log_softmax(-1)


def joint(log_transition: Float[Tensor, "B L S"], log_marginal: Float[Tensor, "B L S"], *, floor: float = 0.0) -> Categorical:
    """The law of x_s from q(x_t | x_s) and the mean of q(x_s | x_0).

    Args:
        log_transition: log q(x_t | x_s) as a function of x_s.
        log_marginal: log of the mean of q(x_s | x_0).
        floor: added to both probabilities; 1e-6 in D3PM's released image code, else 0.
    """
    return Categorical(_raised(log_transition, floor) + _raised(log_marginal, floor))


def _raised(logarithm: Float[Tensor, "B L S"], floor: float) -> Float[Tensor, "B L S"]:
    return torch.log(logarithm.exp() + floor) if floor else logarithm


def kullback_leibler(true: Categorical, model: Categorical) -> Float[Tensor, "B L"]:
    """KL(true || model) at every position, in nats."""
    p, q = true.log_probabilities(), model.log_probabilities()
    return torch.where(p > NEVER, p.exp() * (p - q), 0.0).sum(-1)


class CategoricalKernel(Exact, Kernel):
    """What all kernels over ids share; a subclass says how x_0 is spread and how x_t came from x_s.

    Probabilities are float64, whatever dtype a model is moved to.

    Args:
        states: number of states S, those behind the tokens included.
        floor: see `joint`.
    """

    stationary: Tensor

    def __init__(self, states: int, stationary: Float[Tensor, " S"], *, floor: float = 0.0) -> None:
        super().__init__()
        self.states, self.floor = states, floor
        self.register_buffer("stationary", stationary.to(torch.float64), persistent=False)

    @abstractmethod
    def log_marginal(self, x0_hat: Float[Tensor, "B L V"], alpha: Level) -> Float[Tensor, "B L S"]:
        """Log of the mean of q(x_t | x_0) over an estimate of x_0."""

    @abstractmethod
    def log_transition(self, x_t: Ids, alpha_t: Level, alpha_s: Level) -> Float[Tensor, "B L S"]:
        """Log q(x_t | x_s) as a function of x_s: the steps in between, composed."""

    @abstractmethod
    def information(self, alpha: Float[Tensor, " M"], unigram: Float[Tensor, " V"]) -> Float[Tensor, " M"]:
        """I(x_t; x_0) in nats, for x_0 drawn from the unigram law; see `harness.schedules.mutual_information`."""

    def prepare(self, ids: Int[Tensor, "N L"]) -> None:
        """Hear of the training canvases before training; most kernels need nothing of them."""

    def noise(self, source: DrawSource, key: str | int, positions: int) -> Pairs:
        """Two uniform draws per position."""
        return source.uniform(key, positions, 2)

    def prior(self, noise: Pairs) -> Ids:
        """Draws from the stationary law."""
        return categorical(self.stationary.expand(*noise.shape[:2], -1), noise[..., 1])

    def corrupt(self, x0: Ids, alpha: Level, noise: Pairs) -> Ids:
        """A draw from q(x_t | x_0)."""
        return Categorical(self.log_marginal(point(x0, self.states), alpha)).sample(noise)

    def posterior(self, x_t: Ids, x0_hat: Float[Tensor, "B L V"], alpha_t: Level, alpha_s: Level) -> Law:
        """The joint form; see the module."""
        return joint(self.log_transition(x_t, alpha_t, alpha_s), self.log_marginal(x0_hat, alpha_s), floor=self.floor)

    def divergence(
        self, x_t: Ids, x0: Ids, x0_hat: Float[Tensor, "B L V"], alpha_t: Level, alpha_s: Level
    ) -> Float[Tensor, "B L"]:
        """KL(q(x_s | x_t, x_0) || p(x_s | x_t)) in nats; where alpha_s is 1 that is -log p(x_0 | x_t)."""
        transition = self.log_transition(x_t, alpha_t, alpha_s).to(x0_hat.dtype)
        spread = self.log_marginal(point(x0, self.states).to(x0_hat.dtype), alpha_s)
        estimated = self.log_marginal(x0_hat, alpha_s)
        return kullback_leibler(joint(transition, spread, floor=self.floor), joint(transition, estimated, floor=self.floor))

    def prior_divergence(self, x0: Ids, alpha_T: Level) -> Float[Tensor, "B L"]:
        """KL(q(x_T | x_0) || stationary) in nats; infinite where x_T can be what the prior never draws."""
        reached = Categorical(self.log_marginal(point(x0, self.states), alpha_T))
        return kullback_leibler(reached, Categorical(self.stationary.log().expand_as(reached.logits)))

    def transition_matrix(self, alpha_t: float | Tensor, alpha_s: float | Tensor) -> Float[Tensor, "S S"]:
        """q(x_t = column | x_s = row): rows sum to 1."""
        everything = torch.arange(self.states, device=self.stationary.device)[None]
        levels = (torch.as_tensor(level, dtype=torch.float64).view(1, 1) for level in (alpha_t, alpha_s))
        return self.log_transition(everything, *levels).exp()[0].mT


class Mixing(CategoricalKernel):
    """q(x_t | x_0) = a x_0 + (1 - a) pi; from s to t, with a_t / a_s in place of a.

    Args:
        stationary: pi, one probability per state, float64.
    """

    def __init__(self, stationary: Float[Tensor, " S"], *, floor: float = 0.0) -> None:
        super().__init__(len(stationary), stationary, floor=floor)

    def generator(self) -> Float[Tensor, "S S"]:
        """Rates at which a state (row) becomes another (column), per unit of the total noise -log alpha: rows sum to 0."""
        everywhere = self.stationary.expand(self.states, -1)
        return everywhere - torch.eye(self.states, dtype=everywhere.dtype, device=everywhere.device)

    def corrupt(self, x0: Ids, alpha: Level, noise: Pairs) -> Ids:
        """A draw from q(x_t | x_0): untouched with probability alpha."""
        return torch.where(noise[..., 0] < alpha, x0, self.prior(noise))

    def log_marginal(self, x0_hat: Float[Tensor, "B L V"], alpha: Level) -> Float[Tensor, "B L S"]:
        """See the class."""
        kept = nn.functional.pad(x0_hat, (0, self.states - x0_hat.shape[-1]), value=NEVER)
        mixed = torch.log1p(-alpha)[..., None] + self.stationary.log()
        return torch.logaddexp(kept + alpha.log()[..., None].to(kept.dtype), mixed.to(kept.dtype))

    def log_transition(self, x_t: Ids, alpha_t: Level, alpha_s: Level) -> Float[Tensor, "B L S"]:
        """See the class."""
        kept = (alpha_t / alpha_s.clamp_min(torch.finfo(torch.float64).tiny)).expand(x_t.shape)
        moved = (1 - kept) * self.stationary[x_t]
        law = moved[..., None].repeat(1, 1, self.states)
        return law.scatter_(-1, x_t[..., None], (kept + moved)[..., None]).log()

    def information(self, alpha: Float[Tensor, " M"], unigram: Float[Tensor, " V"]) -> Float[Tensor, " M"]:
        """See `CategoricalKernel`."""
        law = nn.functional.pad(unigram, (0, self.states - len(unigram)))
        return mutual_information.Mixing(self.stationary).information(alpha, law)


class Uniform(Mixing):
    """Noise that replaces a token by any token (Hoogeboom et al. 2021, arXiv:2102.05379; D3PM, appendix A.2.1).

    Args:
        states: number of tokens V.
    """

    def __init__(self, states: int, *, floor: float = 0.0) -> None:
        super().__init__(torch.full((states,), 1 / states, dtype=torch.float64), floor=floor)

    def prior(self, noise: Pairs) -> Ids:
        """Every token equally likely, without a table."""
        return (noise[..., 1] * self.states).long()

    def log_marginal(self, x0_hat: Float[Tensor, "B L V"], alpha: Level) -> Float[Tensor, "B L V"]:
        """See `Mixing`; of some tokens as well as of all, in the precision of the estimate."""
        mixed = (torch.log1p(-alpha) - math.log(self.states))[..., None]
        return torch.logaddexp(x0_hat + alpha.log()[..., None].to(x0_hat.dtype), mixed.to(x0_hat.dtype))


class Absorbing(Mixing):
    """Noise that replaces a token by the mask, for good (D3PM, appendix A.2.2). Estimates name tokens only, never the mask.

    Args:
        vocabulary: number of tokens V; the mask has id V.
    """

    def __init__(self, vocabulary: int) -> None:
        super().__init__(point(torch.tensor(vocabulary), vocabulary + 1).exp())
        self.mask = vocabulary

    def prior(self, noise: Pairs) -> Ids:
        """Nothing but masks."""
        return torch.full(noise.shape[:2], self.mask, device=noise.device)

    def posterior(self, x_t: Ids, x0_hat: Float[Tensor, "B L V"], alpha_t: Level, alpha_s: Level) -> Unmasking:
        """A masked position is revealed with probability (a_s - a_t) / (1 - a_t) and then distributed as estimated."""
        return Unmasking(x_t, self.mask, self.reveal(alpha_t, alpha_s).expand(x_t.shape), x0_hat)

    def reveal(self, alpha_t: Level, alpha_s: Level) -> Level:
        """Probability that a position masked at t is not masked at s: 1 where nothing is masked at s, whatever is kept at t."""
        revealed = (alpha_s - alpha_t) / (1 - alpha_t).clamp_min(torch.finfo(torch.float64).tiny)
        return torch.where(alpha_s < 1, revealed, 1.0)

    def divergence(
        self, x_t: Ids, x0: Ids, x0_hat: Float[Tensor, "B L V"], alpha_t: Level, alpha_s: Level
    ) -> Float[Tensor, "B L"]:
        """The chance of being revealed times the cross-entropy, at masks; 0 elsewhere."""
        error = -x0_hat.gather(-1, x0[..., None])[..., 0]
        return error * ((x_t == self.mask) * self.reveal(alpha_t, alpha_s)).to(error.dtype)

    def information(self, alpha: Float[Tensor, " M"], unigram: Float[Tensor, " V"]) -> Float[Tensor, " M"]:
        """A token that is not masked tells all: alpha times the entropy."""
        return alpha * mutual_information.entropy(unigram)
