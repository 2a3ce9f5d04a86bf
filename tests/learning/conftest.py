"""A shipped grid, run to its end in a store that outlives the test."""

import os

import pytest

from harness.grid import load
from harness.runner.execute import run
from harness.runner.plan import make_plan
from harness.runner.pool import SerialPool
from harness.tracking.records import Store, rows


@pytest.fixture(scope="session")
def finished():
    """Name of a grid -> rows of its finished cells; nothing may have failed."""

    def run_to_the_end(name):
        store = Store(os.environ.get("HARNESS_LEARN_STORE", "runs"))
        with SerialPool() as pool:
            run(make_plan(load(name), store), store, pool)
        found = rows(store, name)
        assert [row.reason for row in found if row.status == "failed"] == []
        return [row for row in found if row.status == "done"]

    return run_to_the_end
