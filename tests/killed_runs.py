"""What is killed and continued: a grid of pausing models, and a driver that runs it on one pool or another."""

from pathlib import Path

PLUGINS = Path(__file__).parent / "end_to_end" / "plugins.py"


def pausing_grid(pause: float) -> str:
    """The grid; its models pause so many seconds in every call."""
    return f"""
models: [{{name: "{PLUGINS}:Parrot", pause: {pause}}}, {{name: "{PLUGINS}:Diffuser", pause: {pause}}}]
tasks: ["{PLUGINS}:Letters:ucg"]
steps: [2, 4]
seeds: [0, 1]
budget: {{tokens: 10}}
judge: {{name: "{PLUGINS}:Judge"}}
metrics: ["{PLUGINS}:Counted", "{PLUGINS}:Judged"]
profile: test
"""


def driver_on(module: str, pool: str) -> str:
    """A program that runs the grid of its first argument in the store of its second.

    Args:
        module: where the pool's class is.
        pool: how it is made, such as "SerialPool()".
    """
    return f"""
import sys
from harness.grid import load
from harness.runner.execute import run
from harness.runner.plan import make_plan
from {module} import {pool.partition("(")[0]}
from harness.tracking.records import Store

store = Store(sys.argv[2])
with {pool} as pool:
    print("ready", flush=True)
    run(make_plan(load(sys.argv[1]), store), store, pool)
"""
