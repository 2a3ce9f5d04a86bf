"""Where x lives: tokens to states and back."""

from abc import ABC, abstractmethod
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


@runtime_checkable
class DrawSource(Protocol):
    """Where uniform and normal draws come from: `training.Draws` (keys are names) or `randomness.Noise` (keys are steps)."""

    def uniform(self, key: Any, *shape: int) -> Float[Tensor, "B ..."]:
        """Draws in [0, 1), float64."""
        ...

    def normal(self, key: Any, *shape: int) -> Float[Tensor, "B ..."]:
        """Standard normal draws, float32."""
        ...


class TokenSpace(nn.Module, ABC):
    """A space with one state per token position."""

    @abstractmethod
    def encode(self, ids: Int[Tensor, "B L"]) -> Tensor:
        """Clean states of tokens: "B L" ids, or "B L S" vectors."""

    @abstractmethod
    def decode(self, x: Tensor) -> Int[Tensor, "B L"]:
        """Tokens of a final state."""


class DiscreteSpace(TokenSpace):
    """States are the token ids themselves.

    Args:
        vocabulary: number of tokens V; a kernel may add states of its own behind them.
    """

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary

    def encode(self, ids: Int[Tensor, "B L"]) -> Int[Tensor, "B L"]:
        """The ids."""
        return ids

    def decode(self, x: Int[Tensor, "B L"]) -> Int[Tensor, "B L"]:
        """The ids."""
        return x


def noisy_embedding(clean: Float[Tensor, "B L S"], alpha: Float[Tensor, "B #L"], source: DrawSource) -> Float[Tensor, "B L S"]:
    """A draw from q(x_0 | tokens): the embedding with the noise of the chain's first step, not scaled down.

    Li et al. 2022 (Diffusion-LM, arXiv:2205.14217), section 4.2; sigma_0 is the square root of 1 - alpha_bar at step 1.
    """
    return clean + (1 - alpha).sqrt().to(clean.dtype)[..., None] * source.normal("embed", *clean.shape[1:])


class EmbeddingSpace(TokenSpace):
    """States are vectors of a jointly learned table, read out by a tied, biased head.

    Li et al. 2022 (Diffusion-LM, arXiv:2205.14217), section 4.

    Args:
        vocabulary: number of tokens V.
        width: dimension S of a state.
    """

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(vocabulary, width))
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.initialise_own(torch.Generator().manual_seed(0))

    def initialise_own(self, generator: torch.Generator) -> None:
        """Standard normal embeddings, as released, and no bias."""
        self.table.data.copy_(torch.randn(self.table.shape, generator=generator))
        self.bias.data.zero_()

    def encode(self, ids: Int[Tensor, "B L"]) -> Float[Tensor, "B L S"]:
        """Clean embeddings."""
        return nn.functional.embedding(ids, self.table)

    def logits(self, x: Float[Tensor, "B L S"]) -> Float[Tensor, "B L V"]:
        """Logits of the tied head: dot products plus bias."""
        return nn.functional.linear(x, self.table.to(x.dtype), self.bias.to(x.dtype))

    def decode(self, x: Float[Tensor, "B L S"]) -> Int[Tensor, "B L"]:
        """Final rounding: the most probable token of the head, which can differ from the nearest embedding."""
        return self.logits(x).argmax(-1)

    def distance_logits(self, x: Float[Tensor, "B L S"]) -> Float[Tensor, "B L V"]:
        """Negative Euclidean distances to all embeddings: the readout that needs no head."""
        return -torch.cdist(x, self.table.to(x.dtype).expand(len(x), -1, -1))

    def gaussian_logits(self, x: Float[Tensor, "B L S"], sigma: float) -> Float[Tensor, "B L V"]:
        """Unnormalised log-probabilities of tokens whose embeddings were blurred by N(0, sigma^2 I)."""
        return -self.distance_logits(x).square() / (2 * sigma**2)

    def snap(self, x: Float[Tensor, "B L S"]) -> Float[Tensor, "B L S"]:
        """The clamping trick: every position is replaced by its nearest embedding in Euclidean distance."""
        return self.encode(self.nearest(x))

    def nearest(self, x: Float[Tensor, "B L S"]) -> Int[Tensor, "B L"]:
        """Nearest embedding of every position: argmax of x.e - |e|^2 / 2."""
        table = self.table.to(x.dtype)
        return nn.functional.linear(x, table, -0.5 * table.square().sum(-1)).argmax(-1)
