"""Keys and values of the past, preallocated for all layers at once."""

from jaxtyping import Bool, Float, Int
from torch import Tensor


class KVCache:
    """A static cache of `capacity` slots; a sequence shorter than its neighbours is padded on the left.

    One tensor holds all layers, so that a step takes two slices in all and not two per layer. Slots serve as rotary positions:
    rotary attention sees differences of positions only, so padding on the left moves no result.

    Args:
        layers: number of layers.
        rows: sequences B.
        heads: number of heads.
        capacity: slots S.
        size: features per head.
        like: a tensor of the wanted dtype and device.

    Attributes:
        store: "layers 2 B H S E"; keys, then values.
        length: slots that are filled.
        mask: "B 1 1 S", 0 or minus infinity at padding, added to scores; `None` where no row is padded.
    """

    def __init__(self, layers: int, rows: int, heads: int, capacity: int, size: int, *, like: Tensor) -> None:
        self.store = like.new_empty(layers, 2, rows, heads, capacity, size)
        self.length = 0
        self.mask: Tensor | None = None

    @property
    def rows(self) -> int:
        """Sequences B."""
        return self.store.shape[2]

    @property
    def capacity(self) -> int:
        """Slots S."""
        return self.store.shape[4]

    def pad(self, present: Bool[Tensor, "B P"]) -> None:
        """Say which of the first P slots are real; the rest of the slots always are."""
        if present.all():
            return
        mask = self.store.new_zeros(self.rows, 1, 1, self.capacity)
        mask[:, 0, 0, : present.shape[1]].masked_fill_(~present, float("-inf"))
        self.mask = mask

    def visible(self) -> Float[Tensor, "B 1 1 S"] | None:
        """The mask of the filled slots."""
        return None if self.mask is None else self.mask[..., : self.length]

    def filled(self) -> tuple[Tensor, ...]:
        """Keys and values of the filled slots: layer 0's keys, layer 0's values, layer 1's keys, ..., each "B H S E"."""
        return self.store[:, :, :, :, : self.length].flatten(0, 1).unbind(0)

    def slots(self, first: int, last: int) -> tuple[Tensor, ...]:
        """Per layer, the slots from `first` up to and without `last`, "2 B H n E", to be written."""
        return self.store[:, :, :, :, first:last].unbind(0)

    def select(self, rows: Int[Tensor, " C"]) -> None:
        """Keep, reorder or repeat rows."""
        kept = self.store.new_empty(*self.store.shape[:2], len(rows), *self.store.shape[3:])
        kept[:, :, :, :, : self.length] = self.store[:, :, :, :, : self.length].index_select(2, rows)
        self.store = kept
        self.mask = None if self.mask is None else self.mask.index_select(0, rows)
