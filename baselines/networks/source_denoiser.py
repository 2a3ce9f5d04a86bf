"""The network of systems that estimate clean tokens beside a source: an encoder, and a decoder that writes in no order."""

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from baselines.networks.attention import BidirectionalAttention
from baselines.networks.encoder_decoder import Decoder
from baselines.networks.transformer import TimeEmbedding, Transformer
from baselines.parts.categorical import normalised
from baselines.parts.conditioning import Source
from baselines.parts.denoisers import Denoiser, Told
from baselines.parts.estimates import Estimate, Readout


class SourceDenoiser(nn.Module):
    """Bidirectional encoder of the source, bidirectional decoder with cross-attention, logits over tokens.

    Source and states share one embedding. Target places need an embedding of their own: see `TokenDenoiser`.

    Args:
        states: number of states S that are read, a mask included.
        vocabulary: number of tokens V that are estimated.
        length: positions of the canvas L.
        width: features D.
        layers: blocks of the encoder, and again of the decoder.
        heads: attention heads.
        timed: whether the decoder is told the time.
    """

    def __init__(
        self, *, states: int, vocabulary: int, length: int, width: int, layers: int, heads: int, timed: bool = True
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(states, width)
        self.places = nn.Embedding(length, width)
        self.time = TimeEmbedding(width) if timed else None
        self.encoder = Transformer(width, layers, heads)
        self.decoder = Decoder(width, layers, heads, attention=BidirectionalAttention, condition_width=width if timed else None)
        self.head = nn.Linear(width, vocabulary)

    @property
    def source_encoder(self) -> nn.Module:
        """What reads sources; see `calls.ReadsSources`."""
        return self.encoder

    def reading(self, source: Source) -> Denoiser:
        """The denoiser of canvases beside these sources, which are encoded once."""
        return Reading(self, self.encode(source), source.present)

    def encode(self, source: Source) -> Float[Tensor, "B N D"]:
        """The memory of a source."""
        return self.encoder(self.embedding(source.ids), present=source.present)

    def forward(
        self, x_t: Int[Tensor, "B L"], time: Told, memory: Float[Tensor, "B N D"], present: Bool[Tensor, "B N"]
    ) -> Estimate:
        """Estimate x0 as log-probabilities."""
        embedded = self.embedding(x_t) + self.places.weight[: x_t.shape[1]]
        condition = None if self.time is None else self.time(time)
        return Readout(self.decoder.decode(embedded, memory, present, condition), self.head, normalised)


class Reading:
    """A denoiser that has read its sources.

    Args:
        network: what estimates, from states, time, memory and where that is present.
        memory: encoded sources.
        present: False at their padding.
    """

    def __init__(self, network: nn.Module, memory: Float[Tensor, "B N D"], present: Bool[Tensor, "B N"]) -> None:
        self.network, self.memory, self.present = network, memory, present

    def __call__(self, x_t: Tensor, time: Told, given: Bool[Tensor, "B L"], previous: Estimate | None) -> Estimate:
        """Estimate x0."""
        estimate: Estimate = self.network(x_t, time, self.memory, self.present)
        return estimate

    def select(self, rows: Int[Tensor, " C"]) -> "Reading":
        """For some of the sources."""
        return Reading(self.network, self.memory[rows], self.present[rows])
