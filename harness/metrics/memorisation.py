"""Memorisation: how much of what is written stands in the training split, beside how much of human text does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import sacrebleu
from jaxtyping import Float, Int

from harness.design import Family
from harness.measurement import Evaluation, Measurement
from harness.metrics.answers import (
    checked_texts,
    clusters,
    empty_flags,
    measured,
    over_items,
    refusal,
    refusals,
    share,
    why_nothing,
)
from harness.metrics.words import ngrams, word_ids
from harness.stats.intervals import Interval, clustered_wilson, ratio_of_sums

ORDER = 8
LONGEST = 64


class Memorisation:
    """Share of texts that stand in the training split word for word, and of their 8-grams that do, over words (13a).

    `memorised_run` is the mean length in words of the longest run that a text shares with one training text, counted up to 64.
    Human text repeats the training split too, where sentences are short or of few patterns, so the same three of the test
    targets stand beside: near them is right, far above them is copying. Empty texts are no copies. `memorised_excess` is the
    share of copied texts above that of human text, and 0 below it: nothing is better for repeating less than people do;
    `memorised_8grams_excess` is the same of 8-grams, which also tells of training texts with a name exchanged.
    """

    name: ClassVar[str] = "memorisation"
    version: ClassVar[int] = 5
    families: ClassVar[tuple[Family, ...]] = ("ucg", "a2t", "t2t")
    needs: ClassVar[tuple[str, ...]] = ()
    of_task: ClassVar[tuple[str, ...]] = ("training split",)
    libraries: ClassVar[tuple[str, ...]] = ("sacrebleu",)
    values: ClassVar[Mapping[str, bool | None]] = {
        "memorised_texts": None, "memorised_8grams": None, "memorised_run": None, "human_memorised_texts": None,
        "human_memorised_8grams": None, "human_memorised_run": None, "memorised_excess": False,
        "memorised_8grams_excess": False,
    }  # fmt: skip
    exposes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "memorised_excess": ("train-copier",), "memorised_8grams_excess": ("train-copier", "template"),
    }  # fmt: skip

    def __call__(self, evaluation: Evaluation) -> Mapping[str, Measurement]:
        """Measure the selected texts and the test targets; refused where all texts are empty."""
        texts, targets = checked_texts(evaluation), [example.target for example in evaluation.examples]
        train = [example.target for example in evaluation.train]
        signature = f"tok:13a|order:{ORDER}|train:{len(train)}|sacrebleu:{sacrebleu.__version__}"
        reason = why_nothing(texts) if train else "there is no training split to look in"
        if reason:
            return refusals(self.values, reason, n=len(texts), signature=signature)
        known = set(train)
        both = Beside.of([*texts, *targets], train)
        written, human = np.split(both.in_training(), 2)
        run, human_run = np.split(both.longest_shared(), 2)
        return {
            "memorised_texts": _copies(evaluation, texts, known, signature),
            "memorised_8grams": _shared(evaluation, "memorised_8grams", written, signature, empty_flags(texts)),
            "memorised_run": _run(evaluation, "memorised_run", run, signature, empty_flags(texts)),
            "human_memorised_texts": _copies(evaluation, targets, known, signature),
            "human_memorised_8grams": _shared(evaluation, "human_memorised_8grams", human, signature, ()),
            "human_memorised_run": _run(evaluation, "human_memorised_run", human_run, signature, ()),
            "memorised_excess": _excess(evaluation, texts, targets, known, signature),
            "memorised_8grams_excess": _shared_excess(evaluation, written, human, signature),
        }


@dataclass(frozen=True, slots=True)
class Beside:
    """Words of texts and of the training split.

    Attributes:
        words: of all training texts, then of all texts, as `word_ids` gives them.
        owner: index of the text that each stands in.
        train, texts: how many there are.
    """

    words: Int[np.ndarray, " m"]
    owner: Int[np.ndarray, " m"]
    train: int
    texts: int

    @classmethod
    def of(cls, texts: Sequence[str], train: Sequence[str]) -> "Beside":
        """Cut all into words, once."""
        return cls(*word_ids([*train, *texts]), len(train), len(texts))

    def in_training(self, *, order: int = ORDER) -> Float[np.ndarray, "n 2"]:
        """n-grams of each text that stand in a training text, and all its n-grams."""
        *_, (grams, place) = ngrams(self.words, self.owner, longest=order)
        of_train = place < self.train
        seen = np.isin(grams[~of_train], grams[of_train])
        index = place[~of_train] - self.train
        counts = [np.bincount(index, weights=weights, minlength=self.texts) for weights in (seen.astype(np.float64), None)]
        return np.stack(counts, axis=1).astype(np.float64)

    def longest_shared(self, *, most: int = LONGEST) -> Int[np.ndarray, " n"]:
        """Words of the longest run of each text that stands in one training text too; longer ones count as `most`.

        Runs grow by a word at a time, and only those are kept that both sides have.
        """
        words, owner = self.words, self.owner
        found, vocabulary = np.zeros(self.texts, dtype=np.int64), int(words.max(initial=0)) + 1
        start, grams = np.arange(len(words)), words
        for length in range(1, most + 1):
            of_train = owner[start] < self.train
            kept = np.isin(grams, np.intersect1d(grams[of_train], grams[~of_train]))
            found[owner[start[kept & ~of_train]] - self.train] = length
            inside = kept & (start + length < len(words))
            inside[inside] = owner[start[inside] + length] == owner[start[inside]]
            start, grams = start[inside], grams[inside]
            grams = np.unique(grams * vocabulary + words[start + length], return_inverse=True)[1]
        return found


def _run(
    evaluation: Evaluation, name: str, lengths: Int[np.ndarray, " n"], signature: str, flags: tuple[str, ...]
) -> Measurement:
    rows, cut = np.stack([lengths, np.ones(len(lengths))], axis=1).astype(np.float64), int((lengths == LONGEST).sum())
    told = (f"{cut} {'text shares' if cut == 1 else 'texts share'} {LONGEST} words or more",) if cut else ()
    return measured(
        float(lengths.mean()), over_items(evaluation, rows, ratio_of_sums, name=name), n=len(lengths), items=rows[:, 0],
        signature=f"{signature}|most:{LONGEST}", flags=(*flags, *told), of_targets=name.startswith("human"),
    )  # fmt: skip


def _excess(evaluation: Evaluation, texts: Sequence[str], targets: Sequence[str], known: set[str], signature: str) -> Measurement:
    """Copies above those in human text; the interval resamples items, text and target of one together."""
    copied, human = ([_is_copy(text, known) for text in side] for side in (texts, targets))
    rows = np.stack([np.subtract(copied, human, dtype=np.float64), np.ones(len(texts))], axis=1)
    interval = over_items(evaluation, rows, ratio_of_sums, name="memorised_excess")
    return _above(float(rows[:, 0].mean()), interval, n=len(texts), signature=signature, flags=empty_flags(texts))


def _shared_excess(
    evaluation: Evaluation, written: Float[np.ndarray, "n 2"], human: Float[np.ndarray, "n 2"], signature: str
) -> Measurement:
    """Shared 8-grams above those of human text, resampled likewise."""
    rows, flags = np.concatenate([written, human], axis=1), empty_flags(evaluation.texts)
    if not rows[:, 1].sum() or not rows[:, 3].sum():
        return refusal(f"no text of one side has {ORDER} words", n=len(rows), signature=signature)
    interval = over_items(evaluation, rows, _difference_of_ratios, name="memorised_8grams_excess")
    value = float(_difference_of_ratios(rows.sum(0, keepdims=True))[0])
    return _above(value, interval, n=len(rows), signature=signature, flags=flags)


def _difference_of_ratios(sums: Float[np.ndarray, "R 4"]) -> Float[np.ndarray, " R"]:
    return ratio_of_sums(sums[:, :2]) - ratio_of_sums(sums[:, 2:])


def _above(value: float, interval: Interval | None, *, n: int, signature: str, flags: tuple[str, ...]) -> Measurement:
    """What is above 0 of a difference; below it there is nothing to gain."""
    ends = interval.map(lambda end: max(end, 0.0)) if interval else None
    return measured(max(value, 0.0), ends, n=n, signature=signature, flags=flags)


def _is_copy(text: str, known: set[str]) -> bool:
    return bool(text.strip()) and text in known


def _copies(evaluation: Evaluation, texts: Sequence[str], known: set[str], signature: str) -> Measurement:
    return share(evaluation, [_is_copy(text, known) for text in texts], signature=signature, flags=empty_flags(texts))


def _shared(
    evaluation: Evaluation, name: str, rows: Float[np.ndarray, "n 2"], signature: str, flags: tuple[str, ...]
) -> Measurement:
    if not rows[:, 1].sum():
        return refusal(f"no text has {ORDER} words", n=len(rows), signature=signature)
    interval = over_items(evaluation, rows, ratio_of_sums, name=name) or clustered_wilson(rows, clusters(evaluation))
    value = float(rows[:, 0].sum() / rows[:, 1].sum())
    of_targets = name.startswith("human")
    return measured(
        value, interval, n=len(rows), signature=signature, flags=flags, items=rows, aggregate="ratio", of_targets=of_targets
    )
