"""One small pre-norm transformer for every system: LayerNorm, rotary attention, GELU, optionally told the time."""

import math
from functools import partial

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor, nn
from torch.nn.functional import gelu, silu

from baselines.networks.attention import BidirectionalAttention, Rotary, SelfAttention
from baselines.parts.estimates import Late

Moved = tuple[Float[Tensor, "... D"], Float[Tensor, "... D"]]
"""What a norm is told: a shift, and a factor; "B #L D", or "M D" of chosen positions."""
Modulation = tuple[Moved, Moved] | None
"""What the two norms of a block are told."""
Condition = Float[Tensor, "B C"] | Float[Tensor, "B L C"]


class MLP(nn.Module):
    """Two linear layers without biases and a GELU (erf form) between them.

    Args:
        width: features D.
        ratio: hidden features over D.
    """

    def __init__(self, width: int, ratio: int = 4) -> None:
        super().__init__()
        self.up = nn.Linear(width, ratio * width, bias=False)
        self.down = nn.Linear(ratio * width, width, bias=False)

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """Apply to every position by itself."""
        return self.down(gelu(self.up(x)))


class Block(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)); both norms may be shifted and scaled by a condition.

    Args:
        width: features D.
        heads: number of heads.
        attention: class of the self-attention.
        dropout: rate on both residual branches.
    """

    def __init__(self, width: int, heads: int, *, attention: type[SelfAttention], dropout: float = 0.0) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width)
        self.attention = attention(width, heads)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = MLP(width)
        self.dropout = nn.Dropout(dropout)

    def mix(
        self,
        x: Float[Tensor, "B L D"],
        table: Complex[Tensor, "L E2"],
        present: Bool[Tensor, "B L"] | None = None,
        modulation: Modulation = None,
    ) -> Float[Tensor, "B L D"]:
        """The first half: positions look at each other; the first part of `modulation` is for its norm."""
        inner = modulated(self.norm_attention(x), modulation and modulation[0])
        return x + self.dropout(self.attention(inner, table, present))

    def transform(self, x: Float[Tensor, "*batch D"], modulation: Modulation = None) -> Float[Tensor, "*batch D"]:
        """The second half: every position by itself; the second part of `modulation` is for its norm."""
        return x + self.dropout(self.mlp(modulated(self.norm_mlp(x), modulation and modulation[1])))


def modulated(x: Float[Tensor, "*batch D"], told: Moved | None) -> Float[Tensor, "*batch D"]:
    """Return x times the factor plus the shift; x itself where nothing is told."""
    if told is None:
        return x
    shift, factor = told
    return shift + x * factor


class Transformer(nn.Module):
    """A stack of blocks with a final norm: "B L D" -> "B L D", no embedding and no output head.

    The condition (a time embedding) shifts and scales the norms of every block. One projection serves all blocks, each
    with an offset of its own (PixArt-alpha, Chen et al. 2023, arXiv:2310.00426, section 2.3: adaLN-single, here without
    gates), so a conditioned network has only 4 * D * C parameters more.

    Args:
        width: features D.
        layers: number of blocks.
        heads: number of heads; D / heads must be a whole even number.
        attention: `BidirectionalAttention` or `CausalAttention`.
        condition_width: features C of the condition; `None` = not conditioned.
        dropout: rate on the residual branches.
    """

    def __init__(
        self,
        width: int,
        layers: int,
        heads: int,
        *,
        attention: type[SelfAttention] = BidirectionalAttention,
        condition_width: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.width = width
        self.rotary = Rotary(width // heads)
        self.blocks = nn.ModuleList(Block(width, heads, attention=attention, dropout=dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.modulate = None if condition_width is None else Modulate(condition_width, width, layers)

    def forward(
        self,
        x: Float[Tensor, "B L D"],
        *,
        condition: Condition | None = None,
        present: Bool[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, "B L D"]:
        """Run all blocks.

        Args:
            x: embedded input.
            condition: one vector per sequence, or one per position; given exactly when `condition_width` was.
            present: False at padding that nobody may attend to; `None` = everything counts.

        Raises:
            ValueError: a condition is missing, or given to a network built without.
        """
        return self.begin(x, condition=condition, present=present).whole

    def begin(
        self, x: Float[Tensor, "B L D"], *, condition: Condition | None = None, present: Bool[Tensor, "B L"] | None = None
    ) -> Late:
        """All of it but what the last block does to every position by itself, and the norm; see `forward`."""
        table = self.rotary(x.shape[1], x.device)
        *before, last = zip(self.blocks, self.modulations(condition), strict=True)
        for block, modulation in before:
            assert isinstance(block, Block)
            x = block.transform(block.mix(x, table, present, modulation), modulation)
        block, modulation = last
        assert isinstance(block, Block)
        return Late(block.mix(x, table, present, modulation), partial(self._finish, block, modulation))

    def _finish(
        self, block: Block, modulation: Modulation, x: Float[Tensor, "*batch D"], chosen: Bool[Tensor, "B L"] | None
    ) -> Float[Tensor, "*batch D"]:
        return self.norm(block.transform(x, modulation if chosen is None else told_at(modulation, chosen)))

    def modulations(self, condition: Condition | None) -> list[Modulation]:
        """What each block's norms are told.

        Raises:
            ValueError: a condition is missing, or given to a network built without.
        """
        if (condition is None) != (self.modulate is None):
            built = "without" if self.modulate is None else "with"
            raise ValueError(f"condition is {type(condition).__name__}, but the network was built {built} `condition_width`")
        return [None] * len(self.blocks) if self.modulate is None else self.modulate(condition)

    def initialise_own(self, generator: torch.Generator) -> None:
        """Scale what writes into the residual stream by 1 / sqrt(2 * layers) (GPT-2, Radford et al. 2019, section 2.3)."""
        scale = 1 / math.sqrt(2 * len(self.blocks))
        for name, parameter in self.blocks.named_parameters():
            if name.endswith(("attention.out.weight", "mlp.down.weight")):
                parameter.data.mul_(scale)


def told_at(modulation: Modulation, chosen: Bool[Tensor, "B L"]) -> Modulation:
    """What norms are told at some positions, in their order."""
    if modulation is None:
        return None
    rows, places = chosen.nonzero(as_tuple=True)
    first, second = ([part[rows, places if part.shape[1] > 1 else 0] for part in norm] for norm in modulation)
    return (first[0], first[1]), (second[0], second[1])


class Modulate(nn.Module):
    """Shifts and scales of every block from one condition; starts as the identity.

    Args:
        condition_width: features C of the condition.
        width: features D of the network.
        layers: number of blocks.
    """

    def __init__(self, condition_width: int, width: int, layers: int) -> None:
        super().__init__()
        self.project = nn.Linear(condition_width, 4 * width)
        self.offsets = nn.Parameter(torch.zeros(layers, 4, width))

    def forward(self, condition: Condition) -> list[Modulation]:
        """One modulation per block, of length 1 where the condition has no positions."""
        shared = self.project(silu(condition if condition.dim() == 3 else condition[:, None])).unflatten(-1, (4, -1))
        both = (shared + self.offsets[:, None, None]).unflatten(-2, (2, 2))  # of each block the two norms, shift and scale
        shifts, factors = both[..., 0, :].unbind(-2), (1 + both[..., 1, :]).unbind(-2)
        first, second = (zip(*(part.unbind() for part in norm), strict=True) for norm in zip(shifts, factors, strict=True))
        return list(zip(first, second, strict=True))

    def initialise_own(self, generator: torch.Generator) -> None:
        """Zero: the first network is the unconditioned one."""
        for parameter in self.parameters():
            parameter.data.zero_()


class TimeEmbedding(nn.Module):
    """Sinusoids of a time value and a two-layer MLP (Vaswani et al. 2017, section 3.5, with real-valued positions).

    Args:
        width: features D, even.
        longest: wavelengths run from 2 pi to 2 pi * longest; time should span hundreds to thousands of units
            (multiply t in [0, 1] by 1000).
    """

    def __init__(self, width: int, *, longest: float = 10_000.0) -> None:
        super().__init__()
        self.width = width
        self.longest = longest
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, time: Float[Tensor, " B"] | Float[Tensor, "B L"]) -> Float[Tensor, "B D"] | Float[Tensor, "B L D"]:
        """Embed times; the result is float32 whatever the dtype of time."""
        steps = torch.arange(self.width // 2, device=time.device, dtype=torch.float64)
        angles = time.double()[..., None] * self.longest ** (-2 * steps / self.width)
        features = torch.cat([angles.cos(), angles.sin()], dim=-1).to(self.up.weight.dtype)
        return self.down(silu(self.up(features)))
