"""The network of systems that read noisy token ids and estimate the clean ones."""

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from baselines.networks.transformer import TimeEmbedding, Transformer
from baselines.parts.categorical import normalised
from baselines.parts.denoisers import Estimate


class TokenDenoiser(nn.Module):
    """Embedding of states, transformer told the time, logits over tokens.

    Args:
        states: number of states S that are read, a mask included.
        vocabulary: number of tokens V that are estimated.
        width: features D.
        layers: blocks.
        heads: attention heads.
    """

    def __init__(self, *, states: int, vocabulary: int, width: int, layers: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(states, width)
        self.time = TimeEmbedding(width)
        self.transformer = Transformer(width, layers, heads, condition_width=width, dropout=dropout)
        self.head = nn.Linear(width, vocabulary)

    def forward(
        self, x_t: Int[Tensor, "B L"], time: Float[Tensor, " B"], given: Bool[Tensor, "B L"], previous: Estimate | None
    ) -> Estimate:
        """Estimate x0 as log-probabilities; what is given and what was estimated before is not looked at."""
        logits = self.head(self.transformer(self.embedding(x_t), condition=self.time(time)))
        return Estimate(normalised(logits), logits)
