"""A denoiser beside a source that is supervised in depth: every decoder layer estimates, and may be shown more than the last."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from baselines.networks.source_denoiser import SourceDenoiser
from baselines.parts.categorical import normalised
from baselines.parts.denoisers import Told
from baselines.parts.estimates import Estimate, Readout, Wrapped

Positions = Bool[Tensor, "B L"]
Reveal = Callable[[int, Estimate, Positions], Positions]
"""Which hidden positions a layer is shown, from its number, the estimate of the layer before it, and what is hidden."""


class Layered(Wrapped):
    """The last layer's estimate, with those of all layers.

    Args:
        layers: for each layer its estimate, and the positions whose tokens it has not been shown.
    """

    def __init__(self, layers: list[tuple[Estimate, Positions]]) -> None:
        super().__init__(layers[-1][0])
        self.layers = layers


class LayeredDenoiser(SourceDenoiser):
    """A `SourceDenoiser` whose layers share its norm and head."""

    def layered(
        self, x_t: Int[Tensor, "B L"], time: Told, memory: Float[Tensor, "B N D"], present: Bool[Tensor, "B N"], *,
        ids: Int[Tensor, "B L"], hidden: Positions, reveal: Reveal,
    ) -> Layered:  # fmt: skip
        """Estimates of all layers; between layers the embeddings of tokens that are revealed replace the states there.

        Args:
            ids: the tokens that may be revealed.
            hidden: positions that do not show them to the first layer.
            reveal: says what is revealed before every other layer.
        """
        places = self.places.weight[: x_t.shape[1]]
        condition = None if self.time is None else self.time(time)
        x, clean, found = self.embedding(x_t) + places, self.embedding(ids) + places, list[tuple[Estimate, Positions]]()
        for number, layer in enumerate(self.decoder.layers(x.shape[1], memory, present, condition)):
            if found:
                revealed = reveal(number, found[-1][0], hidden)
                x, hidden = torch.where(revealed[..., None], clean.to(x.dtype), x), hidden & ~revealed
            x = layer(x)
            found.append((Readout(self.decoder.norm(x), self.head, normalised), hidden))
        return Layered(found)
