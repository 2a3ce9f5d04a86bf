import pytest

from harness.tracking.projection import rows
from harness.tracking.records import Record, Store

KEYS = {
    name: f"{index:02d}" + "0" * 62
    for index, name in enumerate(("fit", "generate", "time/16", "time/32", "baseline", "tokenize"))
}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def planned(store, stages, needs):
    cell = {
        "digest": "d", "grid": "g", "model": "diff", "task": "t", "family": "ucg", "schedule": None, "steps": 2, "seed": 0,
        "decode": "sample", "reason": None, "stages": {name: KEYS[name] for name in stages},
        "needs": {noun: KEYS[name] for noun, name in needs.items()}, "settings": {},
    }  # fmt: skip
    store.snapshot("g", {"grid": "g", "cells": [cell]})


def done(store, name, **result):
    store.commit(Record(key=KEYS[name], kind=name.partition("/")[0], status="done", result=result))


def failed(store, name, message):
    store.fail(Record(key=KEYS[name], kind=name.partition("/")[0], status="failed", message=message))


@pytest.mark.parametrize("noun", ["time/16: its baseline ar", "judge: its tokenize"])
def test_a_cell_that_waits_for_what_failed_is_failed(store, noun):
    planned(store, ["fit", "time/16"], {noun: "baseline"})
    done(store, "fit")
    assert [(row.status, row.reason) for row in rows(store)] == [("pending", None)]
    failed(store, "baseline", "RuntimeError: no")
    assert [(row.status, row.reason) for row in rows(store)] == [("failed", f"{noun} failed: RuntimeError: no")]
    done(store, "baseline")
    assert [row.status for row in rows(store)] == ["pending"]


def test_what_a_cell_has_already_needs_nothing_more(store):
    planned(store, ["fit"], {"time/16: its baseline ar": "baseline"})
    done(store, "fit")
    failed(store, "baseline", "no")
    assert [row.status for row in rows(store)] == ["done"]


def value(number):
    return {"value": number, "flags": []}


def timed(store, batch):
    values = {"latency_ms_p50": value(1.0), "batched_ratio_to_ar": value(batch), "throughput_seq_per_s": value(batch)}
    done(store, f"time/{batch}", values=values, evidence={"batch": batch})


def test_batched_values_bear_the_name_of_their_own_pass(store):
    planned(store, ["time/16", "time/32"], {})
    timed(store, 32)
    failed(store, "time/16", "no")
    (row,) = rows(store)
    found = {name: value.value for name, value in row.latency.items()}
    assert found == {"latency_ms_p50": 1.0, "batched_ratio_to_ar@32": 32, "throughput_seq_per_s@32": 32}
    timed(store, 16)
    found = {name: value.value for name, value in rows(store)[0].latency.items()}
    assert (found["batched_ratio_to_ar"], found["batched_ratio_to_ar@32"]) == (16, 32)


def test_a_failed_baseline_fails_the_rows_that_are_timed_beside_it(tmp_path, store):
    from pathlib import Path

    from harness.grid import load
    from harness.runner.execute import run
    from harness.runner.plan import make_plan
    from harness.runner.pool import InProcessPool

    plugins = Path(__file__).parents[2] / "end_to_end" / "plugins.py"
    text = (
        "models: [{name: P:Parrot, label: ar, trick: raise}, {name: P:Diffuser, label: diff}]\ntasks: ['P:Letters:ucg']\n"
        "steps: [2]\nbudget: {tokens: 100}\nprofile: test\nlatency: {batches: [1, 2]}\njudge: {name: P:Judge}\n"
    )
    path = tmp_path / "grid.yaml"
    path.write_text(text.replace("P:", f"{plugins}:"))
    with InProcessPool() as pool:
        run(make_plan(load(path), store), store, pool)
    found = {row.model: row for row in rows(store)}
    assert found["diff"].status == "failed"
    assert found["diff"].reason.startswith("time/2: its baseline ar failed: RuntimeError: the parrot is dead (plugins.py:")
    assert found["diff"].metrics
