import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from baselines.systems.d3pm import D3PM
from harness.cli import app
from harness.compare.oracles import law, oracle_for
from harness.compare.steps import step_curves
from harness.errors import GridError, UnknownName
from harness.report.steps import as_text, plot
from harness.schedules.mutual_information import Mixing
from harness.schedules.names import build
from harness.tracking.rows import Row
from tasks.world.oracles import OracleDenoiser

MASKED = {
    "kind": "diffusion", "space": "discrete", "kernel": "absorbing", "unmasking": "independent", "last_step": "argmax",
    "likelihood": "bound",
}  # fmt: skip
ORACLE = {**MASKED, "kind": "oracle", "likelihood": "exact"}
EXACT = {"kind": "oracle", "kernel": None, "likelihood": "exact"}
SHARES = {4: 0.2, 16: 0.5, 32: 0.5}
BEST = {4: 0.4, 16: 0.9, 32: 1.0}


def hits(share, seed):
    return (np.random.default_rng(seed).random(120) < share).astype(float)


def row(design, **fields):
    given = {
        "schedule": "linear-alpha-bar",
        "steps": 16,
        "settings": {"design": design, "decode": {"method": "sample"}},
        **fields,
    }
    return Row(digest="d", grid="g", model="m", task="toy", family="ucg", seed=0, decode="sample", status="done", **given)


@pytest.fixture
def masked(cells):
    """A masked system that stops gaining at 16 steps, its oracle, one with another rule, and exact draws; three seeds each."""
    for seed in range(3):
        for steps in SHARES:
            for model, share, design, schedule in (
                ("masked", SHARES[steps], MASKED, "mutual-information"),
                ("oracle", BEST[steps], ORACLE, "linear-alpha-bar"),
                ("oracle, counted", 1.0, {**ORACLE, "unmasking": "exact-count"}, "linear-alpha-bar"),
            ):
                cells.add(
                    model, seed, hits(share, (seed, steps, len(model))), family="ucg", steps=steps, schedule=schedule,
                    settings={"design": design}, far=2 - share + 0.01 * seed,
                )  # fmt: skip
        cells.add("draws", seed, np.ones(120), family="ucg", settings={"design": EXACT}, far=0.5 + 0.01 * seed)
    return cells.store


def curves_of(store, metric="correct"):
    (found,) = step_curves(store, metric)
    return found, {curve.model: curve for curve in (*found.curves, *found.without_steps)}


def test_what_a_system_lacks_is_what_its_oracle_lacks_and_what_it_has_not_learnt(masked):
    found, by_model = curves_of(masked)
    curve = by_model["masked"]
    assert (curve.oracle, curve.remark, found.perfect) == ("oracle", None, "1")
    assert [held.steps for held in curve.held] == [4, 16, 32]
    for point, held, best in zip(curve.points, curve.held, BEST.values(), strict=True):
        assert held.oracle.value == pytest.approx(best, abs=0.1)
        assert held.parallel.value == pytest.approx(1 - held.oracle.value)
        assert held.learning.value == pytest.approx(held.oracle.value - point.pooled.value)
        assert held.parallel.value + held.learning.value == pytest.approx(1 - point.pooled.value)
    first = curve.held[0]
    assert first.parallel.interval.low < 0.6 < first.parallel.interval.high
    assert first.learning.interval.low < 0.2 < first.learning.interval.high
    assert first.learning.basis == "seeds and items"
    assert by_model["oracle"].held == by_model["draws"].held == ()
    assert [curve.model for curve in found.curves] == ["masked", "oracle", "oracle, counted"]
    assert [curve.points[0].steps for curve in found.without_steps] == [None]


def test_where_low_values_are_good_errors_are_positive_too_and_told_against_exact_draws(masked):
    found, by_model = curves_of(masked, "far")
    held = by_model["masked"].held[0]
    assert (found.higher_is_better, found.perfect) == (False, "draws (exact draws)")
    assert held.parallel.value == pytest.approx((2 - BEST[4]) - 0.5)
    assert held.learning.value == pytest.approx(BEST[4] - SHARES[4])
    assert held.learning.interval.low < held.learning.value < held.learning.interval.high
    gains = by_model["oracle"].changes
    assert [change.gain.value > 0 for change in gains] == [True, True]


def test_without_exact_draws_nobody_knows_what_a_perfect_system_has(cells):
    for seed in range(2):
        for model, design, far in (("masked", MASKED, 1.0), ("oracle", ORACLE, 0.5)):
            cells.add(
                model, seed, hits(0.5, seed), family="ucg", steps=4, schedule="sqrt", settings={"design": design}, far=far + seed
            )
    found, by_model = curves_of(cells.store, "far")
    assert found.perfect is None
    assert by_model["masked"].held[0].parallel is None
    assert by_model["masked"].held[0].learning.value == pytest.approx(0.5)


