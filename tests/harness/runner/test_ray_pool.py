"""Ray: the same rows as without it, and placement on a simulated cluster of two nodes with declared GPUs."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness.errors import GridError
from harness.grid import load
from harness.grid.schema import Resources
from harness.runner.execute import run
from harness.runner.plan import make_plan
from harness.runner.planned import Plan
from harness.runner.pool import SerialPool
from harness.runner.ray_pool import Node, RayPool, _check_reachable
from harness.runner.stage import Stage
from harness.tracking.records import Store, rows

pytestmark = pytest.mark.ray

TIMED = """
import time

import ray

from harness.runner.stages import Result


def work(job):
    began = time.time()
    time.sleep(job.spec["pause"])
    place = {"node": ray.get_runtime_context().get_node_id(), "gpus": [str(gpu) for gpu in ray.get_gpu_ids()]}
    return Result(result={**place, "began": began, "ended": time.time()})
"""

MARKED = """
import time
from pathlib import Path

import ray

from harness.runner.stages import Result


def work(job):
    (Path(job.spec["marks"]) / ray.get_runtime_context().get_node_id()).touch()
    time.sleep(2.0)
    return Result()
"""


@pytest.fixture(scope="module")
def cluster():
    """Two nodes: one with 2 CPUs, one with 4 CPUs and a GPU that is only declared."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN", "0" * 64)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        import ray
        from ray.cluster_utils import Cluster

        small = {"num_cpus": 2, "num_gpus": 0, "object_store_memory": 10**8}
        made = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False})
        made.add_node(**{**small, "num_cpus": 4, "num_gpus": 1})
        ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
        yield made
        ray.shutdown()
        made.shutdown()


@pytest.fixture(scope="module")
def pool(cluster):
    with RayPool(cluster.address) as shared:
        yield shared


@pytest.mark.parametrize("scheme", ["", "file://"], ids=["path", "fsspec"])
def test_serial_and_ray_give_the_same_rows(grid_file, tmp_path, pool, scheme):
    models = "PLUGINS:Parrot, PLUGINS:Diffuser, {name: PLUGINS:Parrot, trick: raise, label: dead}"
    path = grid_file(models, 'steps: [2, 4]\nmetrics: ["PLUGINS:Counted", "PLUGINS:Judged"]\nlatency: {batches: [1, 2]}')
    one, two = Store(tmp_path / "serial"), Store(f"{scheme}{tmp_path / 'ray'}")
    with SerialPool() as serial:
        first = run(make_plan(load(path)), one, serial)
    second = run(make_plan(load(path)), two, pool)
    assert [row.reproducible() for row in rows(one)] == [row.reproducible() for row in rows(two)]
    assert (first.done, first.failed, first.blocked) == (second.done, second.failed, second.blocked)


def test_a_file_that_is_not_on_the_node_travels_with_the_stage(grid_file, tmp_path, pool):
    path = grid_file("own.py:Parrot")
    own = path.parent / "own.py"
    own.write_text((Path(__file__).parents[2] / "end_to_end" / "plugins.py").read_text())
    plan = make_plan(load(path))
    own.unlink()
    store = Store(tmp_path / "runs")
    assert run(plan, store, pool).failed == 0
    assert [row.status for row in rows(store)] == ["done"]


def test_late_and_lost_workers(grid_file, tmp_path, pool):
    tricks = ", ".join(f"{{name: PLUGINS:Parrot, trick: {trick}, label: {trick}}}" for trick in ("hang", "segfault"))
    store = Store(tmp_path / "runs")
    run(make_plan(load(grid_file(tricks, "limits: {fit: {seconds: 12, retries: 0}}"))), store, pool)
    reasons = {row.model: row.reason for row in rows(store)}
    assert "not finished after 12 s and killed" in reasons["hang"]
    assert "segfault" in reasons
    assert reasons["segfault"] is not None


