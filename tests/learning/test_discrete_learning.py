"""Do the discrete systems learn? `discrete-learn` and `discrete-learn-conditional`.

They resume from `$HARNESS_LEARN_STORE` (default ./runs).
"""

import pytest

pytestmark = pytest.mark.slow
POINTS = 0.08
UNCONDITIONAL = {
    "multinomial": "cosine-plain(max_beta=0.9683772233983162)@1000", "diffusion-bert": "spindle",
    "diffusion-bert-code": "spindle-log-frequency", "sedd": "log-linear", "sedd-uniform": "geometric", "mdlm": "log-linear",
    "md4": "between(of=linear-alpha-bar,low=0.0001,high=0.9999)", "udlm": "log-linear", "duo": "log-linear",
    "bd3-lm": "linear-alpha-bar", "llada": "linear-alpha-bar", "trigram": None,
}  # fmt: skip
T2T = (
    "diffusion-bert", "diffusion-bert-code", "diffusion-nat", "diffusion-nat-code", "diff-glat", "sedd", "mdlm", "mdlm-guided",
    "md4", "udlm", "udlm-guided", "duo", "bd3-lm", "llada",
)  # fmt: skip


@pytest.fixture(scope="module")
def unconditional(finished):
    """(model, seed) -> metrics."""
    cells = [(model, "world-small", "ucg", schedule, seed) for model, schedule in UNCONDITIONAL.items() for seed in (0, 1, 2)]
    return {(row.model, row.seed): row.metrics for row in finished("discrete-learn", cells)}


@pytest.fixture(scope="module")
def conditional(finished):
    """(model, family) -> share of correct answers, by decoding."""
    found = {}
    for row in finished("discrete-learn-conditional"):
        found.setdefault((row.model, row.family), {})[row.decode] = row.metrics["correct"]
    return found


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("model", [name for name in UNCONDITIONAL if name != "trigram"])
def test_texts_are_well_above_a_trigram(unconditional, model, seed):
    own, floor = (unconditional[name, seed]["in_language_standardised"].value for name in (model, "trigram"))
    assert own - floor >= POINTS


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("model", [name for name in UNCONDITIONAL if name != "trigram" and "bert" not in name])
def test_no_bound_is_below_the_exact_value(unconditional, model, seed):
    gap = unconditional[model, seed]["likelihood_gap"]
    assert gap.high >= 0


@pytest.mark.parametrize("floor", ["copy-source", "template"])
@pytest.mark.parametrize("model", T2T)
def test_rewritings_are_right_more_often_than_a_floor_is(conditional, model, floor):
    (least,) = conditional[floor, "t2t"].values()
    assert conditional[model, "t2t"]["sample"].low > least.high