def test_one_seed_speaks_of_items_and_its_interval_is_that_of_two_independent_shares(cells):
    for model, design, share in (("masked", MASKED, 0.3), ("oracle", ORACLE, 0.7)):
        cells.add(model, 0, hits(share, len(model)), family="ucg", steps=4, schedule="sqrt", settings={"design": design})
    (found,) = step_curves(cells.store, "correct")
    (held,) = found.curves[0].held
    a, b = (found.curves[place].points[0].pooled.value for place in (0, 1))
    half = 1.98 * np.sqrt((a * (1 - a) + b * (1 - b)) / 119)
    assert held.learning.basis == "items"
    assert held.learning.interval.high - held.learning.interval.low == pytest.approx(2 * half, rel=0.02)


@pytest.mark.parametrize(
    "other",
    [
        {"design": {**ORACLE, "unmasking": "exact-count"}}, {"design": {**ORACLE, "kernel": "uniform"}},
        {"design": {**ORACLE, "space": "simplex"}}, {"schedule": "cosine-squared"}, {"steps": 8},
        {"design": {**ORACLE, "kind": "diffusion"}}, {"settings": {"design": ORACLE, "decode": {"temperature": 0.9}}},
    ],
)  # fmt: skip
def test_an_oracle_that_samples_otherwise_is_none(cells, other):
    def settings(design):
        return {"design": design, "decode": {"method": "sample"}}

    cells.add("masked", 0, hits(0.5, 0), family="ucg", steps=4, schedule="mutual-information", settings=settings(MASKED))
    given = {"schedule": "linear-alpha-bar", "steps": 4, "settings": settings(other.get("design", ORACLE)), **other}
    given.pop("design", None)
    cells.add("oracle", 0, hits(0.9, 1), family="ucg", **given)
    curve = curves_of(cells.store)[1]["masked"]
    assert (curve.oracle, curve.held) == (None, ())
    told = "no oracle with kernel absorbing, unmasking independent, schedule linear-alpha-bar, its steps and its decoding"
    assert curve.remark == (None if given["settings"]["design"]["kind"] == "diffusion" else told)


def test_of_several_oracles_the_one_with_the_same_last_step_is_taken_and_another_is_said(cells):
    def add(model, design, share):
        cells.add(model, 0, hits(share, 0), family="ucg", steps=4, schedule="sqrt", settings={"design": design})

    add("masked", MASKED, 0.5)
    add("drawn", {**ORACLE, "last_step": "sample"}, 0.6)
    curve = curves_of(cells.store)[1]["masked"]
    assert curve.oracle == "drawn"
    assert curve.remark == "its last step is argmax, that of its oracle sample: the learning error holds that too"
    add("oracle", ORACLE, 0.7)
    curve = curves_of(cells.store)[1]["masked"]
    assert (curve.oracle, curve.remark) == ("oracle", None)


def test_designs_that_ship_find_each_other():
    for unmasking in ("independent", "exact-count"):
        system = row(asdict(D3PM.design_for(unmasking=unmasking)), schedule=D3PM.design.schedule)
        keys = [
            {"unmasking": rule, "last_step": last} for rule in ("independent", "exact-count") for last in ("sample", "argmax")
        ]
        oracles = [row(asdict(OracleDenoiser.design_for(**key)), schedule=OracleDenoiser.design.schedule) for key in keys]
        assert keys[oracles.index(oracle_for(system, oracles))] == {"unmasking": unmasking, "last_step": "argmax"}
    assert oracle_for(row(asdict(D3PM.design_for(kernel="uniform"))), oracles) is None


def test_for_a_mask_mutual_information_is_linear_alpha_bar():
    unigram = torch.tensor([5.0, 1.0, 2.0, 0.0], dtype=torch.float64)
    mask = Mixing(torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64))
    t = torch.linspace(0, 1, 21, dtype=torch.float64)[:, None]
    for form in ("", "@20"):
        solved = build(f"mutual-information{form}", kernel=mask, unigram=unigram)
        named = law(row(MASKED, schedule=solved.specification))
        assert named == f"linear-alpha-bar{form}"
        torch.testing.assert_close(solved.alpha_bar(t), build(named).alpha_bar(t), atol=1e-6, rtol=0)
    assert law(row({**MASKED, "kernel": "uniform"}, schedule="mutual-information")) == "mutual-information"


def test_where_quality_does_not_rise_with_steps_is_said(cells):
    for seed in range(3):
        for steps, share in {4: 0.2, 8: 0.7, 16: 0.7, 32: 0.1}.items():
            cells.add(
                "m", seed, hits(share, (seed, steps)), family="ucg", steps=steps, schedule="sqrt", settings={"design": MASKED}
            )
    (found,) = step_curves(cells.store, "correct")
    changes = found.curves[0].changes
    assert [(change.fewer, change.more, change.rises, change.falls) for change in changes] == [
        (4, 8, True, False), (8, 16, False, False), (16, 32, False, True),
    ]  # fmt: skip
    line = next(line for line in as_text([found]).splitlines() if line.startswith("- m sqrt sample: does not rise"))
    assert "8 -> 16 (" in line
    assert "16 -> 32 (falls: -0." in line
    assert "4 -> 8" not in line


