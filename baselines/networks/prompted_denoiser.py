"""The networks of systems whose encoder reads an estimate of the target before the source."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

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
        return prompted_reading(self, source)

    def read(self, source: Source, prompt: Source | None) -> tuple[Float[Tensor, "B N D"], Bool[Tensor, "B N"]]:
        """The memory of a source behind its prompt, and where it is present."""
        embedded, present = self.embedding(source.ids), source.present
        if prompt is not None:
            first = self.embedding(prompt.ids) + self.places.weight[: prompt.ids.shape[1]]
            embedded, present = torch.cat([first, embedded], 1), torch.cat([prompt.present, present], 1)
        return self.encoder(embedded, present=present), present


class PromptedPretrained(PretrainedSourceDenoiser):
    """The same of a pretrained encoder-decoder, which knows all places before it begins.

    It counts places from the first position on. So a source whose row hears no prompt stands there, with nothing but padding
    behind it, as it does where no row hears of one.
    """

    @property
    def source_encoder(self) -> nn.Module:
        """What reads sources; see `calls.ReadsSources`."""
        encoder: nn.Module = self.pair.body.encoder
        return encoder

    def reading(self, source: Source) -> Denoiser:
        """See `SourceDenoiser`."""
        return prompted_reading(self, source)

    def read(self, source: Source, prompt: Source | None) -> tuple[Float[Tensor, "B N D"], Bool[Tensor, "B N"]]:
        """The memory of a source behind its prompt, and where it is present."""
        ids, present = source.ids, source.present
        if prompt is not None:
            told = prompt.present.any(1, keepdim=True)
            ids = torch.where(told, torch.cat([prompt.ids, ids], 1), torch.cat([ids, prompt.ids], 1))
            present = torch.where(told, torch.cat([prompt.present, present], 1), torch.cat([present, prompt.present], 1))
        return self.pair.encode(self.pair.embed(ids), present), present


class PromptedReading:
    """A denoiser that reads its sources anew whenever it hears of another estimate.

    Args:
        network: what estimates.
        source: the sources.
        plain: their memory without a prompt; `None` = they are read whenever no estimate is heard.
    """

    def __init__(
        self, network: PromptedDenoiser | PromptedPretrained, source: Source, plain: Float[Tensor, "B N D"] | None
    ) -> None:
        self.network, self.source, self.plain = network, source, plain

    def __call__(self, x_t: Tensor, time: Told, given: Bool[Tensor, "B L"], previous: Estimate | None) -> Estimate:
        """Estimate x0."""
        if previous is None and self.plain is not None:
            memory, present = self.plain, self.source.present
        else:
            memory, present = self.network.read(self.source, None if previous is None else prompt_of(previous))
        estimate: Estimate = self.network(x_t, time, memory, present)
        return estimate

    def select(self, rows: Int[Tensor, " C"]) -> "PromptedReading":
        """For some of the sources."""
        source = Source(ids=self.source.ids[rows], present=self.source.present[rows])
        return PromptedReading(self.network, source, None if self.plain is None else self.plain[rows])


def prompted_reading(network: PromptedDenoiser | PromptedPretrained, source: Source) -> PromptedReading:
    """The denoiser of canvases beside these sources; outside training their memory without a prompt is made here, once for all.

    Training keeps none: what its first pass makes for some rows has no gradient.
    """
    return PromptedReading(network, source, None if network.training else network.read(source, None)[0])


def prompt_of(previous: Estimate) -> Source:
    """The most probable token of every position; all of them are present in the rows that hear of them, none in the others."""
    if isinstance(previous, Heard):
        tokens = previous.estimate.mode()
        return Source(ids=previous.spread(tokens), present=previous.spread(torch.ones_like(tokens, dtype=torch.bool)))
    tokens = previous.mode()
    return Source(ids=tokens, present=torch.ones_like(tokens, dtype=torch.bool))
