"""A shipped grid, run to its end in a store that outlives the test."""

import os

import pytest

from harness.grid import load
from harness.runner.execute import run
from harness.runner.plan import make_plan
from harness.runner.pool import SerialPool
from harness.tracking.records import Store, rows


def cell(row):
    return row.model, row.task, row.family, row.schedule, row.seed


@pytest.fixture(scope="session")
def finished():
    """Name of a grid, and what must be in it -> its rows: exactly these cells where they are named, and all of them done.

    A cell is (model, task, family, schedule, seed).
    """

    def run_to_the_end(name, expected=None):
        store = Store(os.environ.get("HARNESS_LEARN_STORE", "runs"))
        with SerialPool() as pool:
            run(make_plan(load(name), store), store, pool)
        found = [row for row in rows(store, name) if row.status != "skipped"]
        assert [(row.model, row.reason) for row in found if row.status != "done"] == []
        assert expected is None or sorted(map(cell, found), key=str) == sorted(expected, key=str)
        return found

    return run_to_the_end
