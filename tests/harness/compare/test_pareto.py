import json

import numpy as np
import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.compare.pareto import fronts
from harness.errors import GridError, UnknownName
from harness.report.fronts import as_text


def hits(share, seed):
    return (np.random.default_rng(seed).random(120) < share).astype(float)


def calls(milliseconds, seed=0, spread=0.02):
    """Nanoseconds of 8 blocks of 8 calls."""
    return (milliseconds * 1e6 * (1 + spread * np.random.default_rng(seed).normal(size=(8, 8)))).round()


def by_model(front):
    return {item.rows[0].model: item for item in front.placed}


def test_who_is_better_in_both_dominates_for_sure(cells):
    cells.add("good and fast", 0, hits(0.9, 0), blocks=calls(10))
    cells.add("bad and slow", 0, hits(0.4, 1), blocks=calls(50))
    cells.add("best and slowest", 0, np.ones(120), blocks=calls(100))
    (front,) = fronts(cells.store)
    found = by_model(front)
    assert (front.metric, front.device) == ("correct", "toy, 1 threads")
    assert [item.rows[0].model for item in front.placed] == ["best and slowest", "good and fast", "bad and slow"]
    assert found["bad and slow"].membership == 0
    assert found["bad and slow"].dominated_by == ("good and fast sample",)
    assert found["good and fast"].membership == found["best and slowest"].membership == 1
    assert found["good and fast"].milliseconds == pytest.approx(10, rel=0.02)


def test_a_doubtful_difference_is_a_probability(cells):
    cells.add("fast", 0, hits(0.5, 0), blocks=calls(10))
    cells.add("slow", 0, hits(0.5, 3), blocks=calls(20))
    found = by_model(fronts(cells.store)[0])
    assert found["fast"].membership == 1
    assert 0.02 < found["slow"].membership < 0.98
    assert found["slow"].dominated_by == ()


def test_a_greyed_latency_is_struck_through(cells):
    cells.add("fast", 0, hits(0.5, 0), blocks=calls(10), flags=["greyed: unstable: the canary kernel drifted by 9%", "other"])
    (front,) = fronts(cells.store)
    assert front.placed[0].greyed == ("unstable: the canary kernel drifted by 9%",)
    text = as_text([front])
    assert " | ~~" in text
    assert "- fast, greyed: unstable: the canary kernel drifted by 9%" in text


def test_a_tie_in_one_dominates_nobody(cells):
    """Both answer nothing right: the slow one is never on the front, and the fast one is no better in quality."""
    cells.add("fast", 0, np.zeros(120), blocks=calls(10))
    cells.add("slow", 0, np.zeros(120), blocks=calls(50, seed=1))
    found = by_model(fronts(cells.store)[0])
    assert {name: item.dominated_by for name, item in found.items()} == {"fast": (), "slow": ()}
    assert {name: item.membership for name, item in found.items()} == {"fast": 1, "slow": 0}


def test_equal_items_are_drawn_together(cells):
    """One right answer more than the other, all else alike: better or equal in every draw."""
    more = hits(0.5, 0)
    fewer = more.copy()
    fewer[np.flatnonzero(more)[0]] = 0
    cells.add("more", 0, more, blocks=calls(20)), cells.add("fewer", 0, fewer, blocks=calls(10, seed=1))
    found = by_model(fronts(cells.store)[0])
    assert found["fewer"].membership == 1
    assert found["more"].membership == pytest.approx(1 - (1 - 1 / 120) ** 120, abs=0.04)


def test_seeds_are_drawn_too_and_values_without_items_by_their_interval(cells):
    for seed in range(3):
        cells.add("m", seed, hits(0.5 + 0.1 * seed, seed), distance=1.0 + 0.1 * seed, blocks=calls(10) if not seed else None)
        cells.add("n", seed, hits(0.9, seed), distance=3.0, blocks=calls(20))
    found = by_model(fronts(cells.store, "distance")[0])
    assert (found["m"].membership, found["n"].membership) == (1, 0)
    assert found["m"].quality == pytest.approx(1.1)
    assert len(found["m"].rows) == 3


def test_what_was_not_timed_is_named(cells):
    cells.add("timed", 0, hits(0.5, 0), blocks=calls(10)), cells.add("floor", 0, hits(0.9, 1))
    (front,) = fronts(cells.store)
    assert front.left_out == {"floor sample": "no latency: it was not timed"}
    assert "- floor sample: no latency" in as_text([front])


def test_what_cannot_be_drawn_is_one_clear_error(cells):
    cells.add("m", 0, hits(0.5, 0))
    with pytest.raises(GridError, match="no finished cell was timed"):
        fronts(cells.store)
    with pytest.raises(UnknownName, match="'corect'"):
        fronts(cells.store, "corect")


def test_the_command_prints_a_table(cells):
    cells.add("a|b", 0, hits(0.9, 0), blocks=calls(10)), cells.add("c", 0, hits(0.4, 1), blocks=calls(50))
    said = CliRunner().invoke(app, ["pareto", "--store", str(cells.store.address)])
    assert (said.exit_code, said.output.strip()) == (0, as_text(fronts(cells.store)).strip())
    record = json.loads(CliRunner().invoke(app, ["pareto", "correct", "--store", str(cells.store.address), "--json"]).stdout)
    assert [system["membership"] for system in record[0]["systems"]] == [1.0, 0.0]
    assert record[0]["systems"][1]["dominated_by"] == ["a|b sample"]
