"""A small BERT that is pretrained on the task's own texts, for systems that begin with a masked language model.

Devlin, Chang, Lee and Toutanova 2019 (arXiv:1810.04805), section 3.1:

    15 % of positions are to be told, 80 % of them read as the mask, 10 % as a
    random token, 10 % as they are                                              -> LocalBert.corrupted
    cross-entropy of the tokens at these positions                              -> LocalBert.loss

Positions are chosen anew at every update, each by itself (Liu et al. 2019, arXiv:1907.11692, section 4.1). Sentences are not
predicted to follow each other. A row is the canvas that its systems write on: a source, where the family has sources, and the
target of another example, padding included, which is told like any other token, since those systems write it. The network is
this harness's transformer, without dropout and not told the time.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from baselines.discrete import pinned_source
from baselines.networks.token_denoiser import TokenDenoiser
from baselines.pretraining import LocalModel
from baselines.training import Data, Draws
from harness.contracts import TaskView
from harness.design import Design

TOLD, MASKED, RANDOM = 0.15, 0.8, 0.1  # share of positions; shares of these


class LocalBert(LocalModel):
    """A masked language model on the canvases of a task.

    Args:
        schedule: none.
        task: tokenizer and canvas.
        width, layers, heads: of the transformer.
        batch: examples per update.
        learning_rate: its plateau, at width 128.
    """

    design = Design(
        name="local-bert", kind="pretrained", families=(), predicts="masked tokens", conditioning="source of another example",
        loss_mask="15 % of positions, padding included", length="none", paper="1810.04805",
    )  # fmt: skip
    network: TokenDenoiser

    @classmethod
    def network_of(cls, task: TaskView, keys: Mapping[str, Any]) -> TokenDenoiser:
        """The network, whose masks are the state behind all tokens."""
        tokens = len(task.tokenizer)
        return TokenDenoiser(
            states=tokens + 1, vocabulary=tokens, length=pinned_source(task).length, width=keys["width"], layers=keys["layers"],
            heads=keys["heads"], timed=False,
        )  # fmt: skip

    def data(self, sources: Sequence[Sequence[int]], texts: Sequence[Sequence[int]]) -> Data:
        """See `LocalModel`."""
        return {"ids": pinned_source(self.task).canvas(sources, texts).ids}

    def loss(self, batch: Data, draws: Draws) -> Float[Tensor, " B"]:
        """Cross-entropy at the positions that are to be told, over as many as there are on average."""
        ids = batch["ids"]
        told = draws.uniform("told", ids.shape[1]) < TOLD
        read = self.corrupted(ids, told, draws)
        given, time = torch.zeros_like(told), torch.zeros(len(ids), device=ids.device)
        estimate = self.network(read, time, given, None)
        nats = torch.zeros_like(ids, dtype=torch.float32)
        nats[told] = -estimate.at(told).gather(-1, ids[told][:, None])[:, 0].float()
        return nats.sum(-1) / (TOLD * ids.shape[1])

    def corrupted(self, ids: Int[Tensor, "B L"], told: Bool[Tensor, "B L"], draws: Draws) -> Int[Tensor, "B L"]:
        """What the network reads."""
        tokens, length = len(self.task.tokenizer), ids.shape[1]
        fate = draws.uniform("fate", length)
        other = (draws.uniform("token", length) * tokens).long()
        read = torch.where(fate < MASKED, tokens, torch.where(fate < MASKED + RANDOM, other, ids))
        return torch.where(told, read, ids)
