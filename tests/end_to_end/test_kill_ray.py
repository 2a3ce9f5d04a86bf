"""`kill -9` of a driver whose stages run on a local Ray: the same command goes on where it was, and the rows are the same."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest
from killed_runs import driver_on, pausing_grid

from harness.grid import load
from harness.runner.execute import run
from harness.runner.plan import make_plan
from harness.runner.pool import SerialPool
from harness.tracking.records import Store, rows

pytestmark = pytest.mark.ray
GRID, DRIVER = pausing_grid(0.2), driver_on("harness.runner.ray_pool", "RayPool(num_cpus=2)")


def records(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.json") if "records" in path.parts}


def wait_until(holds, seconds=120):
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


def processes(folder):
    """Processes whose command line names a folder."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found += [file.parent.name] if folder in file.read_text() else []
    return found


@pytest.fixture
def temporary():
    """A folder for Ray's files, with a path short enough for its sockets."""
    with tempfile.TemporaryDirectory(prefix="kill-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield folder


@pytest.mark.slow
def test_a_killed_driver_is_continued(tmp_path, temporary):
    grid, driver, store = tmp_path / "grid.yaml", tmp_path / "driver.py", tmp_path / "ray"
    grid.write_text(GRID)
    driver.write_text(DRIVER)

    def start():
        command, environment = [sys.executable, str(driver), str(grid), str(store)], {**os.environ, "TMPDIR": temporary}
        return subprocess.Popen(command, env=environment, start_new_session=True)

    killed = start()
    wait_until(lambda: len(records(store)) >= 4)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    wait_until(lambda: not processes(temporary))
    before = records(store)
    assert start().wait(240) == 0
    with SerialPool() as pool:
        run(make_plan(load(grid)), Store(tmp_path / "serial"), pool)
    after = records(store)
    assert {key: after[key] for key in before} == before
    assert after.keys() == records(tmp_path / "serial").keys()
    assert len(before) < len(after)
    assert [row.reproducible() for row in rows(Store(store))] == [row.reproducible() for row in rows(Store(tmp_path / "serial"))]
