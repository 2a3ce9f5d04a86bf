"""A decoder-only language model: embedding, causal transformer, and the embedding again as output head."""

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear

from baselines.networks.attention import CausalAttention
from baselines.networks.transformer import Transformer


class LanguageModel(nn.Module):
    """Next-token logits; input and output embeddings are one matrix (Press and Wolf 2017, arXiv:1608.05859).

    The block is that of GPT-NeoX without parallel residual (full rotary, erf GELU, no biases but in norms), so equal weights
    give equal logits there.

    Args:
        vocabulary: entries V.
        width: features D.
        layers: number of blocks.
        heads: number of heads.
        dropout: rate on the residual branches.
    """

    def __init__(self, vocabulary: int, width: int, layers: int, heads: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.transformer = Transformer(width, layers, heads, attention=CausalAttention, dropout=dropout)

    def hidden(self, ids: Int[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        """Final hidden state of every position."""
        return self.transformer(self.embedding(ids))

    def head(self, hidden: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch V"]:
        """Logits of the token that follows."""
        return linear(hidden, self.embedding.weight)

    def forward(self, ids: Int[Tensor, "B L"]) -> Float[Tensor, "B L V"]:
        """Logits of the token after each position."""
        return self.head(self.hidden(ids))
