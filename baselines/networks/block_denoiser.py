"""The network of systems that write block after block: noisy blocks see the clean blocks before them."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor, nn

from baselines.networks.attention import MaskedAttention, Visible
from baselines.networks.kv_cache import KVCache
from baselines.networks.transformer import Block, Transformer
from baselines.parts.blocks import block_mask, block_numbers
from baselines.parts.conditioning import Source
from harness.tokenizer import BOS

Hidden = Float[Tensor, "B L D"]


class BlockDenoiser(nn.Module):
    """Embedding of states, transformer, logits over tokens; not told the time.

    Before the first block stands a prefix, never masked: the source, or the start token where there is none. It is a block by
    itself, of any length, that sees itself whole. Rotary attention sees distances only; where a block is all masks, a position is
    told from its neighbours by its distance to the prefix and to the clean blocks. Nothing is learnt for a place of its own, so
    a canvas may be of any length.

    Args:
        states: number of states S that are read, a mask included.
        vocabulary: number of tokens V that are estimated.
        block: positions of a block.
        width: features D.
        layers: of the transformer.
        heads: attention heads.
    """

    def __init__(self, *, states: int, vocabulary: int, block: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.block = block
        self.embedding = nn.Embedding(states, width)
        self.transformer = Transformer(width, layers, heads, attention=MaskedAttention)
        self.logits = nn.Linear(width, vocabulary)

    def prefix(self, source: Source | None, rows: int) -> Source:
        """What stands before the first block.

        Args:
            source: of each row; `None` = there is none.
            rows: their number B.
        """
        if source is not None:
            return source
        ids = torch.full((rows, 1), BOS, device=self.embedding.weight.device)
        return Source(ids=ids, present=torch.ones_like(ids, dtype=torch.bool))

    def beside_clean(self, x_t: Int[Tensor, "B L"], clean: Int[Tensor, "B L"], source: Source | None) -> Hidden:
        """Last hidden states of noisy blocks, all at once: the pass over [x_t ; x_0] of training.

        The clean blocks stand behind the noisy ones and share their positions; the prefix is the first of them, and the last is
        left out, which no noisy block sees.
        """
        prefix, length = self.prefix(source, len(x_t)), x_t.shape[1]
        before, last = prefix.ids.shape[1], length - self.block
        ids = torch.cat([x_t, prefix.ids, clean[:, :last]], -1)
        table = self.transformer.rotary(before + length, ids.device)
        table = torch.cat([table[before:], table[: before + last]])
        mask = block_mask(block_numbers(length, self.block, before=before, device=ids.device))
        mask = mask[before : -self.block, before : -self.block]
        present = torch.cat([_all(x_t), prefix.present, _all(clean[:, :last])], -1)
        return self._through(ids, table, mask & present[:, None, None])[:, :length]

    def past(self, source: Source | None, rows: int, *, length: int) -> KVCache:
        """Room for the keys and values of a prefix and of blocks; nothing is read yet.

        Args:
            source: of each row; `None` = there is none.
            rows: their number B.
            length: positions of the blocks.
        """
        prefix, rotary = self.prefix(source, rows), self.transformer.rotary
        heads = self.transformer.width // rotary.size
        cache = KVCache(
            len(self.transformer.blocks), rows, heads, prefix.ids.shape[1] + length, rotary.size, like=self.embedding.weight
        )
        cache.pad(prefix.present)
        return cache

    @torch.no_grad()
    def forward(self, ids: Int[Tensor, "B L"], past: KVCache) -> Hidden:
        """Last hidden states of one block behind the filled slots of a past, all of which it sees; no gradients.

        Its keys and values are written behind them; the block becomes part of the past when `past.length` is raised.

        Args:
            ids: a noisy block, or a clean one or a prefix that the past is to hold.
            past: its first rows belong to the rows of `ids`.
        """
        rows, last = len(ids), past.length + ids.shape[1]
        table = self.transformer.rotary(past.capacity, ids.device)[past.length : last]
        visible = None if past.mask is None else past.mask[:rows, ..., :last]
        return self._through(ids, table, visible, [slots[:, :rows] for slots in past.slots(0, last)])

    def _through(
        self, ids: Int[Tensor, "B M"], table: Complex[Tensor, "M E2"], visible: Visible | None,
        slots: Sequence[Tensor] | None = None,
    ) -> Float[Tensor, "B M D"]:  # fmt: skip
        x = self.embedding(ids)
        for index, block in enumerate(self.transformer.blocks):
            assert isinstance(block, Block)
            assert isinstance(block.attention, MaskedAttention)
            seen = block.attention.look(block.norm_attention(x), table, visible, None if slots is None else slots[index])
            x = block.transform(x + seen)
        return self.transformer.norm(x)


def _all(ids: Int[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
    return torch.ones_like(ids, dtype=torch.bool)
