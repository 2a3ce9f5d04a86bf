"""Networks that others pretrained, as `transformers` saves them: BERT and RoBERTa, BART, GPT-2.

    hidden states of an encoder                          -> PretrainedEncoder.hidden
    hidden states of a causal decoder                    -> PretrainedDecoder.hidden
    hidden states of an encoder-decoder, the decoder's
    causal mask removed (Zhou et al. 2023,
    arXiv:2305.04044, section 3.1)                       -> PretrainedEncoderDecoder.encode, .hidden

The network is theirs, so equal inputs give equal hidden states. Embedding and output head are one matrix here, whose rows may be
put into another order, repeated or added to, since the ids of this harness are not those of the checkpoint. Nothing is dropped
out: their dropout draws from the global random state, and a resumed training would not repeat it.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear

from baselines.networks.source_denoiser import Reading
from baselines.parts.categorical import normalised
from baselines.parts.conditioning import Source
from baselines.parts.denoisers import Denoiser, Told
from baselines.parts.estimates import Estimate, Readout
from harness.errors import ModelError
from harness.tokenizer import BOS, SEP

Rows = Sequence[int | None]
"""For every id, the row of the checkpoint's embedding that it takes; `None` where there is none, and the mean of all is taken."""


class Pretrained(nn.Module, ABC):
    """A pretrained network: ids to embeddings, embeddings to hidden states, hidden states to logits.

    Args:
        model: as `transformers` built it, with its output head.
        rows: see `Rows`; `None` keeps the checkpoint's own ids.
        vocabulary: number of ids V that are estimated, the first ones: a mask behind them is only read. `None` = all.

    Attributes:
        embedding: a row per id, "S D".
        body: the network without its embedding of tokens.
        transform: what stands between hidden states and the output head.
        bias: of the logits, "V"; `None` where there is none.
        scale: factor of embedded tokens.
        longest: most positions L.
    """

    bias: Tensor | None

    def __init__(self, model: Any, rows: Rows | None = None, vocabulary: int | None = None) -> None:
        super().__init__()
        weight = model.get_input_embeddings().weight.detach()
        chosen = range(len(weight)) if rows is None else rows
        self.embedding = nn.Embedding.from_pretrained(_picked(weight, chosen), freeze=False)
        self.vocabulary = len(chosen) if vocabulary is None else vocabulary
        self.width = int(weight.shape[1])
        self.body = model.base_model
        self.body.set_input_embeddings(nn.Identity())
        self.transform, bias = self.parts_of_head(model)
        estimated = chosen[: self.vocabulary]
        self.bias = None if bias is None else nn.Parameter(_picked(bias.detach().reshape(-1, 1), estimated).flatten())
        scaled = getattr(model.config, "scale_embedding", False)
        self.scale = self.width**0.5 if scaled else 1.0
        self.longest = self.longest_of(model.config)

    @staticmethod
    @abstractmethod
    def parts_of_head(model: Any) -> tuple[nn.Module, Tensor | None]:
        """What stands between hidden states and the output head, and the bias of the logits."""

    @staticmethod
    def longest_of(configuration: Any) -> int:
        """Most positions."""
        return int(configuration.max_position_embeddings)

    def embed(self, ids: Int[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        """Embedded tokens, without their places.

        Raises:
            ModelError: more positions than the network has.
        """
        if ids.shape[1] > self.longest:
            raise ModelError(f"{ids.shape[1]} positions, the pretrained network has {self.longest}: take a shorter canvas.")
        embedded: Tensor = self.embedding(ids) * self.scale
        return embedded

    def logits(self, hidden: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch V"]:
        """Logits of the ids that are estimated."""
        return linear(self.transform(hidden), self.embedding.weight[: self.vocabulary], self.bias)


class PretrainedEncoder(Pretrained):
    """BERT or RoBERTa."""

    @staticmethod
    def parts_of_head(model: Any) -> tuple[nn.Module, Tensor | None]:
        """See `Pretrained`."""
        if model.config.model_type == "bert":
            return model.cls.predictions.transform, model.cls.predictions.bias
        return nn.Sequential(model.lm_head.dense, nn.GELU(), model.lm_head.layer_norm), model.lm_head.bias

    @staticmethod
    def longest_of(configuration: Any) -> int:
        """Most positions; RoBERTa counts them from its padding id on."""
        first = configuration.pad_token_id + 1 if configuration.model_type == "roberta" else 0
        return int(configuration.max_position_embeddings) - first

    def hidden(self, x: Float[Tensor, "B L D"], present: Bool[Tensor, "B L"] | None = None) -> Float[Tensor, "B L D"]:
        """Last hidden states.

        Args:
            x: embedded input.
            present: False at positions that nobody looks at; `None` = everything counts.
        """
        states: Tensor = self.body(inputs_embeds=x, attention_mask=_numbers(present)).last_hidden_state
        return states


class PretrainedDecoder(Pretrained):
    """GPT-2."""

    @staticmethod
    def parts_of_head(model: Any) -> tuple[nn.Module, Tensor | None]:
        """See `Pretrained`."""
        return nn.Identity(), None

    def hidden(self, x: Float[Tensor, "B L D"], present: Bool[Tensor, "B L"] | None = None) -> Float[Tensor, "B L D"]:
        """Last hidden states; a position sees itself and what stands before it.

        Args:
            x: embedded input.
            present: False at positions that nobody looks at; `None` = everything counts.
        """
        states: Tensor = self.body(inputs_embeds=x, attention_mask=_numbers(present), use_cache=False).last_hidden_state
        return states


class PretrainedEncoderDecoder(Pretrained):
    """BART, whose decoder looks in both directions."""

    @staticmethod
    def parts_of_head(model: Any) -> tuple[nn.Module, Tensor | None]:
        """See `Pretrained`."""
        return nn.Identity(), model.final_logits_bias

    def encode(self, source: Float[Tensor, "B N D"], present: Bool[Tensor, "B N"] | None = None) -> Float[Tensor, "B N D"]:
        """The memory of an embedded source."""
        states: Tensor = self.body.encoder(inputs_embeds=source, attention_mask=_numbers(present)).last_hidden_state
        return states

    def hidden(
        self, x: Float[Tensor, "B L D"], memory: Float[Tensor, "B N D"], present: Bool[Tensor, "B N"] | None = None
    ) -> Float[Tensor, "B L D"]:
        """Last hidden states of the decoder, without a causal mask.

        Args:
            x: embedded target.
            memory: encoded source.
            present: False at the source's padding; `None` = everything counts.
        """
        rows, length = x.shape[:2]
        open_mask = x.new_zeros(rows, 1, length, length)  # added to the attention's scores; without one theirs is causal
        states: Tensor = self.body.decoder(
            inputs_embeds=x, attention_mask=open_mask, encoder_hidden_states=memory, encoder_attention_mask=_numbers(present),
            use_cache=False,
        ).last_hidden_state  # fmt: skip
        return states


class PretrainedDenoiser(nn.Module):
    """A pretrained encoder that reads noisy token ids, between those that begin and end its texts, and estimates the clean ones.

    He et al. 2022 (arXiv:2211.15029), as released: [CLS], the canvas, [SEP]; what is estimated at the two is dropped. The
    network is not told the time.

    Args:
        encoder: the network; its last state is a mask.
    """

    holds: ClassVar[type[Pretrained]] = PretrainedEncoder

    def __init__(self, encoder: PretrainedEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x_t: Int[Tensor, "B L"], time: Told, given: Bool[Tensor, "B L"], previous: Estimate | None) -> Estimate:
        """Estimate x0 as log-probabilities; time, what is given and what was estimated before are not looked at."""
        begin, end = (torch.full_like(x_t[:, :1], special) for special in (BOS, SEP))
        embedded = self.encoder.embed(torch.cat([begin, x_t, end], dim=1))
        return Readout(self.encoder.hidden(embedded)[:, 1:-1], self.encoder.logits, normalised)


class PretrainedSourceDenoiser(nn.Module):
    """A pretrained encoder-decoder: the encoder reads a source, the decoder noisy ids, of which it estimates the clean ones.

    The network is not told the time (Zhou et al. 2023, arXiv:2305.04044, section 3.1).

    Args:
        pair: the network; its last state is a mask.
    """

    holds: ClassVar[type[Pretrained]] = PretrainedEncoderDecoder

    def __init__(self, pair: PretrainedEncoderDecoder) -> None:
        super().__init__()
        self.pair = pair

    def reading(self, source: Source) -> Denoiser:
        """The denoiser of canvases beside these sources, which are encoded once."""
        return Reading(self, self.encode(source), source.present)

    def encode(self, source: Source) -> Float[Tensor, "B N D"]:
        """The memory of a source."""
        return self.pair.encode(self.pair.embed(source.ids), source.present)

    def forward(
        self, x_t: Int[Tensor, "B L"], time: Told, memory: Float[Tensor, "B N D"], present: Bool[Tensor, "B N"]
    ) -> Estimate:
        """Estimate x0 as log-probabilities; time is not looked at."""
        return Readout(self.pair.hidden(self.pair.embed(x_t), memory, present), self.pair.logits, normalised)


def _picked(weight: Float[Tensor, "V E"], rows: Rows) -> Float[Tensor, "S E"]:
    highest, mean = max(row for row in rows if row is not None), weight.mean(0)
    if highest >= len(weight):
        raise ModelError(
            f"the tokenizer has ids up to {highest}, the checkpoint's embedding {len(weight)} rows: it is another's."
        )
    return torch.stack([mean if row is None else weight[row] for row in rows])


def _numbers(present: Bool[Tensor, "B L"] | None) -> Int[Tensor, "B L"] | None:
    return None if present is None else present.long()
