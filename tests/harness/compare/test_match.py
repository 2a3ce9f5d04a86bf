import json

import numpy as np
import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.compare.match import matches
from harness.errors import GridError, UnknownName
from harness.report.match import as_record, as_text

AR = {"design": {"kind": "autoregressive"}}
DIFFUSION = {"design": {"kind": "diffusion"}}
HALF = np.arange(120) % 2.0
"""Every other item is right."""
OTHER_HALF = 1 - HALF
FIRST = (np.arange(120) < 72) * 1.0


def calls(milliseconds, seed=0, spread=0.02):
    """Nanoseconds of 8 blocks of 8 calls."""
    return (milliseconds * 1e6 * (1 + spread * np.random.default_rng(seed).normal(size=(8, 8)))).round()


def gpt(cells, items=HALF, milliseconds=10.0, *, model="gpt[width=8]", decode="sample", seed=0, **rest):
    return cells.add(model, seed, items, **{"settings": AR, "decode": decode, "blocks": calls(milliseconds, 5), **rest})


def written(cells, steps, items, milliseconds, *, seed=0, model="d3pm", **rest):
    given = {"settings": DIFFUSION, "schedule": "linear", "blocks": calls(milliseconds, steps + seed), **rest}
    return cells.add(model, seed, items, steps=steps, **given)


def only(cells, *args, **options):
    (found,) = matches(cells.store, *args, **options)
    return found


def near(value, expected, within):
    return expected - within < value < expected + within


# --- quality-matched -----------------------------------------------------------------------------------------------------
def test_the_time_is_that_of_the_fastest_setting_that_reaches_the_score(cells):
    gpt(cells), written(cells, 4, 0 * HALF, 8), written(cells, 16, np.ones(120), 30), written(cells, 64, np.ones(120), 100)
    found = only(cells)
    assert (found.baseline, found.reference, found.quality, found.device) == ("gpt[width=8]", "sample", 0.5, "toy, 1 threads")
    assert found.milliseconds == pytest.approx(10, rel=0.02)
    (system,) = found.reached
    assert (system.model, system.schedule, system.decode, system.seeds) == ("d3pm", "linear", "sample", (0,))
    assert (system.steps, system.reaching, system.share, system.greyed) == ((4, 16, 64), (16, 64), 1.0, ())
    assert near(system.ratio, 3, 0.1)
    assert system.interval.low < 3.02 < system.interval.high + 0.05
    assert 0.005 < system.interval.high - system.interval.low < 0.2


def test_the_interval_holds_the_true_ratio_at_about_its_rate(cells):
    """40 tasks; 33 or fewer have 95 % intervals that hold it once in 1,000 times."""
    for place in range(40):
        gpt(cells, blocks=calls(10, 100 + place)), written(cells, 16, HALF, 30, blocks=calls(30, 200 + place))
        for cell in cells.cells[-2:]:
            cell["task"] = f"toy {place}"
    cells.store.snapshot("g", {"grid": "g", "cells": cells.cells})
    ends = [found.reached[0].interval for found in matches(cells.store)]
    assert len(ends) == 40
    assert sum(end.low <= 3 <= end.high for end in ends) > 33


def test_who_never_reaches_it_has_a_share_and_no_ratio(cells):
    gpt(cells), written(cells, 16, 0 * HALF, 3)
    found = only(cells)
    (system,) = found.reached
    assert (system.reaching, system.share, system.ratio, system.interval) == ((), 0.0, None, None)
    assert "| none         | 0 % of draws | reached in 0 % of draws" in as_text([found])


def test_who_reaches_it_in_half_of_the_draws_has_no_ratio(cells):
    gpt(cells), written(cells, 16, OTHER_HALF, 3)
    found = only(cells)
    (system,) = found.reached
    assert system.reaching == (16,)
    assert near(system.share, 0.53, 0.06)
    assert (system.ratio, system.interval) == (None, None)
    assert f"reached in {100 * system.share:.4g}" in as_text([found])


