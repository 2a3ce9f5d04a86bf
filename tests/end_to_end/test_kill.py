"""`kill -9` of the driver or of a worker: nothing that was finished is done again, and the rows are the same."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from killed_runs import driver_on, pausing_grid

from harness.tracking.records import Store, rows

GRID, DRIVER = pausing_grid(0.15), driver_on("harness.runner.pool", "SerialPool()")


class Grid:
    def __init__(self, folder):
        self.folder = folder
        (folder / "grid.yaml").write_text(GRID)
        (folder / "driver.py").write_text(DRIVER)

    def start(self, name):
        environment = {**os.environ, "HARNESS_TEST_WITNESS": str(self.folder / f"{name}.witness")}
        command = [sys.executable, str(self.folder / "driver.py"), str(self.folder / "grid.yaml"), str(self.folder / name)]
        return subprocess.Popen(command, env=environment, start_new_session=True)

    def records(self, name):
        return len(list((self.folder / name / "records").rglob("*.json"))) if (self.folder / name / "records").exists() else 0

    def wait_for(self, name, count):
        deadline = time.monotonic() + 120
        while self.records(name) < count:
            assert time.monotonic() < deadline, f"only {self.records(name)} records"
            time.sleep(0.01)

    def rows(self, name):
        return [row.reproducible() for row in rows(Store(self.folder / name))]


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    made = Grid(tmp_path_factory.mktemp("killed"))
    assert made.start("whole").wait(240) == 0
    return made


def stamps(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.json") if "records" in path.parts}


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()


@pytest.mark.parametrize("after", [1, pytest.param(14, marks=pytest.mark.slow)])
def test_killed_drivers_are_continued(grid, after):
    name = f"driver-{after}"
    driver = grid.start(name)
    grid.wait_for(name, after)
    (worker,) = children(driver.pid)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    deadline = time.monotonic() + 10
    while not gone(worker):
        assert time.monotonic() < deadline, "the worker outlives its driver"
        time.sleep(0.02)
    before = stamps(grid.folder / name)
    assert grid.start(name).wait(240) == 0
    after_all = stamps(grid.folder / name)
    assert {key: after_all[key] for key in before} == before
    assert len(after_all) == len(stamps(grid.folder / "whole"))
    assert grid.rows(name) == grid.rows("whole")


def test_killed_workers_are_replaced(grid):
    driver = grid.start("worker")
    for count in (3, 12):
        grid.wait_for("worker", count)
        for worker in children(driver.pid):
            os.kill(worker, signal.SIGKILL)
    assert driver.wait(240) == 0
    assert grid.rows("worker") == grid.rows("whole")
    done = Counter((grid.folder / "worker.witness").read_text().split("\n"))
    whole = Counter((grid.folder / "whole.witness").read_text().split("\n"))
    assert sum((done - whole).values()) <= 2
