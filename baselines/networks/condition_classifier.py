"""What a noisy text tells about its condition: the classifier of classifier-based guidance."""

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from baselines.networks.transformer import Transformer
from baselines.parts.conditioning import Source


class ConditionClassifier(nn.Module):
    """log p(y | x_t) of a condition's tokens, independent of each other given the noisy text.

    A bidirectional transformer over the states; their mean, moved by an embedding of each place of the condition, is read out as
    that place's token, the padding behind the condition included.

    Args:
        states: number of states S that are read, a mask included.
        vocabulary: number of tokens V of conditions.
        length: positions of the canvas L.
        condition: places of a condition N.
        width: features D.
        layers: blocks.
        heads: attention heads.
    """

    def __init__(self, *, states: int, vocabulary: int, length: int, condition: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(states, width)
        self.places = nn.Embedding(length, width)
        self.transformer = Transformer(width, layers, heads)
        self.asked = nn.Embedding(condition, width)
        self.up, self.head = nn.Linear(width, 2 * width), nn.Linear(2 * width, vocabulary)

    def forward(self, x_t: Int[Tensor, "B L"], source: Source) -> Float[Tensor, " B"]:
        """Log p(y | x_t), in nats."""
        pooled = self.transformer(self.embedding(x_t) + self.places.weight[: x_t.shape[1]]).mean(1)
        logits = self.head(nn.functional.gelu(self.up(pooled[:, None] + self.asked.weight)))
        errors = cross_entropy(logits.flatten(0, 1), source.ids.flatten(), reduction="none")
        return -errors.view_as(source.ids).sum(-1)
