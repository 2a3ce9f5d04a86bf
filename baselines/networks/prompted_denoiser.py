"""The networks of systems whose encoder reads an estimate of the target before the source."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from baselines.networks.pretrained import PretrainedSourceDenoiser
from baselines.networks.source_denoiser import SourceDenoiser
from baselines.parts.conditioning import Source
from baselines.parts.denoisers import Denoiser, Told
from baselines.parts.estimates import Estimate
from baselines.parts.self_conditioning import Heard


class PromptedDenoiser(SourceDenoiser):
    """An encoder-decoder whose encoder reads a prompt of the canvas's length before the source, where there is one."""

    def reading(self, source: Source) -> Denoiser:
        """See `SourceDenoiser`."""
        return PromptedReading(self, source)

    def read(self, source: Source, prompt: Source | None) -> tuple[Float[Tensor, "B N D"], Bool[Tensor, "B N"]]:
        """The memory of a source behind its prompt, and where it is present."""
        embedded, present = self.embedding(source.ids), source.present
        if prompt is not None:
            first = self.embedding(prompt.ids) + self.places.weight[: prompt.ids.shape[1]]
            embedded, present = torch.cat([first, embedded], 1), torch.cat([prompt.present, present], 1)
        return self.encoder(embedded, present=present), present


class PromptedPretrained(PretrainedSourceDenoiser):
    """The same of a pretrained encoder-decoder, which knows all places before it begins."""

    def reading(self, source: Source) -> Denoiser:
        """See `SourceDenoiser`."""
        return PromptedReading(self, source)

    def read(self, source: Source, prompt: Source | None) -> tuple[Float[Tensor, "B N D"], Bool[Tensor, "B N"]]:
        """The memory of a source behind its prompt, and where it is present."""
        ids, present = source.ids, source.present
        if prompt is not None:
            ids, present = torch.cat([prompt.ids, ids], 1), torch.cat([prompt.present, present], 1)
        return self.pair.encode(self.pair.embed(ids), present), present


class PromptedReading:
    """A denoiser that reads its sources anew whenever it hears of another estimate.

    Args:
        network: what estimates.
        source: the sources.
        plain: their memory without a prompt; `None` where they were not read so yet.
    """

    def __init__(
        self, network: PromptedDenoiser | PromptedPretrained, source: Source, plain: Float[Tensor, "B N D"] | None = None
    ) -> None:
        self.network, self.source, self.plain = network, source, plain

    def __call__(self, x_t: Tensor, time: Told, given: Bool[Tensor, "B L"], previous: Estimate | None) -> Estimate:
        """Estimate x0."""
        if previous is None:
            if self.plain is None:
                self.plain, _ = self.network.read(self.source, None)
            memory, present = self.plain, self.source.present
        else:
            memory, present = self.network.read(self.source, prompt_of(previous))
        estimate: Estimate = self.network(x_t, time, memory, present)
        return estimate

    def select(self, rows: Int[Tensor, " C"]) -> "PromptedReading":
        """For some of the sources."""
        source = Source(ids=self.source.ids[rows], present=self.source.present[rows])
        return PromptedReading(self.network, source, None if self.plain is None else self.plain[rows])


def prompt_of(previous: Estimate) -> Source:
    """The most probable token of every position; all of them are present in the rows that hear of them, none in the others."""
    if isinstance(previous, Heard):
        tokens = previous.estimate.mode()
        return Source(ids=previous.spread(tokens), present=previous.spread(torch.ones_like(tokens, dtype=torch.bool)))
    tokens = previous.mode()
    return Source(ids=tokens, present=torch.ones_like(tokens, dtype=torch.bool))
