"""The runner's own cost: durable no-op stages per second, the plan of a large grid, and what a grid adds to its stages."""

import time

import pytest

from harness.grid import load
from harness.runner.execute import run
from harness.runner.plan import make_plan
from harness.runner.planned import Plan
from harness.runner.pool import SerialPool
from harness.runner.stage import Stage
from harness.tracking.records import Store

NOOP = """
from harness.runner.stages import Result


def noop(work):
    return Result()


def sleep(work):
    import time
    time.sleep(work.spec["seconds"])
    return Result()
"""
STAGES, PER_SECOND = 10_000, 500.0
CELLS, PLAN_SECONDS = 10_000, 5.0
SLEEPS, SLEEP_SECONDS, OVERHEAD = 6, 10.0, 0.05
LARGE = """
models: [gpt, d3pm, diffusion-lm]
tasks: ["world:ucg"]
schedules: [native, cosine-squared, linear-alpha-bar, cosine-plain, one-minus-cosine]
steps: [{steps}]
seeds: [{seeds}]
budget: {{tokens: 1000}}
latency: false
"""


def stages_of(path, function, specs):
    path.write_text(NOOP)
    stages = [Stage.make(f"{path}:{function}", spec) for spec in specs]
    return Plan("bench", [], {stage.key: stage for stage in stages})


@pytest.fixture(params=["serial", "ray"])
def pool(request):
    if request.param == "serial":
        chosen = SerialPool()
    else:
        from harness.runner.ray_pool import RayPool

        chosen = RayPool(num_cpus=2)
    yield request.param, chosen
    chosen.close()


@pytest.mark.bench
def test_no_op_stages_per_second(pool, report, tmp_path):
    name, workers = pool
    plan, store = stages_of(tmp_path / "noop.py", "noop", [{"i": index} for index in range(STAGES)]), Store(tmp_path / "runs")
    summary = run(plan, store, workers)
    assert summary.done == STAGES
    report(f"{name}: {STAGES / summary.seconds:.0f} no-op stages per second")
    again = run(plan, store, workers)
    assert (again.done, again.cached) == (0, STAGES)
    report(f"{name}: the same again in {again.seconds:.1f} s")
    assert name == "ray" or STAGES / summary.seconds >= PER_SECOND


@pytest.mark.bench
def test_plan_of_a_large_grid(report, tmp_path):
    seeds = ", ".join(str(seed) for seed in range(50))
    steps = ", ".join(str(number + 1) for number in range(20))
    (tmp_path / "large.yaml").write_text(LARGE.format(seeds=seeds, steps=steps))
    start = time.perf_counter()
    plan = make_plan(load(str(tmp_path / "large.yaml")))
    seconds = time.perf_counter() - start
    report(f"{len(plan.cells)} cells, {len(plan.stages)} stages planned in {seconds:.1f} s")
    assert len(plan.cells) >= CELLS
    assert seconds <= PLAN_SECONDS


@pytest.mark.bench
def test_overhead_of_a_grid_of_ten_second_stages(pool, report, tmp_path):
    name, workers = pool
    slots = {"serial": 1, "ray": 2}[name]
    warm = [{"seconds": 1.0, "i": index} for index in range(slots)]
    started = run(stages_of(tmp_path / "warm.py", "sleep", warm), Store(tmp_path / "runs"), workers).seconds - 1.0
    specs = [{"seconds": SLEEP_SECONDS, "i": index} for index in range(SLEEPS)]
    summary = run(stages_of(tmp_path / "sleep.py", "sleep", specs), Store(tmp_path / "runs"), workers)
    overhead = summary.seconds / (SLEEPS * SLEEP_SECONDS / slots) - 1
    report(f"{name}: overhead {100 * overhead:.1f} %, workers started in {started:.1f} s before")
    assert overhead <= OVERHEAD
