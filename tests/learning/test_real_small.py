"""Do the systems learn real text? The shipped grid `real-small`; resumes from `$HARNESS_LEARN_STORE` (default ./runs).

Unconditional texts must be more probable to the judge than unigram samples, conditional ones nearer to their references than
the references of other items.
"""

import os

import pytest

from harness.contracts import TaskView
from harness.grid import load
from harness.grid.catalogue import Catalogue
from harness.measurement import Evaluation
from harness.metrics.chrf import ChrF
from harness.metrics.profiles import profile
from harness.runner.artefacts import test_items as items_of
from harness.tokenizer import Tokenizer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("HARNESS_DATA" not in os.environ, reason="HARNESS_DATA names no folder with the real data sets"),
]
GRID = "real-small"
FLOORS = ("unigram", "copy-source", "template")
ANSWERS = {
    "gpt": [None], "seq2seq": [None], "diffuseq": ["sqrt@2000", "cosine-squared"], "copy-source": [None], "template": [None],
}  # fmt: skip
TEXTS = {
    "gpt": [None], "d3pm": ["mutual-information", "cosine-squared"], "diffusion-lm": ["sqrt@2000", "cosine-squared"],
    "unigram": [None],
}  # fmt: skip
MODELS = {("e2e", "a2t"): ANSWERS, ("multi30k", "t2t"): ANSWERS, ("e2e", "ucg"): TEXTS, ("wikitext2", "ucg"): TEXTS}
CELLS = [
    (model, task, family, schedule, 0)
    for (task, family), models in MODELS.items()
    for model, schedules in models.items()
    for schedule in schedules
]
LEAST = 500


@pytest.fixture(scope="module")
def grid():
    return load(GRID)


@pytest.fixture(scope="module")
def cells(finished):
    """Rows of every finished cell."""
    return finished(GRID, CELLS)


def shuffled(grid, name, family):
    """chrF of the test references, each against the references of an item half the test set away."""
    catalogue = Catalogue(grid.folder)
    entry = next(entry for entry in grid.tasks if entry.title == name)
    task = catalogue.task(entry)
    data = task.load(family)
    count, samples = profile(grid.profile).size(family)
    examples = items_of(data, count, samples)
    others = [example.target for example in examples[len(examples) // 2 :] + examples[: len(examples) // 2]]
    view = TaskView(name=name, family=family, tokenizer=Tokenizer.train("words", others), max_tokens=1)
    evaluation = Evaluation(
        task=task, family=family, examples=examples, texts=others, generations=(), train=(), view=view, profile=grid.profile,
    )  # fmt: skip
    return ChrF()(evaluation)["chrf"]


def test_every_cell_wrote_enough(cells):
    assert [(row.model, row.task, row.settings["n"]) for row in cells if row.settings["n"] < LEAST] == []
    assert [(row.model, row.task) for row in cells if row.metrics["mean_words"].n < LEAST] == []


def test_unconditional_texts_are_likelier_than_unigram_samples(cells):
    for task in {row.task for row in cells if row.family == "ucg"}:
        there = [row for row in cells if (row.task, row.family) == (task, "ucg")]
        floor = next(row for row in there if row.model == "unigram").metrics["judge_ppl"].low
        worse = [row.model for row in there if row.model not in FLOORS and row.metrics["judge_ppl"].high >= floor]
        assert worse == [], f"{task}: unigram samples have a judge perplexity of {floor:.1f} or more"


def test_answers_are_nearer_than_the_references_of_others(cells, grid):
    for task, family in {(row.task, row.family) for row in cells if row.family != "ucg"}:
        floor = shuffled(grid, task, family).high
        there = [row for row in cells if (row.task, row.family) == (task, family) and row.model not in FLOORS]
        worse = [(row.model, row.schedule) for row in there if row.metrics["chrf"].low <= floor]
        assert worse == [], f"{task} {family}: references of other items have a chrF of at most {floor:.1f}"
