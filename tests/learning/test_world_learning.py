"""Do the systems learn? The shipped grid `world-learn`, three seeds; resumes from `$HARNESS_LEARN_STORE` (default ./runs)."""

import pytest

pytestmark = pytest.mark.slow
GRID, POINTS, GPT = "world-learn", 0.08, 0.85
UNCONDITIONAL = ("d3pm", "d3pm-uniform", "diffusion-lm")
SHORT = "after 5 million tokens 1.4 % of its texts are in the language (results/world-learn); a template answers 64 % right"
CONDITIONAL = [
    pytest.param("diffuseq", "a2t", marks=pytest.mark.xfail(reason=SHORT, strict=True)), ("diffuseq", "t2t"),
    ("seq2seq", "a2t"), ("seq2seq", "t2t"),
]  # fmt: skip
ANSWERS = {"gpt": None, "seq2seq": None, "diffuseq": "sqrt@2000", "copy-source": None, "template": None}
SCHEDULES = {
    "ucg": {
        "gpt": None, "d3pm": "mutual-information", "d3pm-uniform": "cosine-plain@1000", "d3pm-gaussian": "linear-beta-fixed@1000",
        "d3pm-nearest-neighbour": "mutual-information", "diffusion-lm": "sqrt@2000", "trigram": None,
    },
    "a2t": ANSWERS, "t2t": ANSWERS,
}  # fmt: skip
CELLS = [
    (model, "world-small", family, schedule, seed)
    for family, models in SCHEDULES.items()
    for model, schedule in models.items()
    for seed in (0, 1, 2)
]


@pytest.fixture(scope="module")
def measured(finished):
    """(model, family, seed) -> metrics of every cell."""
    return {(row.model, row.family, row.seed): row.metrics for row in finished(GRID, CELLS)}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gpt_writes_the_language(measured, seed):
    assert measured["gpt", "ucg", seed]["in_language_standardised"].value > GPT


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("model", UNCONDITIONAL)
def test_diffusion_is_well_above_a_trigram(measured, model, seed):
    own, floor = (measured[name, "ucg", seed]["in_language_standardised"] for name in (model, "trigram"))
    assert own.value - floor.value >= POINTS
    assert own.low > floor.high


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("floor", ["copy-source", "template"])
@pytest.mark.parametrize(("model", "family"), CONDITIONAL)
def test_answers_are_right_more_often_than_a_floor_is(measured, model, family, floor, seed):
    assert measured[model, family, seed]["correct"].low > measured[floor, family, seed]["correct"].high