def test_every_draw_takes_its_own_fastest_setting(cells):
    """4 steps reach the score in half of the draws, in half the time; 16 in all, in three times."""
    gpt(cells), written(cells, 4, OTHER_HALF, 5), written(cells, 16, np.ones(120), 30)
    (system,) = only(cells).reached
    assert system.share == 1
    assert near(system.interval.low, 0.5, 0.03)
    assert near(system.interval.high, 3, 0.1)


def test_equal_items_reach_it_in_every_draw(cells):
    gpt(cells), written(cells, 16, HALF, 20)
    (system,) = only(cells).reached
    assert (system.share, system.reaching) == (1.0, (16,))


def test_the_score_is_that_of_the_baselines_best_setting(cells):
    gpt(cells, HALF, 10), gpt(cells, FIRST, 40, decode="mbr4"), written(cells, 16, np.ones(120), 20)
    found = only(cells)
    assert (found.reference, found.quality) == ("mbr4", 0.6)
    assert near(found.reached[0].ratio, 0.5, 0.02)


def test_of_equally_good_settings_the_faster_is_the_reference(cells):
    gpt(cells, HALF, 40, decode="mbr4"), gpt(cells, HALF, 10), written(cells, 16, np.ones(120), 20)
    assert only(cells).reference == "sample"


def test_lower_values_can_be_the_better_ones(cells):
    for seed in range(3):
        shift = 0.01 * seed
        gpt(cells, seed=seed, far=2.0 + shift)
        written(cells, 4, HALF, 5, seed=seed, far=3.0 + shift), written(cells, 16, HALF, 30, seed=seed, far=1.0 + shift)
    found = only(cells, "far")
    assert not found.higher_is_better
    assert (found.reached[0].reaching, found.reached[0].share, found.reached[0].seeds) == ((16,), 1.0, (0, 1, 2))
    assert near(found.reached[0].ratio, 3, 0.1)
    assert "lower values are better" not in as_text([found])


def test_a_greyed_latency_is_struck_through_where_it_counts(cells):
    unsteady = ["greyed: unstable: the canary kernel drifted by 9%", "other"]
    gpt(cells), written(cells, 4, np.zeros(120), 5, flags=unsteady), written(cells, 16, np.ones(120), 30)
    written(cells, 16, np.ones(120), 30, model="sedd", flags=unsteady)
    found = only(cells)
    assert [system.greyed for system in found.reached] == [(), ("unstable: the canary kernel drifted by 9%",)]
    text = as_text([found])
    assert text.count("| ~~") == 1
    assert "- sedd linear sample, greyed: unstable: the canary kernel drifted by 9%" in text


def test_a_greyed_baseline_strikes_all(cells):
    gpt(cells, flags=["greyed: it was not alone"]), written(cells, 16, np.ones(120), 30)
    written(cells, 16, np.zeros(120), 30, model="sedd")
    found = only(cells)
    assert found.greyed == found.reached[0].greyed == ("it was not alone",)
    text = as_text([found])
    assert "over its ~~10." in text or "over its ~~9." in text
    assert "- gpt[width=8] sample, greyed: it was not alone" in text
    assert "- d3pm linear sample, greyed: it was not alone" in text
    assert "- sedd linear sample, greyed" not in text  # it has no ratio that could be struck through


def test_what_cannot_be_matched_is_named(cells):
    gpt(cells), written(cells, 16, np.ones(120), 30, device="other"), written(cells, 32, np.ones(120), 30, blocks=None)
    written(cells, 64, np.ones(120), 30, signature="share|items:1|v:2")
    cells.add("trigram", 0, np.ones(120), settings={"design": {"kind": "floor"}}, blocks=calls(1))
    found = only(cells)
    assert (found.reached, found.levels) == ((), ())
    assert found.left_out["d3pm linear 16 sample"].startswith(
        "timed on other, 1 threads, the baseline on toy, 1 threads; no FLOPs"
    )
    assert found.left_out["d3pm linear 32 sample"] == "no latency: it was not timed; no FLOPs: it was not timed"
    assert found.left_out["d3pm linear 64 sample"].startswith("different signatures: v:1 against v:2")
    assert not any("trigram" in title for title in found.left_out)
    assert "- d3pm linear 64 sample: different signatures" in as_text([found])


