"""The network of systems that read noisy token ids and estimate the clean ones."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from baselines.networks.transformer import TimeEmbedding, Transformer
from baselines.parts.categorical import normalised
from baselines.parts.denoisers import Estimate


class TokenDenoiser(nn.Module):
    """Embedding of states and of places, transformer told the time, logits over tokens.

    Places need an embedding of their own: rotary attention sees distances only, and on a canvas of equal states (all masks)
    every position would get the same estimate.

    Args:
        states: number of states S that are read, a mask included.
        vocabulary: number of tokens V that are estimated.
        length: positions of the canvas L.
        width: features D.
        layers: blocks.
        heads: attention heads.
        gated: whether the logits are multiplied by one learnt number that begins at 0, so that the first estimate is uniform
            (ReZero, Bachlechner et al. 2020, arXiv:2003.04887).
    """

    gate: Tensor | None

    def __init__(
        self, *, states: int, vocabulary: int, length: int, width: int, layers: int, heads: int, gated: bool = False
    ) -> None:
        super().__init__()
        self.register_parameter("gate", nn.Parameter(torch.zeros(())) if gated else None)
        self.embedding = nn.Embedding(states, width)
        self.places = nn.Embedding(length, width)
        self.time = TimeEmbedding(width)
        self.transformer = Transformer(width, layers, heads, condition_width=width)
        self.head = nn.Linear(width, vocabulary)

    def forward(
        self, x_t: Int[Tensor, "B L"], time: Float[Tensor, " B"], given: Bool[Tensor, "B L"], previous: Estimate | None
    ) -> Estimate:
        """Estimate x0 as log-probabilities; what is given and what was estimated before is not looked at."""
        embedded = self.embedding(x_t) + self.places.weight[: x_t.shape[1]]
        logits = self.head(self.transformer(embedded, condition=self.time(time)))
        logits = logits if self.gate is None else self.gate * logits
        return Estimate(normalised(logits), logits)
