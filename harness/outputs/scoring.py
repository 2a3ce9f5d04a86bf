"""Scores of texts that any program made, by the same metrics that score models here."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from harness.contracts import Example, Generation, TaskData, TaskView
from harness.design import FAMILIES, Family
from harness.errors import OutputsError
from harness.grid.catalogue import Catalogue
from harness.measurement import Evaluation, Measurement, Metric
from harness.metrics.answers import measurements
from harness.outputs.reading import has_ids, paired, read_outputs, read_references
from harness.registry import known, resolve
from harness.tokenizer import Tokenizer

DEFAULT = ("bleu", "chrf", "lengths")
PROFILE = "publish"
_UNCUT = 2**31 - 1


class Outputs:
    """The task that outputs from elsewhere belong to: there is none, and metrics of a task of its own refuse it."""

    name: ClassVar[str] = "outputs"
    version: ClassVar[int] = 1
    families: ClassVar[tuple[Family, ...]] = FAMILIES

    def fingerprint(self, family: Family) -> str:
        """Nothing decides examples that are not its own."""
        return self.name

    def check(self) -> None:
        """There are no files."""

    def load(self, family: Family) -> TaskData:
        """There is nothing to load.

        Raises:
            OutputsError: always.
        """
        raise OutputsError("outputs from elsewhere have no data of their own")

    def metrics(self, family: Family) -> tuple[str, ...]:
        """What is computed by default."""
        return DEFAULT


def score(outputs: Path, references: Path | None, metrics: Sequence[str] = DEFAULT, *, seed: int = 0) -> dict[str, Measurement]:
    """Score a file of texts against a file of references.

    Args:
        outputs: JSON lines with `text` and optionally `id`.
        references: JSON lines with `references` and optionally `id` and `source`; `None` for metrics that need none.
        metrics: registered names, or `file.py:Name`.
        seed: of the resampling.

    Returns:
        Value name -> measurement; absent values with their reason.

    Raises:
        OutputsError: files that cannot be read or paired, or a metric that needs more than texts.
        UnknownName: no metric of that name.
        GridError: a metric whose file is not there, or that lacks what a metric needs.
    """
    made = [_metric(name, references is not None) for name in dict.fromkeys(metrics)]
    written = read_outputs(outputs)
    if references is None:
        examples, texts = [Example(id=str(number), target="") for number in range(1, len(written) + 1)], [o.text for o in written]
    else:
        examples = read_references(references)
        texts = paired(written, examples, by_id=has_ids(references))
    families: tuple[Family, ...] = ("t2t", "a2t", "ucg") if references is not None else ("ucg",)
    return {
        name: value
        for metric in made
        for name, value in measurements(metric, _evaluation(examples, texts, _family(metric, families), seed)).items()
    }


def _family(metric: Metric, preferred: Sequence[Family]) -> Family:
    return next(family for family in preferred if family in metric.families)


def _metric(name: str, with_references: bool) -> Metric:
    metric = Catalogue(Path.cwd()).metric(name)
    if _of_task(metric):
        raise OutputsError(
            f"metric {name} needs the {' and the '.join(_of_task(metric))} of a task: use `harness import` for it. Metrics of "
            f"texts alone: {', '.join(_of_texts())}."
        )
    if not with_references and "ucg" not in metric.families:
        raise OutputsError(f"metric {name} compares with references: give a file of them with --references.")
    return metric


def _of_texts() -> list[str]:
    return [name for name in known("metrics") if not _of_task(resolve("metrics", name).load())]


def _of_task(metric: Metric) -> tuple[str, ...]:
    """What of a task a metric cannot do without."""
    return (*metric.needs, *getattr(metric, "of_task", ()))


def _evaluation(examples: Sequence[Example], texts: Sequence[str], family: Family, seed: int) -> Evaluation:
    generations = [Generation(id=example.id, texts=(text,)) for example, text in zip(examples, texts, strict=True)]
    view = TaskView(name="outputs", family=family, tokenizer=Tokenizer.train("words", []), max_tokens=_UNCUT)
    return Evaluation(
        task=Outputs(), family=family, examples=examples, texts=texts, generations=generations, train=(), view=view,
        profile=PROFILE, seed=seed,
    )  # fmt: skip


def as_record(measurements: Mapping[str, Measurement]) -> dict[str, object]:
    """Values as plain objects: value, interval, n, signature, flags, and the reason where there is none."""
    return {
        name: {
            "value": found.value, "low": found.low, "high": found.high, "n": found.n, "signature": found.signature,
            "flags": list(found.flags), "reason": found.reason,
        }
        for name, found in measurements.items()
    }  # fmt: skip
