"""Multi-head attention with rotary positions: causal, bidirectional, as a mask says, and across to a memory."""

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

Heads = Float[Tensor, "B H L E"]
Visible = Bool[Tensor, "#B 1 #L S"] | Float[Tensor, "#B 1 #L S"]


def rotary_table(
    length: int, size: int, *, base: float = 10_000.0, device: torch.device | None = None
) -> Complex[Tensor, "L E2"]:
    """Unit complex numbers by which pairs of features are turned: exp(i * position * base ** (-2 j / size)).

    RoFormer, Su et al. 2021 (arXiv:2104.09864), equations 14-15; pairs are neighbours (2j, 2j + 1).

    Args:
        length: number of positions L.
        size: features per head, even.
        base: longest wavelength is 2 pi * base.
        device: where the table lives.
    """
    rates = base ** (-torch.arange(0, size, 2, device=device, dtype=torch.float64) / size)
    angles = torch.outer(torch.arange(length, device=device, dtype=torch.float64), rates)
    return torch.polar(torch.ones_like(angles), angles).to(torch.complex64)


class Rotary(nn.Module):
    """Rotary tables, made once per device and grown when a longer sequence comes.

    Args:
        size: features per head, even.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        if size % 2:
            raise ValueError(f"features per head = {size}, expected an even number: choose width and heads accordingly")
        self.size = size
        self._tables: dict[torch.device, Tensor] = {}

    def forward(self, length: int, device: torch.device) -> Complex[Tensor, "L E2"]:
        """The table of the first `length` positions."""
        table = self._tables.get(device)
        if table is None or table.shape[0] < length:
            table = self._tables[device] = rotary_table(max(length, 64), self.size, device=device)
        return table[:length]


def rotate(x: Float[Tensor, "*batch E"], table: Complex[Tensor, "*#batch E2"]) -> Float[Tensor, "*batch E"]:
    """Turn neighbouring pairs of features by the angles of `table`."""
    wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
    turned = torch.view_as_complex(wide.unflatten(-1, (-1, 2))) * table
    return torch.view_as_real(turned).flatten(-2).type_as(x)


class SelfAttention(nn.Module):
    """Attention of a sequence to itself; the subclasses say who may see whom.

    Args:
        width: features D.
        heads: number of heads H; D / H must be a whole even number.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is no multiple of heads {heads}: choose heads that divide it")
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(
        self, x: Float[Tensor, "B L D"], table: Complex[Tensor, "L E2"], present: Bool[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "B L D"]:
        """Mix positions.

        Args:
            x: input.
            table: rotary table of the L positions.
            present: False where a position is padding that nobody may look at; `None` = all are real.
        """
        query, key, value = self.project(x, table)
        return self.merge(self.attend(query, key, value, present))

    def project(self, x: Float[Tensor, "B L D"], table: Complex[Tensor, "L E2"]) -> tuple[Heads, Heads, Heads]:
        """Queries, keys and values; queries and keys are turned by their positions."""
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1))
        query, key = rotate(qkv[:, :, :2], table[:, None, None]).permute(2, 0, 3, 1, 4)
        return query, key, qkv[:, :, 2].transpose(1, 2)

    def merge(self, mixed: Heads) -> Float[Tensor, "B L D"]:
        """What the heads have gathered, put together."""
        return self.out(mixed.transpose(1, 2).flatten(2))

    def attend(self, query: Heads, key: Heads, value: Heads, present: Bool[Tensor, "B L"] | None) -> Heads:
        """Weighted sums of values."""
        raise NotImplementedError


class BidirectionalAttention(SelfAttention):
    """Every position sees every present position."""

    def attend(self, query: Heads, key: Heads, value: Heads, present: Bool[Tensor, "B L"] | None) -> Heads:
        """Weighted sums of the present values."""
        mask = None if present is None else present[:, None, None]
        return scaled_dot_product_attention(query, key, value, attn_mask=mask)


class CausalAttention(SelfAttention):
    """A position sees itself and what stands before it."""

    def attend(self, query: Heads, key: Heads, value: Heads, present: Bool[Tensor, "B L"] | None) -> Heads:
        """Weighted sums of the present values up to each position."""
        if present is None:
            return scaled_dot_product_attention(query, key, value, is_causal=True)
        length = query.shape[2]
        past = torch.ones(length, length, dtype=torch.bool, device=query.device).tril()
        itself = torch.eye(length, dtype=torch.bool, device=query.device)
        return scaled_dot_product_attention(query, key, value, attn_mask=past & present[:, None, None] | itself)


class MaskedAttention(SelfAttention):
    """The caller says who sees whom; what is seen may begin with a past whose keys and values are known."""

    def look(
        self, x: Float[Tensor, "B L D"], table: Complex[Tensor, "L E2"], visible: Visible | None,
        slots: Float[Tensor, "2 B H S E"] | None = None,
    ) -> Float[Tensor, "B L D"]:  # fmt: skip
        """Mix positions.

        Args:
            x: input.
            table: rotary table of its L positions.
            visible: which keys a query sees: True or False, or what is added to scores; `None` = all.
            slots: keys and values of S positions, the last L of which are written here; `None` = there is no past.
        """
        query, key, value = self.project(x, table)
        if slots is not None:
            slots[0, :, :, -x.shape[1] :], slots[1, :, :, -x.shape[1] :] = key, value
            key, value = slots
        return self.merge(scaled_dot_product_attention(query, key, value, attn_mask=visible))


class CrossAttention(nn.Module):
    """Attention from a target to a source memory; no rotary positions, the memory carries its own.

    Args:
        width: features D.
        heads: number of heads H.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def remember(self, memory: Float[Tensor, "B N D"]) -> tuple[Float[Tensor, "B H N E"], Float[Tensor, "B H N E"]]:
        """Keys and values of the memory, which a decoder computes once."""
        key, value = self.key_value(memory).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return key, value

    def forward(
        self, x: Float[Tensor, "B L D"], memory: Float[Tensor, "B N D"], present: Bool[Tensor, "B N"] | None = None
    ) -> Float[Tensor, "B L D"]:
        """Read the memory.

        Args:
            x: target side.
            memory: encoded source.
            present: False where the source is padding; `None` = all real.
        """
        key, value = self.remember(memory)
        query = self.query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        mask = None if present is None else present[:, None, None]
        mixed = scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.out(mixed.transpose(1, 2).flatten(2))
