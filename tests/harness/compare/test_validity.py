import dataclasses
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.compare.validity import trackings
from harness.errors import GridError
from harness.report.validity import as_text, plot

LEVELS = (0.0, 0.1, 0.3, 0.9)


@pytest.fixture
def distorted(cells):
    """Shuffled texts of `world` (tiny): `correct` falls with the level, `backwards` praises it; `blind` hears nothing, nor does
    `summed`, which differs by the order of a sum.
    """
    for level in LEVELS:
        for seed in range(4):
            rng = np.random.default_rng((seed, int(100 * level)))
            options = {"size": "tiny", "distortion": "shuffled", "level": level}
            cells.add(
                f"shuffled-{level:g}" if level else "none", seed, (rng.random(120) < 0.9 - 0.7 * level).astype(float),
                family="ucg", blind=0.5, summed=0.3 if seed % 2 else 0.1 + 0.2, noise=float(rng.normal()),
                backwards=5.0 - level + 0.001 * seed,
                settings={"design": {"name": "distorted"}, "model_options": options if level else {"size": "tiny"}},
            )  # fmt: skip
    cells.add("gpt", 0, np.ones(120), family="ucg", settings={"design": {"name": "gpt"}, "model_options": {}})
    return cells.store


def test_what_tracks_misleads_or_sees_nothing_is_told_apart(distorted):
    found = {item.metric: item for item in trackings(distorted)}
    assert set(found) == {"correct", "noise", "backwards"}
    assert {item.distortion for item in found.values()} == {"shuffled"}
    right, wrong = found["correct"], found["backwards"]
    assert (right.rank_correlation, right.misordered < 0.1) == (1.0, True)
    assert (wrong.rank_correlation, wrong.misordered) == (-1.0, 1.0)
    assert [point.level for point in right.points] == list(LEVELS)
    assert right.points[0].seen is None
    assert (right.points[3].seen, wrong.points[3].seen) == (1.0, 0.0)
    assert abs(found["noise"].misordered - 0.5) < 0.4
    assert right.points[3].truth["error_rate"] == pytest.approx(0.9, abs=0.05)
    assert set(right.points[3].seen_at) == {50, 100}
    assert wrong.points[3].seen_at == {}
    assert right.noise == pytest.approx(np.std(right.points[0].values, ddof=1))


def test_between_two_levels_there_is_no_rank_correlation(cells):
    for level in (0.0, 0.5):
        settings = {"design": {"name": "distorted"}, "model_options": {"size": "tiny", "distortion": "shuffled", "level": level}}
        cells.add(f"s{level}", 0, np.full(120, 1.0 - level), family="ucg", distance=level, settings=settings)
    found = {item.metric: item for item in trackings(cells.store)}
    assert {name: item.rank_correlation for name, item in found.items()} == {"correct": None, "distance": None}
    assert found["correct"].points[1].seen == 1.0
    assert "where all levels look alike.\n\nnone\n\nLeast level" in as_text(list(found.values()))


def test_more_items_see_more(distorted):
    (found,) = trackings(distorted, metrics=["correct"])
    seen = found.points[1].seen_at
    assert 0.5 < seen[50] <= 1
    assert found.points[2].seen_at[100] >= seen[50]


def test_without_level_0_or_a_known_truth_it_is_one_clear_error(cells):
    cells.add("gpt", 0, np.ones(120), family="ucg", settings={"design": {"name": "gpt"}, "model_options": {}})
    with pytest.raises(GridError, match="no finished cell is of a model whose distance"):
        trackings(cells.store)
    options = {"size": "tiny", "distortion": "shuffled", "level": 0.5}
    settings = {"design": {"name": "distorted"}, "model_options": options}
    cells.add("s", 0, np.ones(120), family="ucg", settings=settings)
    with pytest.raises(GridError, match="toy has no cell at level 0"):
        trackings(cells.store)


def test_the_command_prints_tables_and_draws_plots(distorted, tmp_path):
    said = CliRunner().invoke(app, ["validity", "--store", str(distorted.address), "--plots", str(tmp_path / "plots")])
    assert said.exit_code == 0
    text = as_text(trackings(distorted))
    assert text.strip() in said.output
    assert "- shuffled: 0.1: TV 0." in text
    line = next(line for line in text.splitlines() if line.startswith("| backwards"))
    assert "-1.00" in line
    assert (tmp_path / "plots" / "toy.svg").read_text().startswith("<?xml")
    assert plot(trackings(distorted), tmp_path / "again")[0].read_bytes() == (tmp_path / "plots" / "toy.svg").read_bytes()
    record = json.loads(CliRunner().invoke(app, ["validity", "--store", str(distorted.address), "--json"]).stdout)
    assert {item["metric"] for item in record} == {"correct", "noise", "backwards"}


def test_a_distortion_has_one_colour_in_all_panels(distorted, tmp_path):
    found = trackings(distorted)
    other = [dataclasses.replace(item, distortion="agreement") for item in found if item.metric == "correct"]
    drawn = plot([*found, *other], tmp_path)[0].read_text()
    # a line in each panel that has the distortion, and one in the legend
    assert {colour: drawn.count(f"fill: none; stroke: {colour}") for colour in ("#1f77b4", "#ff7f0e")} == {
        "#1f77b4": 1 + 1, "#ff7f0e": 3 + 1,
    }  # fmt: skip
