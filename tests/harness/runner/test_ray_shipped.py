"""Shipped models go through Ray as through the serial pool, and a store that a node does not see is refused."""

import pytest

from harness.errors import StoreError
from harness.grid import load
from harness.runner.execute import run
from harness.runner.plan import make_plan
from harness.runner.pool import SerialPool
from harness.runner.ray_pool import RayPool
from harness.tracking.records import Store, rows

pytestmark = pytest.mark.ray
GRID = """
models:
  - {name: gpt, width: 16, layers: 1}
  - {name: d3pm, width: 16, layers: 1}
  - {name: diffusion-lm, width: 16, layers: 1, embedding: 8}
  - {name: seq2seq, width: 16, layers: 1}
tasks:
  - {name: world, size: tiny, train: 60, valid: 20, judge: 40, test: 20, families: [ucg, t2t]}
steps: [4]
budget: {tokens: 2_000}
judge: {tokens: 2_000, width: 24, layers: 1}
metrics: [likelihood, judge-perplexity, lengths, chrf, world]
profile: test
latency: false
"""


@pytest.fixture(scope="module")
def pool():
    """A pool on a cluster of one node that is reached by its address."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN", "0" * 64)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        import ray
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 2, "num_gpus": 0, "object_store_memory": 10**8, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        with RayPool(cluster.address) as shared:
            yield shared
        ray.shutdown()
        cluster.shutdown()


@pytest.mark.slow
def test_shipped_models_have_the_same_rows_with_and_without_ray(tmp_path, pool):
    (tmp_path / "grid.yaml").write_text(GRID)
    one, two = Store(tmp_path / "serial"), Store(tmp_path / "ray")
    with SerialPool() as serial:
        run(make_plan(load(tmp_path / "grid.yaml")), one, serial)
    run(make_plan(load(tmp_path / "grid.yaml")), two, pool)
    found = [row for row in rows(one) if row.status != "skipped"]
    assert [(row.model, row.reason) for row in found if row.status != "done"] == []
    assert len(found) == 5
    assert [row.reproducible() for row in rows(one)] == [row.reproducible() for row in rows(two)]


def test_a_store_that_a_node_does_not_see_is_refused(tmp_path, pool):
    pool.reach(str(tmp_path / "runs"))
    with pytest.raises(StoreError, match=r"node \w{12} does not see store memory://private"):
        pool.reach("memory://private")
