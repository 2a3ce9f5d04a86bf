"""An encoder-decoder: a bidirectional encoder reads the source, a decoder reads it at every layer."""

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

from baselines.networks.attention import BidirectionalAttention, CausalAttention, CrossAttention, SelfAttention
from baselines.networks.incremental import Incremental, Norm, Run, packed, packed_norm
from baselines.networks.kv_cache import KVCache
from baselines.networks.transformer import Block, Condition, Modulation, Transformer

Layer = Callable[[Float[Tensor, "B L D"]], Float[Tensor, "B L D"]]


class Reader(nn.Module):
    """x + cross-attention(norm(x)).

    Args:
        width: features D.
        heads: number of heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = CrossAttention(width, heads)

    def forward(
        self, x: Float[Tensor, "B L D"], memory: Float[Tensor, "B N D"], present: Bool[Tensor, "B N"]
    ) -> Float[Tensor, "B L D"]:
        """Read the memory once."""
        return x + self.attention(self.norm(x), memory, present)


class Decoder(Transformer):
    """A transformer whose layers look at a memory between self-attention and MLP.

    Args:
        width: features D.
        layers: number of blocks.
        heads: number of heads.
        attention: `CausalAttention`, or `BidirectionalAttention` for a target that is written in no order.
        condition_width: features of what the norms are told (a time embedding); `None` = nothing.
        dropout: rate on the residual branches of self-attention and MLP.
    """

    def __init__(
        self, width: int, layers: int, heads: int, *, attention: type[SelfAttention] = CausalAttention,
        condition_width: int | None = None, dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(width, layers, heads, attention=attention, condition_width=condition_width, dropout=dropout)
        self.readers = nn.ModuleList(Reader(width, heads) for _ in range(layers))

    def decode(
        self, x: Float[Tensor, "B L D"], memory: Float[Tensor, "B N D"], present: Bool[Tensor, "B N"],
        condition: Condition | None = None,
    ) -> Float[Tensor, "B L D"]:  # fmt: skip
        """Run all layers over a whole target; `present` is False at the source's padding."""
        for layer in self.layers(x.shape[1], memory, present, condition):
            x = layer(x)
        return self.norm(x)

    def layers(
        self, length: int, memory: Float[Tensor, "B N D"], present: Bool[Tensor, "B N"], condition: Condition | None = None
    ) -> Iterator[Layer]:
        """The layers over a whole target of so many positions, the first one first; the norm comes behind the last."""
        table = self.rotary(length, memory.device)
        for block, reader, modulation in zip(self.blocks, self.readers, self.modulations(condition), strict=True):
            assert isinstance(block, Block)
            yield partial(self._layer, block, reader, table, memory, present, modulation)

    @staticmethod
    def _layer(
        block: Block, reader: nn.Module, table: Tensor, memory: Tensor, present: Tensor, modulation: Modulation,
        x: Float[Tensor, "B L D"],
    ) -> Float[Tensor, "B L D"]:  # fmt: skip
        return block.transform(reader(block.mix(x, table, None, modulation), memory, present), modulation)

    def initialise_own(self, generator: torch.Generator) -> None:
        """As the transformer, with three residual branches per layer."""
        scale = 1 / math.sqrt(3 * len(self.blocks))
        for name, parameter in self.named_parameters():
            if name.endswith(("attention.out.weight", "mlp.down.weight")):
                parameter.data.mul_(scale)


class EncoderDecoder(nn.Module):
    """Next-token logits of a target given a source; one embedding for source, target and output head.

    Args:
        vocabulary: entries V.
        width: features D.
        layers: number of blocks of the encoder, and again of the decoder.
        heads: number of heads.
        dropout: rate on the residual branches.
    """

    def __init__(self, vocabulary: int, width: int, layers: int, heads: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.encoder = Transformer(width, layers, heads, attention=BidirectionalAttention, dropout=dropout)
        self.decoder = Decoder(width, layers, heads, dropout=dropout)

    def encode(self, source: Int[Tensor, "B N"], present: Bool[Tensor, "B N"]) -> Float[Tensor, "B N D"]:
        """The memory of a source; every row has at least one present token."""
        return self.encoder(self.embedding(source), present=present)

    def hidden(self, source: Int[Tensor, "B N"], present: Bool[Tensor, "B N"], ids: Int[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        """Final hidden state of every target position."""
        return self.decoder.decode(self.embedding(ids), self.encode(source, present), present)

    def head(self, hidden: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch V"]:
        """Logits of the token that follows."""
        return linear(hidden, self.embedding.weight)

    def forward(
        self, source: Int[Tensor, "B N"], present: Bool[Tensor, "B N"], ids: Int[Tensor, "B L"]
    ) -> Float[Tensor, "B L V"]:
        """Logits of the token after each target position."""
        return self.head(self.hidden(source, present, ids))


class IncrementalDecoder(Incremental):
    """A decoder's weights, packed for decoding.

    Args:
        decoder: the network; later changes are not seen.
    """

    def __init__(self, decoder: Decoder) -> None:
        super().__init__(decoder)
        self.readers: list[tuple[Norm, Tensor, Tensor]] = []
        self.attentions: list[CrossAttention] = []
        for reader in decoder.readers:
            assert isinstance(reader, Reader)
            self.readers.append((packed_norm(reader.norm), packed(reader.attention.query), packed(reader.attention.out)))
            self.attentions.append(reader.attention)

    def read(
        self, x: Float[Tensor, "B P D"], memory: Float[Tensor, "B N D"], *, present: Bool[Tensor, "B N"], capacity: int
    ) -> "ReadingRun":
        """Start targets.

        Args:
            x: embedded starts of the targets, all of one length.
            memory: encoded sources.
            present: False at the sources' padding.
            capacity: target positions that will be read in all.
        """
        cache = KVCache(len(self.layers), x.shape[0], self.heads, capacity, self.rotary.size, like=x)
        remembered = [attention.remember(memory) for attention in self.attentions]
        return ReadingRun(self, cache, x, remembered, None if present.all() else present[:, None, None])


class ReadingRun(Run):
    """Sequences being written beside a memory, whose keys and values are computed once."""

    def __init__(
        self,
        network: IncrementalDecoder,
        cache: KVCache,
        x: Float[Tensor, "B P D"],
        remembered: list[tuple[Tensor, Tensor]],
        present: Bool[Tensor, "B 1 1 N"] | None,
    ) -> None:
        self.readers = network.readers
        self.remembered, self.present = remembered, present
        super().__init__(network, cache, x)

    def between(self, index: int, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Read the memory; `x` is changed in place."""
        norm, query_weight, out = self.readers[index]
        key, value = self.remembered[index]
        rows, width = x.shape[0], x.shape[-1]
        query = (torch.layer_norm(x, *norm) @ query_weight).view(rows, -1, self.network.heads, key.shape[-1]).transpose(1, 2)
        mixed = scaled_dot_product_attention(query, key, value, attn_mask=self.present)
        x.view(-1, width).addmm_(mixed.transpose(1, 2).reshape(-1, width), out)
        return x

    def select(self, rows: Int[Tensor, " C"]) -> None:
        """Keep, reorder or repeat sequences, their memory too."""
        super().select(rows)
        self.remembered = [(key.index_select(0, rows), value.index_select(0, rows)) for key, value in self.remembered]
        self.present = None if self.present is None else self.present.index_select(0, rows)
