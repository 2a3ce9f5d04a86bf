"""Two systems beside each other, on stores whose records are written by hand."""

import dataclasses
import json
from functools import partial

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.significance import PairedTest
from typer.testing import CliRunner

from harness.cli import app
from harness.compare import compare_systems
from harness.compare.ranking import rankings
from harness.errors import GridError, UnknownName
from harness.metrics.bleu import bleu_statistics
from harness.metrics.chrf import chrf_statistics
from harness.report.comparisons import as_text
from harness.stats.comparison import compare
from harness.stats.families import CORRECTIONS

IDS = [f"item-{index:03d}" for index in range(120)]


def hits(share, seed=0, n=len(IDS)):
    return (np.random.default_rng(seed).random(n) < share).astype(float)


def one(found, name="correct"):
    (report,) = found
    return report, next(line for line in report.lines if line.name == name)


def test_a_better_system_is_found_with_the_items_that_show_it(cells):
    cells.add("good", 0, hits(0.8)), cells.add("bad", 0, hits(0.4, seed=1))
    report, line = one(compare_systems(cells.store, "good", "bad", most=3))
    assert line.better == "a"
    assert line.comparison.difference == pytest.approx(hits(0.8).mean() - hits(0.4, seed=1).mean())
    assert line.comparison.interval.low > 0
    assert line.comparison.basis == "items"
    assert report.differing_by == "correct"
    assert len(report.differing) == 3
    for item in report.differing:
        assert abs(item.values[0] - item.values[1]) == 1
        assert item.condition == f"ask {item.id}"
        assert [text.split()[0] for text in item.texts] == ["good", "bad"]
    assert one(compare_systems(cells.store, "bad", "good"))[1].better == "b"


def test_no_difference_within_the_noise_floor_is_an_improvement(cells):
    good = cells.add("good", 0, hits(0.8))
    cells.add("bad", 0, hits(0.4, seed=1))
    apart = hits(0.8).mean() - hits(0.4, seed=1).mean()
    again = {"numerics": {"micro_batch": 1}, "again_of": good}
    cells.add("good", 0, hits(0.8) * (np.arange(120) > 5), decode="sample again micro_batch=1", settings=again)
    _, line = one(compare_systems(cells.store, "good", "bad"))
    assert (line.better, line.is_noise, 0 < line.floor < 0.06) == ("a", False, True)
    cells.add("good", 0, hits(0.8) - apart, decode="sample again threads=2", settings=again)
    report, line = one(compare_systems(cells.store, "good", "bad"))
    assert (line.better, line.is_noise) == (None, True)
    assert f"within the noise floor of {apart:.2f}" in as_text([report])
    assert [item.band for item in rankings(cells.store, "correct")[0][3]] == [1, 1]


def test_without_items_that_differ_no_heading_announces_any(cells):
    cells.add("good", 0, hits(0.8)), cells.add("bad", 0, hits(0.4, seed=1))
    heading = "Where correct differs most"
    assert heading in as_text(compare_systems(cells.store, "good", "bad"))
    assert heading not in as_text(compare_systems(cells.store, "good", "bad", most=0))


def test_systems_that_are_alike_are_not_told_apart(cells):
    cells.add("one", 0, hits(0.5)), cells.add("other", 0, hits(0.5, seed=1))
    _, line = one(compare_systems(cells.store, "one", "other"))
    assert line.better is None
    assert line.comparison.p_value > 0.05


def test_seeds_are_pooled_and_values_without_items_compared_over_them(cells):
    for seed in range(3):
        cells.add("a", seed, hits(0.8, seed), distance=1.0 + 0.1 * seed)
        cells.add("b", seed, hits(0.4, seed + 9), distance=3.0 + 0.1 * seed)
    report, line = one(compare_systems(cells.store, "a", "b"))
    assert [row.seed for row in report.a] == [0, 1, 2]
    assert line.comparison.test == "t over seeds"
    assert line.comparison.seeds == (3, 3)
    _, distance = one(compare_systems(cells.store, "a", "b"), "distance")
    assert distance.better == "a"
    assert distance.comparison.basis == "seeds"
    assert distance.adjusted > distance.comparison.p_value


def test_a_value_without_items_needs_seeds(cells):
    cells.add("a", 0, hits(0.8), distance=1.0), cells.add("b", 0, hits(0.4, 1), distance=2.0)
    _, line = one(compare_systems(cells.store, "a", "b"), "distance")
    assert line.comparison is None
    assert line.reason == "no statistics of its items were kept: it needs two seeds on each side"


