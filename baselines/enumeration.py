"""Exact bounds and exact sampler laws of tiny discrete models, by going through every state: S ** L states at a time."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from baselines.engine import Diffusion
from baselines.parts.categorical import Categorical, CategoricalKernel, Unmasking, point
from baselines.parts.conditioning import Canvas

Law = Categorical | Unmasking
Ending = Callable[[Law], Float[Tensor, "B L S"]]


@dataclass(frozen=True, slots=True)
class ExactBound:
    """The parts of a variational bound on -log p(x_0), in nats.

    Attributes:
        terms: expected divergence of the reverse steps 0..T-1; the first one is the expected -log p(x_0 | x_1).
        prior: divergence of q(x_T | x_0) from the prior.
    """

    terms: Float[Tensor, " T"]
    prior: Float[Tensor, ""]

    @property
    def total(self) -> Float[Tensor, ""]:
        """The bound."""
        return self.terms.sum() + self.prior


def every_sequence(states: int, length: int) -> Int[Tensor, "N L"]:
    """All sequences in lexicographic order."""
    return torch.cartesian_prod(*[torch.arange(states)] * length).view(-1, length)


def kernel_of(diffusion: Diffusion) -> CategoricalKernel:
    """The kernel of a discrete model."""
    assert isinstance(diffusion.kernel, CategoricalKernel)
    return diffusion.kernel


@torch.no_grad()
def exact_bound(diffusion: Diffusion, ids: Int[Tensor, " L"]) -> ExactBound:
    """The bound of one sequence, without Monte Carlo."""
    kernel = kernel_of(diffusion)
    canvas = _everywhere(ids, kernel.states)
    terms = torch.stack([_term(diffusion, canvas, step) for step in range(diffusion.chain)])
    last = diffusion.level(torch.tensor([diffusion.chain]), ids[None])
    return ExactBound(terms, kernel.prior_divergence(ids[None], last).sum())


def _everywhere(ids: Int[Tensor, " L"], states: int) -> Canvas:
    rows = ids.expand(states ** len(ids), -1)
    return Canvas(ids=rows, given=torch.zeros_like(rows, dtype=torch.bool))


def _term(diffusion: Diffusion, canvas: Canvas, step: int) -> Float[Tensor, ""]:
    kernel = kernel_of(diffusion)
    x_t = every_sequence(kernel.states, canvas.ids.shape[1])
    index = torch.full((len(x_t),), step)
    alpha_t, alpha_s = diffusion.alpha(index + 1, canvas), diffusion.alpha(index, canvas)
    reached = kernel.log_marginal(point(canvas.ids, kernel.states), alpha_t).gather(-1, x_t[..., None])[..., 0]
    x0_hat = diffusion.denoiser(x_t, diffusion.time_input(index), canvas.given, None).x0_hat
    divergence = kernel.divergence(x_t, canvas.ids, x0_hat, alpha_t, alpha_s).sum(-1)
    probability = reached.sum(-1).exp()
    return torch.where(probability > 0, probability * divergence, 0.0).sum()


def drawn(law: Law) -> Float[Tensor, "B L S"]:
    """The last step draws."""
    return law.log_probabilities()


def decided(law: Law) -> Float[Tensor, "B L S"]:
    """The last step takes the mode."""
    whole = law.log_probabilities()
    return point(law.mode(), whole.shape[-1])


@torch.no_grad()
def exact_law(diffusion: Diffusion, length: int, visited: Int[Tensor, " K"], ending: Ending) -> Float[Tensor, " N"]:
    """Probability of every sequence of states, in lexicographic order, at the end of ancestral sampling.

    Args:
        diffusion: the model.
        length: positions L.
        visited: steps, ascending.
        ending: `drawn` or `decided`.
    """
    kernel = kernel_of(diffusion)
    law = _all(kernel.stationary.log().expand(1, length, -1))[0]
    steps = visited.tolist()[::-1]
    for step, after in zip(steps, [*steps[1:], -1], strict=True):
        move = _move(diffusion, length, step, after + 1, ending if after < 0 else drawn)
        law = law @ torch.where(law[:, None] > 0, move, 0.0)  # what is never reached has no next law
    return law


def _move(diffusion: Diffusion, length: int, step: int, left: int, ending: Ending) -> Float[Tensor, "N N"]:
    kernel = kernel_of(diffusion)
    x_t = every_sequence(kernel.states, length)
    canvas = Canvas(ids=torch.zeros_like(x_t), given=torch.zeros_like(x_t, dtype=torch.bool))
    index, s = (torch.full((len(x_t),), number) for number in (step, left))
    x0_hat = diffusion.denoiser(x_t, diffusion.time_input(index), canvas.given, None).x0_hat
    posterior = kernel.posterior(x_t, x0_hat, diffusion.alpha(index + 1, canvas), diffusion.alpha(s, canvas))
    return _all(ending(posterior))


def _all(log_law: Float[Tensor, "B L S"]) -> Float[Tensor, "B N"]:
    """Probability of every sequence where positions are independent."""
    law = log_law.exp()
    everything = law[:, 0]
    for position in range(1, law.shape[1]):
        everything = (everything[:, :, None] * law[:, position, None]).flatten(1)
    return everything


def without_mask(law: Float[Tensor, " N"], states: int, length: int, tokens: int) -> Float[Tensor, " K"]:
    """The entries of a law whose sequences hold the first `tokens` states only."""
    sequences = every_sequence(states, length)
    return law[(sequences < tokens).all(-1)]
