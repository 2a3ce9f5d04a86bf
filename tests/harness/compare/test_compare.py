"""Two systems beside each other, on stores whose records are written by hand."""

import dataclasses
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.compare import compare_systems
from harness.contracts import Generation
from harness.errors import GridError, UnknownName
from harness.runner.artefacts import pack_json, pack_lines
from harness.tracking.records import Record, Store

IDS = [f"item-{index:03d}" for index in range(120)]
SIGNATURE = "share|items:{digest}|v:1"


class Cells:
    """A store to which finished cells are added one by one."""

    def __init__(self, folder):
        self.store, self.cells = Store(folder), []

    def add(self, model, seed, items, *, ids=IDS, family="t2t", signature=SIGNATURE, steps=None, schedule=None, **scores):
        """A cell whose value `correct` has these items; further values have no items."""
        digest = f"{len(self.cells):02d}" + "ab" * 15
        texts = [f"{model} {seed} <b>{index}</b>" for index in range(len(ids))]
        answers = [Generation(id=name, texts=(text,), network_calls=1) for name, text in zip(ids, texts, strict=True)]
        asked = {name: {"condition": f"ask {name}", "target": None} for name in ids}
        stages = {
            "generate": {"generations.jsonl.gz": pack_lines(answers), "asked.json.gz": pack_json(asked)},
            "select": {"texts.json.gz": pack_json(texts)},
        }  # fmt: skip
        for role, blobs in stages.items():
            names = {name: self.store.put(data) for name, data in blobs.items()}
            self.store.commit(
                self.record(digest, role, blobs=names, result={"n": len(ids), "steps_used": [], "network_calls": 1.0})
            )
        values = {"correct": (float(np.mean(items)), True), **{name: (value, False) for name, value in scores.items()}}
        measured = {
            name: {
                "value": value, "low": None, "high": None, "n": len(ids), "signature": signature.format(digest="a0b1c2"),
                "flags": [], "reason": None, "higher_is_better": higher,
            }
            for name, (value, higher) in values.items()
        }  # fmt: skip
        kept = {"correct": {"rows": list(map(float, items)), "aggregate": "mean", "of_targets": False}}
        blobs = {"items.json.gz": self.store.put(pack_json(kept))}
        self.store.commit(self.record(digest, "score/x", blobs=blobs, result={"measurements": measured}))
        roles = (*stages, "score/x")
        self.cells.append({
            "digest": digest, "grid": "g", "model": model, "task": "toy", "family": family, "schedule": schedule, "steps": steps,
            "seed": seed, "decode": "sample", "reason": None, "needs": {}, "settings": {},
            "stages": {role: self.key(digest, role) for role in roles},
        })  # fmt: skip
        self.store.snapshot("g", {"grid": "g", "cells": self.cells})
        return digest

    def key(self, digest, role):
        return (digest + role.replace("/", "").encode().hex() + "0" * 64)[:64]

    def record(self, digest, role, **rest):
        return Record(key=self.key(digest, role), kind=role.partition("/")[0], status="done", **rest)


@pytest.fixture
def cells(tmp_path):
    return Cells(tmp_path / "store")


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


def test_a_side_is_the_same_in_all_grids_that_hold_it(cells):
    cells.add("good", 0, hits(0.8)), cells.add("bad", 0, hits(0.4, seed=1))
    cells.store.snapshot("h", {"grid": "h", "cells": [{**cell, "grid": "h"} for cell in cells.cells]})
    report, _ = one(compare_systems(cells.store, "good", "bad"))
    assert len(report.a) == len(report.b) == 1
    assert dataclasses.asdict(report)["task"] == "toy"