# --- compute-matched -----------------------------------------------------------------------------------------------------
def test_an_equal_system_differs_by_nothing_at_its_flops(cells):
    gpt(cells, flops=100.0), written(cells, 16, OTHER_HALF, 30, flops=250.0)
    found = only(cells)
    (level,) = found.levels
    assert (level.steps, level.flops, level.baseline, level.ratio, level.reason) == (16, 250.0, "sample", 2.5, None)
    assert level.difference == 0
    assert level.interval.low < 0 < level.interval.high
    assert near(level.interval.high, 1.96 * 2 * (0.25 / 120) ** 0.5, 0.03)  # by item, the difference is 1 or -1
    assert found.flags == ("analytic: toy",)


def test_the_baseline_spends_on_candidates_what_it_may(cells):
    """One candidate for 100 FLOPs, four for 400, and those are better."""
    gpt(cells, HALF, flops=100.0), gpt(cells, FIRST, decode="mbr4", flops=400.0)
    for steps, flops in ((1, 50.0), (2, 399.0), (4, 400.0), (8, 1000.0)):
        written(cells, steps, np.ones(120), 20, flops=flops)
    levels = only(cells).levels
    assert [level.steps for level in levels] == [1, 2, 4, 8]
    assert [level.baseline for level in levels] == [None, "sample", "mbr4", "mbr4"]
    assert [level.ratio for level in levels] == [None, 3.99, 1.0, 2.5]
    assert [level.difference for level in levels] == [None, 0.5, pytest.approx(0.4), pytest.approx(0.4)]
    assert levels[0].reason == "the baseline takes 2 times its FLOPs"
    assert levels[0].interval is None
    assert levels[1].interval.low > 0.35


def test_more_flops_do_not_make_a_worse_setting_the_baseline(cells):
    gpt(cells, FIRST, flops=100.0), gpt(cells, HALF, decode="mbr4", flops=400.0), written(cells, 8, HALF, 20, flops=1000.0)
    (level,) = only(cells).levels
    assert (level.baseline, level.ratio) == ("sample", 10.0)


def test_a_difference_is_turned_so_that_above_0_is_better(cells):
    for seed in range(3):
        shift = 0.1 * seed
        gpt(cells, seed=seed, far=2.0 + shift, flops=1.0), written(cells, 4, HALF, 5, seed=seed, far=1.0 + shift, flops=1.0)
    found = only(cells, "far")
    assert found.levels[0].difference == pytest.approx(1)
    assert 0.7 < found.levels[0].interval.low < 1 < found.levels[0].interval.high < 1.3
    assert "lower values are better" in as_text([found])


def test_other_signatures_are_not_compared(cells):
    gpt(cells, flops=1.0), written(cells, 4, HALF, 5, flops=2.0, signature="share|items:1|v:2")
    (level,) = only(cells).levels
    assert (level.difference, level.interval, level.ratio) == (None, None, 2.0)
    assert level.reason == "different signatures: v:1 against v:2"


def test_flops_of_the_baseline_may_be_unknown(cells):
    gpt(cells), written(cells, 4, HALF, 5, flops=2.0)
    found = only(cells)
    assert found.levels[0].reason == "the baseline's FLOPs are not known"
    assert found.left_out == {"gpt[width=8] sample": "no FLOPs: it was not timed"}


# --- choice of the baseline ----------------------------------------------------------------------------------------------
def test_the_baseline_is_the_first_autoregressive_model_or_the_named_one(cells):
    written(cells, 4, np.ones(120), 20), gpt(cells, milliseconds=10), gpt(cells, model="seq2seq", milliseconds=5)
    assert only(cells).baseline == "gpt[width=8]"
    for name in ("seq2seq", "gpt", "gpt[width=8]"):
        assert only(cells, baseline=name).baseline.startswith(name)
    assert near(only(cells, baseline="seq2seq").reached[0].ratio, 4, 0.15)
    assert [system.model for system in only(cells).reached] == ["d3pm"]


