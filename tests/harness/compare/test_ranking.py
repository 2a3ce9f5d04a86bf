import json

import numpy as np
import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.compare.ranking import rankings
from harness.errors import UnknownName


def hits(share, seed):
    return (np.random.default_rng(seed).random(120) < share).astype(float)


def bands(found):
    ((_, _, _, ranked),) = found
    return {item.rows[0].model: item.band for item in ranked}


def test_systems_that_are_not_told_apart_share_a_band(cells):
    for model, share in (("bad", 0.2), ("good", 0.8), ("fine", 0.78), ("poor", 0.25)):
        for seed in range(3):
            cells.add(model, seed, hits(share, seed + 10 * int(100 * share)))
    found = rankings(cells.store, None)
    assert bands(found) == {"good": 1, "fine": 1, "poor": 2, "bad": 2}
    task, family, metric, ranked = found[0]
    assert (task, family, metric) == ("toy", "t2t", "correct")
    assert [item.pooled.seeds for item in ranked] == [3, 3, 3, 3]
    assert {item.pooled.basis for item in ranked} == {"seeds and items"}


def test_lower_is_better_where_the_value_says_so(cells):
    for seed in range(3):
        cells.add("near", seed, hits(0.5, seed), distance=1 + 0.01 * seed)
        cells.add("far", seed, hits(0.5, seed), distance=3 + 0.01 * seed)
    assert bands(rankings(cells.store, "distance")) == {"near": 1, "far": 2}


def test_what_cannot_be_compared_has_no_band(cells):
    cells.add("good", 0, hits(0.8, 0)), cells.add("other", 0, hits(0.5, 1), signature="other|items:{digest}")
    ((*_, ranked),) = rankings(cells.store, "correct")
    assert [(item.rows[0].model, item.band) for item in ranked] == [("good", 1), ("other", None)]
    assert ranked[1].reason == "different signatures: other against share | v:1"


def test_each_setting_is_a_system_of_its_own(cells):
    cells.add("d3pm", 0, hits(0.2, 0), steps=8), cells.add("d3pm", 0, hits(0.8, 1), steps=32)
    ((*_, ranked),) = rankings(cells.store, "correct")
    assert [(item.rows[0].steps, item.band) for item in ranked] == [(32, 1), (8, 2)]


def test_values_that_nobody_ranks_by_are_refused(cells):
    cells.add("good", 0, hits(0.8, 0))
    with pytest.raises(UnknownName, match=r"unknown value with a better end 'corect'.*'correct'"):
        rankings(cells.store, "corect")


def test_the_command_prints_bands(cells):
    cells.add("good|x", 0, hits(0.8, 0)), cells.add("bad", 0, hits(0.2, 1))
    answer = CliRunner().invoke(app, ["rank", "--store", cells.store.address])
    assert answer.exit_code == 0, answer.output
    assert "nothing is said of other training runs" in answer.output
    assert "good\\|x" in answer.output
    answer = CliRunner().invoke(app, ["rank", "correct", "--store", cells.store.address, "--json"])
    (found,) = json.loads(answer.output)
    assert [(system["model"], system["band"]) for system in found["systems"]] == [("good|x", 1), ("bad", 2)]