def test_a_trend_without_an_interval_is_not_called_flat(cells):
    for steps, right in {4: [0.0], 8: [1.0]}.items():
        cells.add("m", 0, right, ids=["only"], family="ucg", steps=steps, schedule="sqrt", settings={"design": MASKED})
    text = as_text(step_curves(cells.store, "correct"))
    assert "- m sqrt sample: whether it rises cannot be said, there being no interval: 4 -> 8 (" in text
    assert "does not rise" not in text


def test_steps_are_compared_under_the_same_seeds_and_requests(cells):
    """The same texts but for ten more that are right: a gain of 10 / 120 for sure, however few items there are."""
    few = hits(0.3, 0)
    more = few.copy()
    more[np.flatnonzero(few == 0)[:10]] = 1
    for steps, items in ((4, few), (8, more)):
        cells.add("m", 0, items, family="ucg", steps=steps, schedule="sqrt", settings={"design": MASKED})
    cells.add("m", 1, hits(0.9, 5), family="ucg", steps=8, schedule="sqrt", settings={"design": MASKED})
    (found,) = step_curves(cells.store, "correct")
    (change,) = found.curves[0].changes
    assert change.gain.value == pytest.approx(10 / 120)
    assert change.rises
    assert [point.seeds for point in found.curves[0].points] == [(0,), (0, 1)]
    assert "(seeds 0)" in as_text([found])


def test_the_first_headline_is_taken_and_what_lacks_it_is_said(cells):
    cells.add("a", 0, hits(0.5, 0), steps=4, schedule="sqrt")
    cells.add("a", 0, hits(0.5, 0), steps=8, schedule="sqrt", far=1.0)
    (found,) = step_curves(cells.store)
    assert (found.metric, found.left_out) == ("correct", {})
    (found,) = step_curves(cells.store, "far")
    assert found.left_out == {"a sqrt 4 steps sample seed 0": "it was not measured"}
    assert "- a sqrt 4 steps sample seed 0: no value: it was not measured" in as_text([found])
    with pytest.raises(UnknownName, match="value with a better end"):
        step_curves(cells.store, "nothing")


def test_what_cannot_be_read_is_one_clear_error(cells):
    cells.add("gpt", 0, hits(0.5, 0))
    with pytest.raises(GridError, match="no finished cell with a number of steps"):
        step_curves(cells.store)
    for _ in range(2):
        cells.add("a", 0, hits(0.5, 0), steps=4, schedule="sqrt")
    with pytest.raises(GridError, match=r"two cells of a sqrt 4 steps sample seed 0: 01ababab, 02ababab. Name a grid"):
        step_curves(cells.store)


def test_other_signatures_are_not_held_against_each_other(cells):
    for model, design, version in (("masked", MASKED, 1), ("oracle", ORACLE, 2)):
        cells.add(
            model, 0, hits(0.5, 0), family="ucg", steps=4, schedule="sqrt", settings={"design": design},
            signature=f"share|items:{{digest}}|v:{version}",
        )  # fmt: skip
    (found,) = step_curves(cells.store, "correct")
    (held,) = found.curves[0].held
    assert held.learning is None
    assert held.reason == "different signatures: v:1 against v:2"
    assert "not held against its oracle: different signatures" in as_text([found])


def test_the_command_prints_tables_and_draws_plots(masked, tmp_path):
    asked = ["steps", "correct", "--store", str(masked.address)]
    said = CliRunner().invoke(app, [*asked, "--plots", str(tmp_path / "plots")])
    assert said.exit_code == 0
    found = step_curves(masked, "correct")
    text = as_text(found)
    assert text.strip() in said.output
    lines = [line for line in text.splitlines() if line.startswith("| masked")]
    assert [line.split("|")[5].strip() for line in lines[1:]] == ["oracle", "parallel decoding", "learning"]
    assert "| draws" in text
    assert "- masked mutual-information sample: does not rise beyond its interval: 16 -> 32" in text
    drawn = tmp_path / "plots" / "toy-ucg-steps.svg"
    assert drawn.read_text().startswith("<?xml")
    assert plot(found, tmp_path / "again")[0].read_bytes() == drawn.read_bytes()
    (record,) = json.loads(CliRunner().invoke(app, [*asked, "--json"]).stdout)
    system = next(item for item in record["systems"] if item["model"] == "masked")
    assert system["held"][0]["learning"]["value"] == pytest.approx(found[0].curves[0].held[0].learning.value)
    assert system["points"][1]["steps"] == 16
    assert {name: system["changes"][1][name] for name in ("from", "to")} == {"from": 16, "to": 32}
