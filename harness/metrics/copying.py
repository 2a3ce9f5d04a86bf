"""Copying: how much of a text is its own source."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from sacrebleu.metrics.bleu import BLEU

from harness.design import Family
from harness.measurement import Evaluation, Measurement
from harness.metrics.answers import checked_texts, empty_flags, measured, over_items, refusal, refusals, share, why_nothing
from harness.metrics.bleu import bleu_statistics, corpus_bleu
from harness.metrics.references import corpus_measurement, references_of, signature_of
from harness.metrics.sources import sources_of

ALPHA = 0.8
_STATISTICS = 10


class Copying:
    """Copy-BLEU, iBLEU and the share of texts that are their source.

    `copy_bleu` is the corpus BLEU of the texts against their own sources, 0 to 100; not self-BLEU. `ibleu` is
    alpha BLEU - (1 - alpha) copy-BLEU with alpha 0.8 (Sun and Zhou 2012, aclanthology.org/P12-2008), -20 to 80. Its
    items are sacreBLEU's ten statistics against the references, then ten against the source. A text that differs from its
    source in white space only is a copy; an empty text is none.

    iBLEU forgives a copy where references look like sources: a weak model can be below the source itself. In translation a
    copy is untranslated text.
    """

    name: ClassVar[str] = "copying"
    version: ClassVar[int] = 2
    families: ClassVar[tuple[Family, ...]] = ("t2t",)
    needs: ClassVar[tuple[str, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ("sacrebleu",)
    values: ClassVar[Mapping[str, bool | None]] = {"copy_bleu": None, "ibleu": True, "exact_copy_rate": False}
    exposes: ClassVar[Mapping[str, tuple[str, ...]]] = {"ibleu": ("copy-source",), "exact_copy_rate": ("copy-source",)}

    def __call__(self, evaluation: Evaluation) -> Mapping[str, Measurement]:
        """Measure the selected texts; refused where an example has no source, or all texts are empty."""
        texts, sources = checked_texts(evaluation), sources_of(evaluation.examples)
        reason = sources if isinstance(sources, str) else why_nothing(texts)
        if isinstance(sources, str) or reason:
            return refusals(self.values, str(reason), n=len(texts), signature="copying")
        rows, metric = bleu_statistics(texts, [[source] for source in sources]), BLEU(tokenize="13a")
        copied = corpus_measurement(_of_sources(evaluation, sources), metric, rows, corpus_bleu, name="copy_bleu", kind="bleu")
        hits = [bool(text.strip()) and text.split() == source.split() for text, source in zip(texts, sources, strict=True)]
        return {
            "copy_bleu": dataclasses.replace(copied, signature=f"of:source|{copied.signature}"),
            "ibleu": _ibleu(evaluation, texts, rows),
            "exact_copy_rate": share(evaluation, hits, signature="share|wilson|copy:same words", flags=empty_flags(texts)),
        }


def corpus_ibleu(sums: Float[np.ndarray, "R 20"]) -> Float[np.ndarray, " R"]:
    """IBLEU of summed statistics: ten of BLEU against the references, then ten against the sources."""
    return ALPHA * corpus_bleu(sums[:, :_STATISTICS]) - (1 - ALPHA) * corpus_bleu(sums[:, _STATISTICS:])


def _of_sources(evaluation: Evaluation, sources: Sequence[str]) -> Evaluation:
    """The same texts with their sources as the only references."""
    pairs = zip(evaluation.examples, sources, strict=True)
    examples = [dataclasses.replace(example, references=(source,)) for example, source in pairs]
    return dataclasses.replace(evaluation, examples=examples)


def _ibleu(evaluation: Evaluation, texts: Sequence[str], copied: Float[np.ndarray, "n 10"]) -> Measurement:
    references = references_of(evaluation.examples)
    if isinstance(references, str):
        return refusal(references, n=len(texts), signature="ibleu")
    rows = np.concatenate([bleu_statistics(texts, references), copied], axis=1)
    return measured(
        float(corpus_ibleu(rows.sum(0)[None])[0]), over_items(evaluation, rows, corpus_ibleu, name="ibleu"), n=len(texts),
        signature=f"alpha:{ALPHA}|{signature_of(BLEU(tokenize='13a'), references)}", flags=empty_flags(texts), items=rows,
        aggregate="ibleu",
    )  # fmt: skip
