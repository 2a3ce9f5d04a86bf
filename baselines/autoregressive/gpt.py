"""A decoder-only autoregressive baseline; a condition is a prefix, ended by SEP.

Likelihood: log p(y | x) = sum over i of log p(y_i | x, y_<i), the last y being EOS -> `GPT.nats`.
Prefix: x_1 ... x_N SEP, or BOS where there is no condition -> `GPT.prefixes`.
Sampling: y_i from p(. | x, y_<i) with one past per layer in a cache -> `decoding.write`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from baselines.autoregressive.decoding import Writer
from baselines.autoregressive.model import Autoregressive, left_padded, right_padded, scored_nats
from baselines.encoding import conditions
from baselines.networks.incremental import Incremental
from baselines.networks.language_model import LanguageModel
from baselines.training import Data
from harness.contracts import Example, Request
from harness.design import Design
from harness.tokenizer import BOS, PAD, SEP


class GPT(Autoregressive):
    """Causal transformer over prefix and target; the loss counts targets only."""

    design = Design(
        name="gpt", kind="autoregressive", families=("ucg", "a2t", "t2t"), predicts="next token",
        conditioning="prefix ended by SEP", loss_mask="target up to and including EOS", length="EOS", likelihood="exact",
    )  # fmt: skip
    network: LanguageModel

    @classmethod
    def build(cls, vocabulary: int, **measures: Any) -> LanguageModel:
        """The network."""
        return LanguageModel(vocabulary, measures["width"], measures["layers"], measures["heads"], dropout=measures["dropout"])

    def prefixes(self, items: Sequence[Example] | Sequence[Request]) -> list[list[int]]:
        """Ids before the target: the condition and SEP, or BOS alone."""
        if self.task.max_source_tokens == 0:
            return [[BOS] for _ in items]
        return [[*ids, SEP] for ids in conditions(self.task, items)]

    def prompts(self, requests: Sequence[Request]) -> list[list[int]]:
        """The prefixes."""
        return self.prefixes(requests)

    def tensors(self, texts: Sequence[list[int]], items: Sequence[Example]) -> Data:
        """Prefix and target in one row, and where the target lies in it."""
        prefixes = self.prefixes(items)
        rows = [prefix + text for prefix, text in zip(prefixes, texts, strict=True)]
        ends = [[len(prefix), len(row)] for prefix, row in zip(prefixes, rows, strict=True)]
        return {"tokens": right_padded(rows), "ends": torch.tensor(ends, dtype=torch.int32).view(-1, 2)}

    def nats(self, batch: Data) -> Float[Tensor, " B"]:
        """Negative log-likelihood of the targets."""
        ends = batch["ends"].long()
        tokens = batch["tokens"][:, : int(ends.max())].long()
        return scored_nats(self.network.hidden(tokens[:, :-1]), self.network.head, tokens[:, 1:], ends - 1)

    def pack(self) -> tuple[Incremental, Tensor, Tensor]:
        """Transformer, embedding, and the embedding as output head."""
        weight = self.network.embedding.weight.detach()
        return Incremental(self.network.transformer), weight, weight.t().contiguous()

    def start(
        self, packed: tuple[Incremental, Tensor, Tensor], prompts: list[list[int]], *, capacity: int, forbidden: tuple[int, ...]
    ) -> Writer:
        """Read prompts."""
        incremental, embedding, head = packed
        ids = left_padded(prompts, embedding.device)
        run = incremental.start(embedding[ids], present=ids != PAD, capacity=ids.shape[1] + capacity)
        return Writer(run, embedding, head, forbidden=forbidden)