def test_a_family_without_an_autoregressive_model_says_so(cells):
    gpt(cells), written(cells, 4, HALF, 20), written(cells, 4, HALF, 20, family="ucg")
    found = {item.family: item for item in matches(cells.store, "correct")}
    assert (found["ucg"].baseline, found["ucg"].reached) == (None, ())
    assert found["ucg"].left_out == {"d3pm linear 4 sample": "no autoregressive baseline with a value is finished here"}
    assert len(found["t2t"].reached) == 1


def test_what_cannot_be_matched_at_all_is_one_clear_error(cells):
    written(cells, 4, HALF, 20)
    with pytest.raises(GridError, match=r"no autoregressive model is finished here\. Add one"):
        matches(cells.store)
    gpt(cells), gpt(cells, model="gpt[width=16]")
    with pytest.raises(UnknownName, match="unknown autoregressive model 'd3pm'"):
        matches(cells.store, baseline="d3pm")
    with pytest.raises(UnknownName, match="'corect'"):
        matches(cells.store, "corect")
    with pytest.raises(GridError, match="stands for 'gpt\\[width=8\\]' and 'gpt\\[width=16\\]'"):
        matches(cells.store, baseline="gpt")
    written(cells, 4, HALF, 20)
    with pytest.raises(GridError, match="two cells of d3pm linear 4 sample, seed 0: 00ababab, 03ababab"):
        matches(cells.store)


def test_nothing_timed_is_one_clear_error(cells):
    cells.add("gpt", 0, HALF, settings=AR), written(cells, 4, HALF, 20, blocks=None)
    with pytest.raises(GridError, match="no finished cell was timed, and no FLOPs are known"):
        matches(cells.store)


def test_without_steps_there_is_nothing_to_match(cells):
    gpt(cells), gpt(cells, model="seq2seq")
    with pytest.raises(GridError, match="no finished cell with a number of steps"):
        matches(cells.store)


# --- command -------------------------------------------------------------------------------------------------------------
def test_the_command_prints_both_tables(cells):
    gpt(cells, model="g|pt", flops=1.0), written(cells, 16, np.ones(120), 30, flops=3.0)
    said = CliRunner().invoke(app, ["match", "--store", str(cells.store.address)])
    assert (said.exit_code, said.output.strip()) == (0, as_text(matches(cells.store)).strip())
    assert "## toy / t2t: correct, beside g\\|pt" in said.output
    assert "Quality-matched: the time to reach 0.5000, the score of g\\|pt (sample)" in said.output
    assert "| 16    | 16           | 100 % of draws | 3.0" in said.output
    assert "| 16    | 3     | sample   | 3 " in said.output
    assert "- FLOPs are analytic: toy" in said.output
    assert "with one seed intervals are over items and calls only" in said.output


def test_the_command_gives_plain_objects(cells):
    gpt(cells, flops=1.0), written(cells, 4, 0 * HALF, 5, flops=0.5), written(cells, 16, np.ones(120), 30, flops=3.0)
    asked = ["match", "correct", "--baseline", "gpt", "--store", str(cells.store.address), "--json"]
    (record,) = json.loads(CliRunner().invoke(app, asked).stdout)
    assert record == json.loads(json.dumps(as_record(only(cells))))
    assert record["baseline"]["model"] == "gpt[width=8]"
    (system,) = record["quality_matched"]
    assert (system["steps"], system["reaching"], system["reached_in"]) == ([4, 16], [16], 1.0)
    assert system["low"] < system["time_ratio"] < system["high"]
    assert [level["flops_ratio"] for level in record["compute_matched"]] == [None, 3.0]
    assert record["compute_matched"][0]["reason"] == "the baseline takes 2 times its FLOPs"
    refused = CliRunner().invoke(app, ["match", "--baseline", "d3pm", "--store", str(cells.store.address)])
    assert refused.exit_code != 0