@pytest.mark.slow
def test_stages_of_a_lost_node_are_done_elsewhere(tmp_path, cluster, pool):
    node, marks, file = cluster.add_node(num_cpus=3, object_store_memory=10**8), tmp_path / "marks", tmp_path / "marked.py"
    marks.mkdir()
    file.write_text(MARKED)
    wait_until(lambda: node.node_id in {there["NodeID"] for there in pool._ray.nodes() if there["Alive"]})
    pool._refreshed = 0.0

    def kill():
        wait_until((marks / node.node_id).exists)
        cluster.remove_node(node, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    stages = [Stage.make(f"{file}:work", {"i": index, "marks": str(marks)}) for index in range(12)]
    store = Store(tmp_path / "runs")
    summary = run(Plan("g", [], {stage.key: stage for stage in stages}), store, pool)
    killer.join()
    assert (summary.done, summary.failed) == (len(stages), 0)
    assert any(attempt.startswith("lost") for stage in stages for attempt in store.record(stage.key).attempts)


def wait_until(holds, seconds=90):
    """Poll a condition."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.fixture
def timed(tmp_path):
    file = tmp_path / "timed.py"
    file.write_text(TIMED)

    def make(index, pause, exclusive=False, **resources):
        kind = f"{file}:work"
        stage = Stage.make(kind, {"i": index, "pause": pause}, resources=Resources(**resources))
        return Exclusive.of(stage) if exclusive else stage

    return make


class Exclusive(Stage):
    """A stage of a plug-in that wants its node to itself."""

    @classmethod
    def of(cls, stage):
        return cls(stage.kind, stage.spec, stage.inputs, stage.key, stage.sources, stage.resources, stage.limits)

    @property
    def exclusive(self):
        return True


def spans(store, stages):
    return [store.record(stage.key).result for stage in stages]


def overlapping(one, others):
    return [other for other in others if other["began"] < one["ended"] and one["began"] < other["ended"]]


def test_quality_stages_share_a_gpu(tmp_path, pool, timed):
    stages = [timed(index, 1.0, cpus=0.5, gpus=0.25) for index in range(6)]
    store = Store(tmp_path / "runs")
    run(Plan("g", [], {stage.key: stage for stage in stages}), store, pool)
    found = spans(store, stages)
    assert all(item["gpus"] == ["0"] for item in found)
    most = max(len(overlapping(item, found)) for item in found)
    assert most >= 2
    instants = [sum(other["began"] <= item["began"] < other["ended"] for other in found) for item in found]
    assert max(instants) <= 4


def test_an_exclusive_stage_has_its_node_to_itself_while_quality_stages_keep_arriving(tmp_path, pool, timed):
    alone = timed(0, 1.0, exclusive=True, cpus=1.0, gpus=1.0)
    steady = [timed(1 + index, 0.25, cpus=1.0, gpus=0.25) for index in range(24)]
    store = Store(tmp_path / "runs")
    run(Plan("g", [], {stage.key: stage for stage in [alone, *steady]}), store, pool, patience=1.0)
    (mine,) = spans(store, [alone])
    others = [item for item in spans(store, steady) if item["node"] == mine["node"]]
    assert overlapping(mine, others) == []
    assert any(item["ended"] <= mine["began"] for item in others)
    assert any(item["began"] >= mine["ended"] for item in others)


@pytest.mark.parametrize("wanted", [{"gpus": 2.0}, {"cpus": 64.0}, {"memory": 1e6}, {"cpus": 4.0, "gpus": 1.5}])
def test_what_no_node_has_fails_at_once(timed, pool, wanted):
    with pytest.raises(GridError, match=r"no node has that: .*gpus 1"):
        pool.check([timed(0, 0.0, **wanted)])


@pytest.mark.parametrize(
    ("address", "said"),
    [("127.0.0.1:1", "nothing answers as Ray does within 8 s"), ("ray://127.0.0.1:1", "ray.client.|nothing answers|Connection")],
)
def test_an_address_without_a_cluster_is_one_clear_error(monkeypatch, address, said):
    monkeypatch.setattr("harness.runner.ray_pool.CONNECT_SECONDS", 8.0)
    with pytest.raises(GridError, match=f"--address {address}: .*({said})"):
        _check_reachable(address)


def test_without_an_address_ray_is_local_whatever_the_environment_says():
    code = "from harness.runner.ray_pool import RayPool\nwith RayPool(num_cpus=1) as pool: print(len(pool._nodes), pool._ours)"
    environment = {**os.environ, "RAY_ADDRESS": "127.0.0.1:1"}
    made = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert made.stdout.split() == ["1", "True"], made.stderr


def test_placement_counts_devices():
    node = Node("n", 8.0, 2, 16.0)
    assert node.devices_for(0.0) == []
    node.gpus = [0.3, 1.0]
    assert node.devices_for(0.25) == [(0, 0.25)]
    assert node.devices_for(0.5) == [(1, 0.5)]
    assert node.devices_for(2.0) is None
    assert not node.could(Resources(gpus=1.5))
    assert node.could(Resources(gpus=2.0))
