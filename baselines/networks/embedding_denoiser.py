"""The network of systems that predict embeddings from embeddings."""

from jaxtyping import Bool, Float
from torch import Tensor, nn

from baselines.networks.transformer import TimeEmbedding, Transformer
from baselines.parts.estimates import Estimate


class EmbeddingDenoiser(nn.Module):
    """Projection up, embedding of places, transformer, projection down: vectors "B L S" to an estimate of x0.

    Li et al. 2022 (Diffusion-LM, arXiv:2205.14217), appendix F: linear-tanh-linear projections around a bidirectional encoder
    without attention mask; the encoder is the one that all systems here share.

    Args:
        space: dimension S of a state.
        length: positions of the canvas L; rotary attention alone sees distances, not places.
        width: features D.
        layers: blocks.
        heads: attention heads.
    """

    def __init__(self, *, space: int, length: int, width: int, layers: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.up = nn.Sequential(nn.Linear(space, width), nn.Tanh(), nn.Linear(width, width))
        self.places = nn.Embedding(length, width)
        self.time = TimeEmbedding(width)
        self.transformer = Transformer(width, layers, heads, condition_width=width, dropout=dropout)
        self.down = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, space))

    def forward(
        self, x_t: Float[Tensor, "B L S"], time: Float[Tensor, " B"], given: Bool[Tensor, "B L"], previous: Estimate | None
    ) -> Estimate:
        """Estimate x0; what is given and what was estimated before is not looked at."""
        state = x_t.to(self.places.weight.dtype)
        hidden = self.transformer(self.up(state) + self.places.weight[: x_t.shape[1]], condition=self.time(time))
        x0_hat = self.down(hidden).to(x_t.dtype)
        return Estimate(x0_hat, x0_hat)
