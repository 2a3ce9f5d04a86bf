"""Metrics at a publication's size: self-BLEU of 5,000, MAUVE of 5,000 + 5,000, all metrics of text alone on 10,000 outputs."""

import dataclasses
import json
import os
from functools import cache
from importlib.metadata import version

import numpy as np
import pytest

from harness.contracts import Example, TaskView
from harness.measurement import Evaluation
from harness.metrics import mauve, words
from harness.metrics.profiles import profile
from harness.metrics.self_bleu import self_bleu
from harness.outputs.scoring import PROFILE, Outputs, score
from harness.registry import resolve
from harness.tokenizer import Tokenizer
from tasks.corpus import T2T_METRICS
from tasks.multi30k import Multi30k
from tasks.world.task import World

SAMPLES, SELF_BLEU_SECONDS = 5000, 3.0
WIDTH, MAUVE_SECONDS = 768, 15.0
OUTPUTS, SCORING_SECONDS = 10_000, 20.0
WRONG = 0.4


def _pairs(name):
    """10,000 examples to translate, with one reference each: texts of `world`, or captions."""
    if name == "world":
        return World("small", train=1, valid=1, judge=1, test=OUTPUTS).load("t2t").test
    return Multi30k().load("t2t").train[:OUTPUTS]


@pytest.fixture(scope="module", params=["world", "multi30k"])
def corpus(request):
    if request.param == "multi30k" and "HARNESS_DATA" not in os.environ:
        pytest.skip("no folder of real text in HARNESS_DATA")
    return request.param, _pairs(request.param)


@pytest.mark.bench
def test_self_bleu(measure, corpus):
    name, examples = corpus
    texts = [example.source for example in examples[:SAMPLES]]
    length = np.mean([len(text.split()) for text in texts])
    self_bleu(texts[:100])

    def afresh():
        words._parted.cache_clear()
        return self_bleu(texts)

    measure(f"self-BLEU of {SAMPLES} texts of {name}, {length:.1f} words on average", afresh, seconds=SELF_BLEU_SECONDS)


def outputs(examples):
    """Targets in which words are taken from the target before."""
    rng = np.random.default_rng(0)
    targets = [example.target.split() for example in examples]
    mixed = [
        [theirs if rng.random() < WRONG else own for own, theirs in zip(words, [*other, *words[len(other) :]], strict=False)]
        for words, other in zip(targets, [targets[-1], *targets], strict=False)
    ]
    return [" ".join(words) for words in mixed]


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.bench
def test_scoring(report, measure, corpus, tmp_path):
    name, examples = corpus
    metrics = [metric for metric in T2T_METRICS if not resolve("metrics", metric).load().needs]
    made = [{"id": example.id, "text": text} for example, text in zip(examples, outputs(examples), strict=True)]
    wanted = [{"id": item.id, "source": item.source, "references": list(item.accepted)} for item in examples]
    files = lines(tmp_path / "outputs.jsonl", made), lines(tmp_path / "references.jsonl", wanted)
    few = lines(tmp_path / "few.jsonl", made[:100]), lines(tmp_path / "few_references.jsonl", wanted[:100])
    score(*few, metrics)
    references = np.mean([len(example.accepted) for example in examples])
    report(
        f"{name}: {OUTPUTS} outputs, {references:.1f} references each, {WRONG:.0%} of the words taken from another text; "
        f"sacrebleu {version('sacrebleu')}, rouge-score {version('rouge-score')}, numpy {np.__version__}; the default metrics of "
        f"T2T that need no model: {', '.join(metrics)}"
    )

    def all_afresh():
        words._parted.cache_clear()
        return score(*files, metrics)

    what = f"{name}: all of them in one process, files read and {profile(PROFILE).resamples} resamples among it"
    measure(what, all_afresh, seconds=SCORING_SECONDS, repetitions=3)
    for metric in metrics:
        measure(f"{name}: {metric} by itself, files read", lambda metric=metric: score(*files, [metric]), repetitions=1)


class Drawn:
    """A judge whose features are drawn: 40 clusters, with standard deviation k ** -decay in direction k."""

    signature = "drawn"

    def __init__(self, decay):
        self.widths = np.arange(1.0, WIDTH + 1) ** -decay
        self.centres = np.random.default_rng(0).normal(size=(40, WIDTH))
        self.features = cache(self._drawn)

    def _drawn(self, texts):
        rng = np.random.default_rng(len(texts[0]))
        rows = rng.normal(size=(len(texts), WIDTH)) + self.centres[rng.integers(len(self.centres), size=len(texts))]
        return ((rows + 0.05 * len(texts[0])) * self.widths).astype(np.float32)


def evaluation(judge):
    """Samples "a", references "bb" and other human texts "ccc", each with a law of features of its own."""
    view = TaskView(name="bench", family="ucg", tokenizer=Tokenizer.train("characters", ["abc"]), max_tokens=8)
    examples = [Example(id=f"{index:05d}", target="bb") for index in range(SAMPLES)]
    return Evaluation(
        task=Outputs(), family="ucg", examples=examples, texts=["a"] * SAMPLES, generations=(), view=view,
        train=[dataclasses.replace(example, target="ccc") for example in examples], profile=PROFILE, seed=0, judge=judge,
    )  # fmt: skip


@pytest.mark.bench
@pytest.mark.parametrize("decay", [0.5, 0.0])
def test_mauve(report, measure, decay):
    import faiss

    judge, seeds = Drawn(decay), range(profile(PROFILE).mauve_seeds)
    asked, sides = evaluation(judge), [judge.features((text,) * SAMPLES) for text in ("a", "bb", "ccc")]
    mauve.mauve_scores(*(side[:500] for side in sides[:2]), seeds=[0])
    threads = faiss.omp_get_max_threads()
    report(
        f"features {SAMPLES} + {SAMPLES} x {WIDTH}, standard deviation k^-{decay:g} in direction k; {len(seeds)} k-means seeds; "
        f"mauve-text {version('mauve-text')}, faiss {version('faiss-cpu')}, {threads} thread{'s' * (threads > 1)}"
    )
    measure("MAUVE of all seeds", lambda: mauve.mauve_scores(*sides[:2], seeds=seeds), seconds=MAUVE_SECONDS, repetitions=3)
    mauve._ceilings.clear()
    first = []
    measure(
        "the metric for a task's first model: MAUVE*, the ceiling and intervals too",
        lambda: first.append(mauve.Mauve()(asked)),
        repetitions=1,
    )
    assert all(found.value is not None for found in first[0].values())
    measure("the metric for its other models, whose ceiling is known", lambda: mauve.Mauve()(asked), repetitions=1)
