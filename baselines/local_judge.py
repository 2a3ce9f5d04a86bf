"""A language model or an encoder that others trained as the judge of a grid: `gpt2-large`, RoBERTa, what `transformers` reads.

    judge: {name: local-judge, weights: /models/gpt2-large, sha256: ...}

Scoring: log p(y_1 ... y_n EOS | BOS) in the model's own tokens, whatever the task's are -> `LocalJudge.likelihood_of_texts`.
Features: the last token's hidden state of a causal model (Pillutla et al. 2021, section 3), the mean of an encoder's over all
tokens -> `LocalJudge.features`.
"""

import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from harness import weights as tensors
from harness.contracts import Budget, Example, FitContext, FitReport, Generation, Likelihood, Request, Sampling, TaskView
from harness.design import FAMILIES, Design
from harness.errors import MeasurementRefused, ModelError
from harness.pretrained import batches, digest_of_folder, folder_of, longest_read, their_tokenizer
from harness.schedules.base import Schedule

TOGETHER = 16  # rows that go through the network at once
_FILE = "local_judge.json"
_CAUSAL = "(LMHeadModel|ForCausalLM)$"
"""How names of architectures end that score the next token."""
Window = tuple[list[int], int]
"""Tokens, and the place of the first of them that is scored."""


class LocalJudge:
    """A pretrained model that scores and embeds text; it competes with no one, and learns nothing of the task.

    Texts longer than its context are scored in windows that move by half of it, so that every token has at least that much before
    it. Weights and log-softmax are in float32.

    Args:
        schedule: none.
        task: not read.
        weights: absolute path of a folder with config.json, a tokenizer and *.safetensors, or a name in the hub's local cache.
        sha256: of these files, which makes their content part of every key.
        layer: whose hidden states are features; `None` = the last.

    Raises:
        ValueError: no such folder, other content, a model without BOS and EOS, a layer that it has not.
    """

    design = Design(
        name="local-judge", kind="imported", families=FAMILIES, predicts="unknown", conditioning="none: targets alone",
        loss_mask="unknown", length="unknown", tokenizer="its own", likelihood="exact",
    )  # fmt: skip

    def __init__(
        self, schedule: Schedule | None, task: TaskView, *, weights: str = "", sha256: str = "", layer: int | None = None
    ) -> None:
        self.named, self.sha256, self.layer = weights, sha256, layer

    @classmethod
    def design_for(cls, *, weights: str = "", sha256: str = "", layer: int | None = None) -> Design:
        """The one design, after a look at the whole folder.

        Raises:
            ValueError: no such folder, or other content.
            ModelError: tensors or a tokenizer that do not fit, see `harness.weights.check`.
        """
        if not weights:
            raise ValueError("no weights; say `weights: FOLDER`, an absolute path, or a name in the local cache of the hub")
        found = digest_of_folder(folder_of(weights))
        _check_whole(weights, found)
        if found != sha256:
            raise ValueError(f"{weights} has sha256 {found}, expected {sha256 or 'none was given'}; say `sha256: {found}`")
        return cls.design

    def fit(self, train: Sequence[Example], valid: Sequence[Example], budget: Budget, run: FitContext) -> FitReport:
        """Read the model once, so that what is wrong with it is said before anything is scored; nothing is trained."""
        self._read("cpu")
        return FitReport(tokens=0, parameters=sum(parameter.numel() for parameter in self.model.parameters()))

    def generate(self, requests: Sequence[Request], settings: Sampling) -> list[Generation]:
        """Refuse.

        Raises:
            ModelError: always.
        """
        raise ModelError("local-judge scores texts and writes none: name it as the `judge` of a grid.")

    def likelihood(self, examples: Sequence[Example]) -> Likelihood | None:
        """Likelihood of the targets; a condition is never read."""
        return self.likelihood_of_texts([example.target for example in examples]) if self.causal else None

    def likelihood_of_texts(self, texts: Sequence[str]) -> Likelihood:
        """Exact likelihood of whole texts given BOS, EOS included.

        Raises:
            MeasurementRefused: the model is an encoder.
        """
        ids = self._ids_to_score(texts)
        return self._scored(texts, [[self.begin, *row, self.end] for row in ids])

    def likelihood_after_first(self, texts: Sequence[str]) -> Likelihood:
        """Likelihood of every token after the first, without BOS and EOS: the definition of those who score without BOS.

        Raises:
            MeasurementRefused: the model is an encoder.
        """
        return self._scored(texts, self._ids_to_score(texts))

    @torch.inference_mode()
    def features(self, texts: Sequence[str]) -> Float32[np.ndarray, "n D"]:
        """One vector per text, cut to the context; an empty one is EOS alone to a causal model."""
        rows = [
            ids[: self.longest] or [self.end] for ids in (self._ids(texts) if self.causal else self._ids(texts, special=True))
        ]
        found = np.zeros((len(texts), int(self.model.config.hidden_size)), dtype=np.float32)
        for part in batches([len(row) for row in rows], TOGETHER):
            tokens, real = self._padded([rows[place] for place in part])
            states = self.model(input_ids=tokens, attention_mask=real, output_hidden_states=True).hidden_states[self.layer or -1]
            found[part] = (_last(states, real) if self.causal else _mean(states, real)).float().cpu().numpy()
        return found

    @property
    def signature(self) -> str:
        """Content of the folder and how it is used: what must agree before two scores are compared."""
        used = "pool:last" if self.causal else "pool:mean"
        layer = "last" if self.layer is None else self.layer
        return f"local-judge {self.sha256[:12]} {self.model.config.model_type} context:{self.longest} layer:{layer} {used}"

    def save(self, folder: Path) -> None:
        """Write where the weights lie; they are not copied."""
        folder.mkdir(parents=True, exist_ok=True)
        kept = {"weights": self.named, "sha256": self.sha256, "layer": self.layer}
        (folder / _FILE).write_text(json.dumps(kept), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, device: str) -> "LocalJudge":
        """The model of the folder that was named, if its content is the same."""
        made: Any = cls.__new__(cls)
        kept = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        made.named, made.sha256, made.layer = kept["weights"], kept["sha256"], kept["layer"]
        made._read(device)
        return made  # type: ignore[no-any-return]

    # --- reading -----------------------------------------------------------------------------------------------------
    def _read(self, device: str) -> None:
        self.design_for(weights=self.named, sha256=self.sha256)
        place = folder_of(self.named)
        kind, configuration = tensors.reader_of(place, causal=_CAUSAL)
        self.causal = kind.__name__.endswith(("LMHeadModel", "ForCausalLM"))
        self.model = tensors.network(place, kind, configuration, heads=False).eval().to(device)
        self.tokenizer = their_tokenizer(place)
        self.longest = longest_read(self.model, self.tokenizer)
        self._check()

    def _check(self) -> None:
        layers = int(self.model.config.num_hidden_layers)
        if self.layer is not None and not 1 <= self.layer <= layers:
            raise ValueError(f"layer {self.layer}: {self.named} has layers 1 to {layers}; leave it out for the last")
        begin, end = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        if self.causal and (begin is None or end is None):
            raise ValueError(
                f"the tokenizer of {self.named} has no BOS or no EOS: the first token, or the end, could not be scored"
            )
        self.begin, self.end = begin, end

    def _ids(self, texts: Sequence[str], *, special: bool = False) -> list[list[int]]:
        found: list[list[int]] = (
            self.tokenizer(list(texts), add_special_tokens=special, verbose=False)["input_ids"] if texts else []
        )
        return found

    def _padded(self, rows: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
        """Tokens, padded on the right, and where they are real."""
        width = max(map(len, rows))
        tokens = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=self.model.device)
        real = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=self.model.device)
        return tokens, real

    # --- scoring -----------------------------------------------------------------------------------------------------
    def _ids_to_score(self, texts: Sequence[str]) -> list[list[int]]:
        if not self.causal:
            raise MeasurementRefused(f"the judge {self.named} is an encoder: it gives features and no likelihood")
        return self._ids(texts)

    def _scored(self, texts: Sequence[str], ids: Sequence[list[int]]) -> Likelihood:
        parts = [(place, window) for place, row in enumerate(ids) for window in windows(row, self.longest)]
        nats = np.zeros(len(ids))
        for chosen in batches([len(tokens) for _, (tokens, _) in parts], TOGETHER):
            for index, value in zip(chosen, self._nats([parts[index][1] for index in chosen]).tolist(), strict=True):
                nats[parts[index][0]] += value
        counts, sizes = tuple(max(len(row) - 1, 0) for row in ids), tuple(len(text.encode()) for text in texts)
        return Likelihood(nats=tuple(nats.tolist()), tokens=counts, bytes=sizes, kind="exact", estimator="ar-exact")

    @torch.inference_mode()
    def _nats(self, rows: Sequence[Window]) -> Float[Tensor, " B"]:
        tokens, real = self._padded([ids for ids, _ in rows])
        logits = self.model(input_ids=tokens, attention_mask=real).logits[:, :-1].float()
        spent = -torch.log_softmax(logits, dim=-1).gather(-1, tokens[:, 1:, None])[..., 0].double()
        place = torch.arange(1, tokens.shape[1], device=tokens.device)
        first = torch.tensor([start for _, start in rows], device=tokens.device)[:, None]
        return (spent * real[:, 1:] * (place >= first)).sum(1).cpu()


@cache
def _check_whole(weights: str, sha256: str) -> None:
    """See that a judge can be read, once for what lies in its folder.

    Raises:
        ModelError: it cannot.
    """
    place = folder_of(weights)
    their_tokenizer(place)
    tensors.check(place, *tensors.reader_of(place, causal=_CAUSAL), heads=False)


def windows(ids: list[int], context: int) -> Iterator[Window]:
    """Windows of at most `context` tokens, each by half a context further on, that score every token after the first once."""
    start, scored = 0, 1
    while scored < len(ids):
        end = min(start + context, len(ids))
        yield ids[start:end], scored - start
        start, scored = start + context // 2, end


def _last(states: Float[Tensor, "B L D"], real: Tensor) -> Float[Tensor, "B D"]:
    return states[torch.arange(len(states), device=states.device), real.sum(1) - 1]


def _mean(states: Float[Tensor, "B L D"], real: Tensor) -> Float[Tensor, "B D"]:
    return (states * real[..., None]).sum(1) / real.sum(1, keepdim=True)