def test_other_signatures_are_refused_and_the_difference_named(cells):
    cells.add("a", 0, hits(0.8)), cells.add("b", 0, hits(0.4, 1), signature="share|case:lc|items:{digest}|v:1")
    _, line = one(compare_systems(cells.store, "a", "b"))
    assert line.comparison is None
    assert line.reason == "different signatures: case:lc against -"


@pytest.mark.parametrize(("shared", "refused"), [(113, True), (114, False)])
def test_few_items_in_common_are_refused(cells, shared, refused):
    cells.add("a", 0, hits(0.8)), cells.add("b", 0, hits(0.4, 1), ids=[*IDS[:shared], *map(str, range(len(IDS) - shared))])
    _, line = one(compare_systems(cells.store, "a", "b"))
    assert (line.comparison is None) == refused
    assert not refused or line.reason == "the sides share 94% of their items: 95% are needed"
    assert refused or line.comparison.n == shared


def test_repetitions_of_an_item_are_one(cells):
    ids = [f"{name}#{again}" if again else name for again in range(2) for name in IDS[:60]]
    cells.add("a", 0, hits(0.8), ids=ids), cells.add("b", 0, hits(0.4, 1), ids=ids)
    assert one(compare_systems(cells.store, "a", "b"))[1].comparison.n == 60


def test_items_of_one_source_are_one(cells):
    asked = {name: f"ask {index // 2}" for index, name in enumerate(IDS)}
    cells.add("a", 0, hits(0.8), asked=asked), cells.add("b", 0, hits(0.4, 1), asked=asked)
    assert one(compare_systems(cells.store, "a", "b"))[1].comparison.n == 60
    free = dict.fromkeys(IDS)
    cells.add("c", 0, hits(0.8), asked=free), cells.add("d", 0, hits(0.4, 1), asked=free)
    assert one(compare_systems(cells.store, "c", "d"))[1].comparison.n == 120


def test_records_of_two_cells_give_the_paired_tests_of_sacrebleu(cells, monkeypatch):
    # `harness compare` takes 10,000 resamples, for which sacreBLEU needs half a minute
    monkeypatch.setenv("SACREBLEU_SEED", "12345")
    monkeypatch.setattr("harness.compare.systems.compare", partial(compare, resamples=500))
    rng, words = np.random.default_rng(0), ["the", "old", "red", "dog", "cat", "sees", "finds", "a", "house", "garden"]
    references = [" ".join(rng.choice(words, size=rng.integers(5, 12))) for _ in IDS]
    texts = {
        name: [" ".join(str(rng.choice(words)) if rng.random() < wrong else word for word in text.split()) for text in references]
        for name, wrong in (("one", 0.30), ("other", 0.34))
    }  # fmt: skip
    metrics = {"bleu": BLEU(), "chrf": CHRF()}
    for name, written in texts.items():
        scores = {key: metric.corpus_score(written, [references]).score for key, metric in metrics.items()}
        accepted = [[text] for text in references]
        rows = {"bleu": bleu_statistics(written, accepted), "chrf": chrf_statistics(written, accepted, word_orders=[0])[0]}
        kept = {key: {"rows": found.tolist(), "aggregate": key, "of_targets": False} for key, found in rows.items()}
        cells.add(name, 0, hits(0.5), kept=kept, **scores)
    theirs = {
        kind: PairedTest(list(texts.items()), metrics, [references], test_type=kind, n_samples=500)()[1] for kind in ("ar", "bs")
    }
    for name, label in (("bleu", "BLEU"), ("chrf", "chrF2")):
        found = one(compare_systems(cells.store, "one", "other", metrics=[name], seed=12345), name)[1].comparison
        assert (found.a, found.b) == pytest.approx([theirs["ar"][label][side].score for side in (0, 1)], abs=1e-9)
        assert found.p_value == theirs["ar"][label][1].p_value
        assert found.bootstrap_p == theirs["bs"][label][1].p_value
        assert 1 / 501 < found.p_value < 1


def test_conditions_tell_settings_of_one_system_apart(cells):
    cells.add("d3pm[kernel=uniform,width=64]", 0, hits(0.4), steps=8, schedule="cosine")
    cells.add("d3pm[kernel=uniform,width=64]", 0, hits(0.8, 1), steps=32, schedule="cosine")
    with pytest.raises(GridError, match=r"has 2 settings in toy / t2t: schedule = cosine, steps = 8, .* Say which"):
        compare_systems(cells.store, "d3pm", "d3pm")
    _, line = one(compare_systems(cells.store, "d3pm[kernel=uniform,width=64], steps = 32", "d3pm, steps = 8"))
    assert line.better == "a"
    digest = cells.cells[0]["digest"]
    assert one(compare_systems(cells.store, "steps = 32", digest[:8]))[0].b[0].digest == digest


