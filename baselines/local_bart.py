"""A small BART that is pretrained on the task's own texts, for systems that begin with a denoising encoder-decoder.

Lewis et al. 2020 (arXiv:1910.13461), sections 2.2 and 3.1:

    text infilling: spans of Poisson(3) tokens, 30 % of a text in all, each read as one mask; a span
    of no token is a mask put in                                                                     -> LocalBart.infilled
    cross-entropy of the whole text, token by token, of a decoder that looks back only               -> LocalBart.loss

A span begins at every token with the same probability, so 30 % holds on average; spans that touch become one. The decoder begins
with EOS, as theirs. Sentences are not shuffled: texts here have few. Conditions and targets are texts of their own, cut to the
target's canvas; padding is told like any other token, since the systems that begin here write it. Their decoder looks in both
directions: the weights are the same, the causal mask goes. The network is this harness's, without dropout.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from baselines.networks.attention import CausalAttention
from baselines.networks.encoder_decoder import Decoder
from baselines.networks.source_denoiser import SourceDenoiser
from baselines.parts.conditioning import Source, padded
from baselines.pretraining import LocalModel
from baselines.training import Data, Draws
from harness.contracts import TaskView
from harness.design import Design
from harness.tokenizer import EOS, PAD

SHARE, MEAN = 0.3, 3.0  # of tokens that are hidden; length of a span
_BEGINS = -math.log(1 - SHARE) / MEAN  # probability at which spans must begin everywhere
_LONGEST = 24  # P(Poisson(3) > 24) is below 1e-13


class LocalBart(LocalModel):
    """A denoising encoder-decoder on the texts of a task.

    Args:
        schedule: none.
        task: tokenizer and canvas.
        width, layers, heads: of encoder and decoder, each.
        batch: examples per update.
        learning_rate: its plateau, at width 128.
    """

    design = Design(
        name="local-bart", kind="pretrained", families=(), predicts="next token", conditioning="the text, infilled",
        loss_mask="all positions, padding included", length="none", paper="1910.13461",
    )  # fmt: skip
    defaults: ClassVar[Mapping[str, Any]] = {**LocalModel.defaults, "layers": 3}
    network: SourceDenoiser

    @classmethod
    def network_of(cls, task: TaskView, keys: Mapping[str, Any]) -> SourceDenoiser:
        """The network of its systems, with a decoder that looks back only."""
        network = cls.denoiser_of(task, keys)
        network.decoder = Decoder(keys["width"], keys["layers"], keys["heads"], attention=CausalAttention)
        return network

    @classmethod
    def denoiser_of(cls, task: TaskView, keys: Mapping[str, Any]) -> SourceDenoiser:
        """The network that its systems begin with: the same weights, a decoder that looks in both directions."""
        tokens = len(task.tokenizer)
        return SourceDenoiser(
            states=tokens + 1, vocabulary=tokens, length=task.max_tokens, width=keys["width"], layers=keys["layers"],
            heads=keys["heads"], timed=False,
        )  # fmt: skip

    def data(self, sources: Sequence[Sequence[int]], texts: Sequence[Sequence[int]]) -> Data:
        """See `LocalModel`."""
        rows = [*texts, *([*source, EOS] for source in sources if source)]
        return {"ids": padded(rows, self.task.max_tokens)}

    def loss(self, batch: Data, draws: Draws) -> Float[Tensor, " B"]:
        """Cross-entropy of the text given what is left of it."""
        ids = batch["ids"]
        read = torch.cat([torch.full_like(ids[:, :1], EOS), ids[:, :-1]], dim=1)
        time = torch.zeros(len(ids), device=ids.device)
        source = self.infilled(ids, draws)
        estimate = self.network(read, time, self.network.encode(source), source.present)
        nats: Tensor = -estimate.x0_hat.gather(-1, ids[..., None])[..., 0].float()
        return nats.mean(-1)

    def infilled(self, ids: Int[Tensor, "B L"], draws: Draws) -> Source:
        """What the encoder reads of texts: every span as one mask, EOS as it is, no padding."""
        length = ids.shape[1]
        places = torch.arange(length, device=ids.device)
        text = (ids != PAD) & (ids != EOS)
        begins = text & (draws.uniform("begins", length) < _BEGINS)
        sizes = torch.searchsorted(_lengths(ids.device), draws.uniform("length", length), right=True)
        reach = torch.where(begins, places + sizes, 0).cummax(-1).values
        hidden = text & (reach > places)
        before = torch.cat([torch.zeros_like(hidden[:, :1]), hidden[:, :-1]], dim=1)
        put_in = (hidden | begins) & ~before
        return _compact(torch.full_like(ids, len(self.task.tokenizer)), put_in, ids, (ids != PAD) & ~hidden)


def _lengths(device: torch.device) -> Float[Tensor, " K"]:
    """P(a span has at most k tokens), k from 0 on."""
    chances = [math.exp(-MEAN) * MEAN**k / math.factorial(k) for k in range(_LONGEST)]
    return torch.tensor(chances, dtype=torch.float64, device=device).cumsum(0)


def _compact(
    masks: Int[Tensor, "B L"], put_in: Bool[Tensor, "B L"], ids: Int[Tensor, "B L"], kept: Bool[Tensor, "B L"]
) -> Source:
    """Masks that are put in, each before the token at its place if that is kept, moved together to the left."""
    both = torch.stack([masks, ids], -1).flatten(1)
    chosen = torch.stack([put_in, kept], -1).flatten(1)
    order = chosen.long().sort(dim=1, descending=True, stable=True).indices
    count = chosen.sum(1)
    width = int(count.max())
    present = torch.arange(width, device=ids.device) < count[:, None]
    return Source(ids=torch.where(present, both.gather(1, order[:, :width]), PAD), present=present)
