"""An encoder-decoder autoregressive baseline for controls and sources.

Memory: h = encoder(x_1 ... x_N EOS), bidirectional -> `EncoderDecoder.encode`.
Likelihood: log p(y | x) = sum over i of log p(y_i | h, y_<i), the last y being EOS -> `Seq2Seq.nats`.
Sampling: caches of the decoder's past and of the memory's keys and values -> `encoder_decoder.ReadingRun`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from baselines.autoregressive.decoding import Writer
from baselines.autoregressive.model import Autoregressive, right_padded, scored_nats
from baselines.encoding import conditions
from baselines.networks.encoder_decoder import EncoderDecoder, IncrementalDecoder
from baselines.training import Data
from harness.contracts import Example, Request
from harness.design import Design
from harness.tokenizer import BOS, EOS, PAD


class Seq2Seq(Autoregressive):
    """Bidirectional encoder of the condition, causal decoder with cross-attention; one embedding for all."""

    design = Design(
        name="seq2seq", kind="autoregressive", families=("a2t", "t2t"), predicts="next token",
        conditioning="encoder, cross-attention", loss_mask="target up to and including EOS", length="EOS", likelihood="exact",
    )  # fmt: skip
    defaults: ClassVar[Mapping[str, Any]] = {**Autoregressive.defaults, "layers": 3}
    network: EncoderDecoder

    @classmethod
    def build(cls, vocabulary: int, **measures: Any) -> EncoderDecoder:
        """The network."""
        return EncoderDecoder(vocabulary, measures["width"], measures["layers"], measures["heads"], dropout=measures["dropout"])

    def prompts(self, requests: Sequence[Request]) -> list[list[int]]:
        """Sources, ended by EOS: none is empty."""
        return [[*ids, EOS] for ids in conditions(self.task, requests)]

    def tensors(self, texts: Sequence[list[int]], items: Sequence[Example]) -> Data:
        """Source, BOS with target, and the target's length."""
        sources = [[*ids, EOS] for ids in conditions(self.task, items)]
        ends = torch.tensor([[1, len(text) + 1] for text in texts], dtype=torch.int32).view(-1, 2)
        return {"source": right_padded(sources), "tokens": right_padded([[BOS, *text] for text in texts]), "ends": ends}

    def nats(self, batch: Data) -> Float[Tensor, " B"]:
        """Negative log-likelihood of the targets."""
        ends, source = batch["ends"].long(), batch["source"].long()
        source = source[:, : int((source != PAD).sum(1).max())]
        tokens = batch["tokens"][:, : int(ends.max())].long()
        hidden = self.network.hidden(source, source != PAD, tokens[:, :-1])
        return scored_nats(hidden, self.network.head, tokens[:, 1:], ends - 1)

    def positions_before(self, prompt: list[int]) -> int:
        """The source in the encoder, BOS in the decoder."""
        return len(prompt) + 1

    def pack(self) -> tuple[IncrementalDecoder, Tensor, Tensor]:
        """Decoder, embedding, and the embedding as output head."""
        weight = self.network.embedding.weight.detach()
        return IncrementalDecoder(self.network.decoder), weight, weight.t().contiguous()

    def start(
        self,
        packed: tuple[IncrementalDecoder, Tensor, Tensor],
        prompts: list[list[int]],
        *,
        capacity: int,
        forbidden: tuple[int, ...],
    ) -> Writer:
        """Encode sources and read BOS."""
        incremental, embedding, head = packed
        source = right_padded(prompts).long().to(embedding.device)
        present = source != PAD
        memory = self.network.encode(source, present)
        first = embedding[torch.full((len(prompts), 1), BOS, device=embedding.device)]
        return Writer(
            incremental.read(first, memory, present=present, capacity=1 + capacity), embedding, head, forbidden=forbidden
        )
