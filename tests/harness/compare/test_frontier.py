import json

import numpy as np
import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.compare.frontier import frontiers, log_perplexity_at_human_entropy
from harness.errors import GridError
from harness.report.frontiers import as_text

HUMAN = 3.0
TOKENS = 20.0


def points(cells, model, seed, temperatures, *, shift=0.0, spread=0.2, law=lambda t: (1.0 + 2.0 * t, 2.0 + 1.5 * t), **rest):
    """Cells sampled at these temperatures: entropy 1 + 2t, log perplexity 2 + 1.5t, both with noise that items share."""
    noise = np.random.default_rng([seed, *model.encode()]).normal(size=(2, 120)) * spread
    for temperature in temperatures:
        entropy, logarithm = law(temperature)
        entropies, nats = entropy + noise[0], (logarithm + shift + noise[1]) * TOKENS
        kept = {
            "judge_ppl": {"rows": np.stack([nats, np.full(120, TOKENS)], 1).tolist(), "aggregate": "exp-ratio"},
            "sample_entropy": {"rows": entropies.tolist(), "aggregate": "mean"},
            "human_entropy": {"rows": (HUMAN + 0.2 * np.sin(np.arange(120))).tolist(), "aggregate": "mean"},
        }
        values = {"judge_ppl": float(np.exp(nats.mean() / TOKENS)), "sample_entropy": float(entropies.mean())}
        cells.add(
            model, seed, np.zeros(120), family="ucg", decode=f"t{temperature:g}", rep_4=0.01 * temperature,
            settings={"decode": {"method": "sample", "temperature": temperature, "top_p": 1.0, "candidates": 1}},
            kept={name: {**part, "of_targets": name == "human_entropy"} for name, part in kept.items()},
            **values, human_entropy=HUMAN + float(np.mean(0.2 * np.sin(np.arange(120)))), **rest,
        )  # fmt: skip


def test_perplexity_is_read_at_the_human_entropy_between_points(cells):
    points(cells, "m", 0, (0.8, 0.9, 1.1, 1.2), spread=0.05)
    (found,) = frontiers(cells.store)
    assert [point.temperature for point in found.points] == [0.8, 0.9, 1.1, 1.2]
    true = np.exp(2.0 + 1.5 * (found.human - 1) / 2)  # the line on which all points lie
    assert found.perplexity == pytest.approx(true, rel=0.01)
    assert found.interval.low < true < found.interval.high
    assert (found.basis, found.seeds, found.reason) == ("items", (0,), None)


def test_nothing_is_said_beyond_the_points(cells):
    points(cells, "cold", 0, (0.5, 0.7))
    points(cells, "single", 0, (1.0,))
    by_model = {found.model: found for found in frontiers(cells.store)}
    assert by_model["cold"].perplexity is None
    assert "not reached: samples have entropies from" in by_model["cold"].reason
    assert by_model["single"].reason == "one point only: a frontier needs cells sampled at several temperatures"
    assert len(by_model["cold"].points) == 2


def test_at_the_edge_there_is_a_value_and_no_interval(cells):
    points(cells, "edge", 0, (0.8, 1.001), spread=0.3)
    (found,) = frontiers(cells.store)
    assert (found.perplexity is not None, found.interval) == (True, None)
    assert "beyond the points in" in found.reason


def test_several_seeds_are_pooled_and_the_lowest_comes_first(cells):
    for seed in range(3):
        points(cells, "worse", seed, (0.8, 1.2), shift=0.5)
        points(cells, "better", seed, (0.8, 1.2))
    better, worse = frontiers(cells.store)
    assert (better.model, worse.model, worse.seeds, worse.basis) == ("better", "worse", (0, 1, 2), "seeds and items")
    assert worse.perplexity / better.perplexity == pytest.approx(np.exp(0.5), rel=0.05)
    assert better.interval.high < worse.interval.low


def test_the_interval_covers_the_true_value():
    """Items with noise in both coordinates: 400 draws, the 95 % interval of the frontier covers in 91 to 98.5 % of them."""
    from harness.stats.intervals import bootstrap

    hits, rng = 0, np.random.default_rng(5)
    for _ in range(400):
        noise = rng.normal(size=(2, 100, 2)) * 0.2
        columns = []
        for place, temperature in enumerate((0.8, 1.2)):
            nats = (2 + 1.5 * temperature + noise[0, :, place]) * TOKENS
            columns += [nats, np.full(100, TOKENS), 1 + 2 * temperature + noise[1, :, place]]
        table = np.stack([*columns, np.full(100, HUMAN), np.ones(100)], 1)
        interval = bootstrap(table, log_perplexity_at_human_entropy, resamples=400, rng=rng)
        hits += interval.low <= 3.5 <= interval.high
    assert 364 <= hits <= 394


def test_points_that_cannot_share_a_curve_are_refused(cells):
    points(cells, "m", 0, (0.8,), signature="judge-a|items:{digest}")
    points(cells, "m", 0, (1.2,), signature="judge-b|items:{digest}")
    (found,) = frontiers(cells.store)
    assert found.reason == "different signatures: judge-a against judge-b"
    cells.add("n", 0, np.zeros(120), family="ucg", judge_ppl=30.0, sample_entropy=3.0, human_entropy=3.0)
    assert "no statistics of items were kept" in {item.model: item for item in frontiers(cells.store)}["n"].reason


def test_cells_without_a_judge_are_one_clear_error(cells):
    cells.add("m", 0, np.zeros(120))
    with pytest.raises(GridError, match="judge-perplexity"):
        frontiers(cells.store)


def test_the_command_shows_entropy_and_repetition_beside_every_point(cells):
    points(cells, "m|x", 0, (0.8, 1.2))
    text = CliRunner().invoke(app, ["frontier", "--store", str(cells.store.address)]).output
    assert "judge perplexity at the entropy of human text (3" in text
    assert text == as_text(frontiers(cells.store))
    assert "| t0.8 " in text
    assert "rep_4" in text
    record = json.loads(CliRunner().invoke(app, ["frontier", "--store", str(cells.store.address), "--json"]).output)[0]
    assert record["points"][0]["values"]["rep_4"] == pytest.approx(0.008)