def test_two_cells_of_one_seed_must_be_named_by_digest(cells):
    first = cells.add("a", 0, hits(0.8))
    cells.add("a", 0, hits(0.7)), cells.add("b", 0, hits(0.4, 1))
    with pytest.raises(GridError, match=f"several cells of seed 0 in toy / t2t: {first[:8]}, "):
        compare_systems(cells.store, "a", "b")


def test_what_is_not_there_is_said(cells):
    cells.add("alpha", 0, hits(0.8)), cells.add("beta", 0, hits(0.4, 1), family="a2t")
    with pytest.raises(UnknownName, match=r"unknown model or digest 'alpah'\. Did you mean 'alpha'"):
        compare_systems(cells.store, "alpah", "beta")
    with pytest.raises(GridError, match=r"share no task and family. 'alpha': toy / t2t; 'beta': toy / a2t"):
        compare_systems(cells.store, "alpha", "beta")
    with pytest.raises(GridError, match=r"no finished cell passes 'alpha, steps = 7'"):
        compare_systems(cells.store, "alpha, steps = 7", "beta")
    with pytest.raises(GridError, match="both sides name the same cell"):
        compare_systems(cells.store, "alpha", "alpha")


def test_the_command_prints_verdicts_and_escapes_texts(cells):
    cells.add("good", 0, hits(0.8)), cells.add("bad", 0, hits(0.4, seed=1))
    answer = CliRunner().invoke(app, ["compare", "good", "bad", "--store", cells.store.address, "--most", "1"])
    assert answer.exit_code == 0, answer.output
    assert "a is better" in answer.output
    assert "one training run on each side" in answer.output
    assert "&lt;b&gt;" in answer.output
    assert "<b>" not in answer.output
    answer = CliRunner().invoke(app, ["compare", "good", "bad", "--store", cells.store.address, "--json"])
    (report,) = json.loads(answer.output)
    (line,) = report["lines"]
    assert line["better"] == "a"
    assert line["comparison"]["difference"] == pytest.approx(line["comparison"]["a"] - line["comparison"]["b"])


def test_benjamini_and_hochberg_are_there_for_exploring(cells):
    noise = np.random.default_rng(3)
    values = {
        name: noise.normal(size=(2, len(IDS))) + np.array([[shift], [0]])
        for name, shift in zip("pqrs", (0.36, 0.33, 0.3, 0), strict=True)
    }
    for side, name in enumerate(("a", "b")):
        kept = {key: {"rows": rows[side].tolist(), "aggregate": "mean", "of_targets": False} for key, rows in values.items()}
        cells.add(name, 0, hits(0.5, side), kept=kept, **{key: float(rows[side].mean()) for key, rows in values.items()})
    found = {}
    for correction, function in CORRECTIONS.items():
        (report,) = compare_systems(cells.store, "a", "b", metrics=list("pqrs"), correction=correction)
        plain = [line.comparison.p_value for line in report.lines]
        assert [line.adjusted for line in report.lines] == function(plain).tolist()
        found[correction] = sum(line.better is not None for line in report.lines)
    assert found["holm"] < found["bh"]
    command = ["compare", "a", "b", "--store", cells.store.address, "--metric", "p", "--metric", "s"]
    said = CliRunner().invoke(app, [*command, "--correction", "bh"]).output
    assert "p, Benjamini-Hochberg" in said
    assert "is for exploring" in said
    assert "p, Holm" in CliRunner().invoke(app, command).output
    (report,) = json.loads(CliRunner().invoke(app, [*command, "--correction", "bh", "--json"]).output)
    assert report["correction"] == "bh"
    assert CliRunner().invoke(app, [*command, "--correction", "none"]).exit_code == 2


def test_a_side_is_the_same_in_all_grids_that_hold_it(cells):
    cells.add("good", 0, hits(0.8)), cells.add("bad", 0, hits(0.4, seed=1))
    cells.store.snapshot("h", {"grid": "h", "cells": [{**cell, "grid": "h"} for cell in cells.cells]})
    report, _ = one(compare_systems(cells.store, "good", "bad"))
    assert len(report.a) == len(report.b) == 1
    assert dataclasses.asdict(report)["task"] == "toy"


def test_one_run_against_several_is_said(cells):
    for seed in range(3):
        cells.add("several", seed, hits(0.8, seed))
    cells.add("single", 0, hits(0.4, 9))
    answer = CliRunner().invoke(app, ["compare", "several", "single", "--store", cells.store.address])
    assert "b has one training run: what other runs of it would give is not in the test" in answer.output
