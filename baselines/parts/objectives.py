"""Loss terms on embedded tokens; an objective is a sum of terms, each one value per position, in nats or squared units."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from baselines.parts.gaussian import noise_from_x0
from baselines.parts.spaces import EmbeddingSpace
from baselines.parts.steps import Step

Term = Callable[[Step], Float[Tensor, "B L"]]


def per_example(values: Float[Tensor, "B L"], counted: Bool[Tensor, "B L"] | None = None) -> Float[Tensor, " B"]:
    """Mean over positions, or over those that are counted."""
    if counted is None:
        return values.mean(-1)
    return (values * counted).sum(-1) / counted.sum(-1)


def placed(places: Bool[Tensor, "B L"], values: Float[Tensor, " M"]) -> Float[Tensor, "B L"]:
    """Values at some positions, given in their order; 0 at the others."""
    return torch.zeros(places.shape, dtype=values.dtype, device=values.device).masked_scatter(places, values)


def per_canvas(values: Float[Tensor, "B L"]) -> Float[Tensor, " B"]:
    """Sum over positions: what a bound on a whole text is made of."""
    return values.sum(-1)


def denoising_error(step: Step) -> Float[Tensor, "B L"]:
    """Squared error of the estimate, averaged over dimensions; the step that ends at the data is held to the clean embedding.

    Li et al. 2022 (Diffusion-LM, arXiv:2205.14217), equation 2 with x_0 prediction, as released.
    """
    goal = step.clean.where(step.first[..., None], step.x0)
    return (goal - step.estimate.x0_hat).square().mean(-1)


def noise_error(step: Step) -> Float[Tensor, "B L"]:
    """Squared error of a network that predicts the noise; the step that ends at the data compares embeddings instead."""
    noise = noise_from_x0(step.x_t, step.x0, step.alpha_t)
    error = (noise - step.estimate.raw).square().mean(-1)
    return (step.clean - step.estimate.x0_hat).square().mean(-1).where(step.first, error)


def prior_error(step: Step) -> Float[Tensor, "B L"]:
    """Squared mean of q(x_T | x_0), averaged over dimensions: what is left of the signal at the end."""
    return (step.alpha_T.sqrt().to(step.x0.dtype)[..., None] * step.x0).square().mean(-1)


def rounding_error(logits: Float[Tensor, "B L V"], ids: Int[Tensor, "B L"]) -> Float[Tensor, "B L"]:
    """Cross-entropy of tokens under logits, in nats."""
    return cross_entropy(logits.flatten(0, 1), ids.flatten(), reduction="none").view_as(ids)


def end_to_end(space: EmbeddingSpace, error: Term = denoising_error) -> Term:
    """Denoising, prior and rounding terms with weight 1 each (Diffusion-LM, equation 2 and section 4.2).

    Rounding reads the tokens off the embedding that was corrupted, not off the estimate, as released.
    """

    def objective(step: Step) -> Float[Tensor, "B L"]:
        return error(step) + prior_error(step) + rounding_error(space.logits(step.x0), step.ids)

    return objective
