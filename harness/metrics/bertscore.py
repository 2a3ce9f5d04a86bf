"""BERTScore: words matched by the cosine of their contextual embeddings, from an encoder in a local folder."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from os.path import abspath
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from harness.design import Family
from harness.errors import ModelError
from harness.measurement import Evaluation, Measurement
from harness.metrics.answers import checked_texts, empty_flags, measured, over_items, refusals
from harness.metrics.references import references_of
from harness.pretrained import batches, digest_of_folder, folder_of, longest_read, their_tokenizer, weights_in, why_unreadable
from harness.stats.intervals import ratio_of_sums

FOLDER = "HARNESS_BERTSCORE"
"""Environment variable: a folder with an encoder and its tokenizer, then optionally `@` and a layer; none is the last."""
_NAMES = ("bertscore_p", "bertscore_r", "bertscore_f1")
_BATCH = 32
_HOW = f"set {FOLDER} to a folder with config.json, a tokenizer and weights in *.safetensors; FOLDER@17 takes layer 17"


class BertScore:
    """Mean precision, recall and F1 of greedy matching between -1 and 1 (Zhang et al. 2020, arXiv:1904.09675, section 3).

    Without idf weights and without rescaling. Words are the encoder's tokens of the text alone: the two special tokens, which
    the authors' first release matched too, are left out. With several references each text takes the one with the highest F1.
    An empty text, or an empty reference, scores 0. The paper tuned the layer on translations (17 of roberta-large).
    """

    name: ClassVar[str] = "bertscore"
    version: ClassVar[int] = 3
    families: ClassVar[tuple[Family, ...]] = ("a2t", "t2t")
    needs: ClassVar[tuple[str, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ("transformers",)
    values: ClassVar[Mapping[str, bool | None]] = dict.fromkeys(_NAMES, True)
    exposes: ClassVar[Mapping[str, tuple[str, ...]]] = dict.fromkeys(_NAMES, ("empty",))

    @staticmethod
    def depends_on() -> Mapping[str, str | None]:
        """The encoder that the environment names; `None` where there is none."""
        place, layer, _ = _named()
        content = digest_of_folder(Path(place))[:16] if _weights(place) else None
        return {"encoder": f"{content}@{'last' if layer is None else layer}" if content else None}

    def __call__(self, evaluation: Evaluation) -> Mapping[str, Measurement]:
        """Measure the selected texts against all references; refused where there is no encoder."""
        texts, references = checked_texts(evaluation), references_of(evaluation.examples)
        encoder = Encoder.named() if texts else "no items"
        if isinstance(references, str) or isinstance(encoder, str):
            reason = references if isinstance(references, str) else str(encoder)
            return refusals(self.values, reason, n=len(texts), signature="bertscore")
        scores, cut_off = bert_scores(texts, references, encoder)
        flags = (*empty_flags(texts), *((f"{cut_off} texts cut to {encoder.longest} tokens",) if cut_off else ()))
        found = {}
        for name, items in zip(_NAMES, scores.T, strict=True):
            interval = over_items(evaluation, np.stack([items, np.ones_like(items)], axis=1), ratio_of_sums, name=name)
            value = float(items.mean())
            found[name] = measured(value, interval, n=len(items), signature=encoder.signature, flags=flags, items=items)
        return found


def bert_scores(
    texts: Sequence[str], references: Sequence[Sequence[str]], encoder: "Encoder"
) -> tuple[Float[np.ndarray, "n 3"], int]:
    """Precision, recall and F1 of every text, and how many different texts were too long for the encoder."""
    embedded, cut_off = encoder.embed(sorted({*texts, *(text for accepted in references for text in accepted)}))
    rows = [
        max((matched(embedded[text], embedded[reference]) for reference in accepted), key=lambda row: row[2])
        for text, accepted in zip(texts, references, strict=True)
    ]
    return np.array(rows), cut_off


def matched(text: Float[np.ndarray, "m D"], reference: Float[np.ndarray, "k D"]) -> tuple[float, float, float]:
    """Precision, recall and F1 of unit vectors: each takes the most similar one of the other side."""
    if not len(text) or not len(reference):
        return 0.0, 0.0, 0.0
    cosines = text @ reference.T
    precision, recall = float(cosines.max(1).mean()), float(cosines.max(0).mean())
    return precision, recall, 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@dataclass(frozen=True)
class Encoder:
    """An encoder read from a folder.

    Attributes:
        model, tokenizer: as `transformers` gives them.
        layer: whose output is taken; 0 is the embedding layer.
        longest: most tokens that it reads, special ones included.
        signature: content of the folder and layer.
    """

    model: Any
    tokenizer: Any
    layer: int
    longest: int
    signature: str

    @classmethod
    def named(cls) -> "Encoder | str":
        """The encoder that the environment names, or why there is none."""
        place, layer, given = _named()
        weights = _weights(place)
        if not given:
            return f"no encoder: {_HOW}"
        if not weights:
            return f"no encoder: {FOLDER} is {given!r}, and no *.safetensors lies in {place!r}; {_HOW}"
        if why_unreadable():
            return f"no encoder: {why_unreadable()}"
        try:
            return cls._read(folder_of(abspath(place)), layer)
        except (ModelError, ValueError) as error:
            return f"no encoder: {error}"

    @classmethod
    def _read(cls, folder: Path, layer: int | None) -> "Encoder | str":
        from harness import weights

        tokenizer = their_tokenizer(folder)
        model = weights.network(folder, *weights.reader_of(folder), heads=False).eval()
        layers = int(model.config.num_hidden_layers)
        if layer is not None and layer > layers:
            return f"no encoder: {FOLDER} names layer {layer}, and the encoder has {layers}"
        chosen = layers if layer is None else layer
        signature = (
            f"idf:no|rescaled:no|layer:{chosen}|content:{digest_of_folder(folder)[:16]}|transformers:{version('transformers')}"
        )
        return cls(model, tokenizer, chosen, longest_read(model, tokenizer), signature)

    def embed(self, texts: Sequence[str]) -> tuple[dict[str, Float[np.ndarray, "_ D"]], int]:
        """Unit vectors of every token of every text but the special ones, and how many texts were cut off."""
        embedded: dict[str, np.ndarray] = {}
        for places in batches([len(text) for text in texts], _BATCH):
            batch = [texts[place] for place in places]
            embedded |= zip(batch, self._embed(batch), strict=True)
        whole = self.tokenizer(list(texts), verbose=False)["input_ids"] if texts else []
        return embedded, sum(len(ids) > self.longest for ids in whole)

    def _embed(self, batch: Sequence[str]) -> Iterator[Float[np.ndarray, "_ D"]]:
        import torch

        read = self.tokenizer(
            list(batch), padding=True, truncation=True, max_length=self.longest, return_tensors="pt",
            return_special_tokens_mask=True,
        )  # fmt: skip
        words = (read["attention_mask"] == 1) & (read.pop("special_tokens_mask") == 0)
        with torch.inference_mode():
            states = self.model(**read, output_hidden_states=True).hidden_states[self.layer]
            unit = torch.nn.functional.normalize(states.double(), dim=-1)
        return (rows[kept].numpy() for rows, kept in zip(unit, words, strict=True))


def _named() -> tuple[str, int | None, str]:
    """Folder and layer out of the environment, and what stands there."""
    given = os.environ.get(FOLDER, "")
    place, _, layer = given.rpartition("@") if given.rpartition("@")[2].isdecimal() else (given, "", "")
    return place, int(layer) if layer else None, given


def _weights(place: str) -> list[Path]:
    return weights_in(Path(place)) if place else []
