"""The network of systems that read noisy token ids and estimate the clean ones."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from baselines.networks.transformer import TimeEmbedding, Transformer
from baselines.parts.categorical import normalised
from baselines.parts.estimates import Estimate, Readout


class TokenDenoiser(nn.Module):
    """Embedding of states and of places, transformer told the time, logits over tokens; read where they are looked at.

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
        timed: whether the network is told the time.
    """

    gate: Tensor | None

    def __init__(
        self, *, states: int, vocabulary: int, length: int, width: int, layers: int, heads: int, gated: bool = False,
        timed: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.register_parameter("gate", nn.Parameter(torch.zeros(())) if gated else None)
        self.embedding = nn.Embedding(states, width)
        self.places = nn.Embedding(length, width)
        self.time = TimeEmbedding(width) if timed else None
        self.transformer = Transformer(width, layers, heads, condition_width=width if timed else None)
        self.head = nn.Linear(width, vocabulary)

    def forward(
        self,
        x_t: Int[Tensor, "B L"] | Float[Tensor, "B L S"],
        time: Float[Tensor, " B"],
        given: Bool[Tensor, "B L"],
        previous: Estimate | None,
    ) -> Estimate:
        """Estimate x0 as log-probabilities; what is given and what was estimated before is not looked at.

        Probabilities of states, in place of states, are read as the mean of their embeddings.
        """
        read = x_t @ self.embedding.weight if x_t.is_floating_point() else self.embedding(x_t)
        embedded = read + self.places.weight[: x_t.shape[1]]
        hidden = self.transformer.begin(embedded, condition=None if self.time is None else self.time(time))
        return Readout(hidden, self.logits, normalised)

    def logits(self, hidden: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch V"]:
        """Logits over tokens of last hidden states."""
        logits = self.head(hidden)
        return logits if self.gate is None else self.gate * logits
