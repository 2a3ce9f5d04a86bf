"""Commands that read a grid: plan it, run it."""

import importlib.util
import shlex
import sys
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.application import GridArgument, JsonOption, StoreOption, app, json_text, say, store_option
from harness.cli.results import published
from harness.errors import GridError, PublishError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from harness.grid import Grid
    from harness.runner.execute import Summary
    from harness.runner.planned import Plan
    from harness.runner.pool import Pool
    from harness.tracking.records import Store


class PoolName(StrEnum):
    """Where stages run."""

    ray = "ray"
    serial = "serial"


class Retry(StrEnum):
    """What is tried again."""

    failed = "failed"


RetryOption = Annotated[Retry | None, typer.Option(help="Run what failed before again.")]


@app.command()
def plan(grid: GridArgument, store: StoreOption = "./runs", as_json: JsonOption = False) -> None:
    """Show what a grid comes to: cells, skips with reasons, trainings, time and memory. Spends nothing."""
    from harness.grid import load
    from harness.report.plans import as_record, as_text, notes
    from harness.runner.plan import make_plan
    from harness.tracking.records import Store

    _check_installation()
    loaded = load(grid)
    made = make_plan(loaded, Store.existing(store))
    remarks = notes(made, loaded)
    say(json_text(as_record(made, remarks)) if as_json else as_text(made, remarks))


@app.command()
def run(
    grid: GridArgument,
    store: StoreOption = "./runs",
    retry: RetryOption = None,
    pool: Annotated[PoolName | None, typer.Option(help="Ray where it is installed, else one process.")] = None,
    address: Annotated[str | None, typer.Option(help="Address of a Ray cluster; a local one without it.")] = None,
    cpus: Annotated[int | None, typer.Option(min=1, help="CPUs of the local Ray; all without it.")] = None,
) -> None:
    """Run a grid: what is in the store already is not done again."""
    from harness.grid import find, load

    _check_installation()
    asked = Asked(find(grid), shlex.join(["harness", "run", grid]), "write another `grid:` into one")
    compute(load(grid), asked, store, lambda: _pool(pool, address, cpus), retry_failed=retry is Retry.failed)


@dataclass(frozen=True, slots=True)
class Asked:
    """How a grid was asked for.

    Attributes:
        file: where it comes from.
        command: what was typed, without the store.
        rename: what gives one of two grids of a name another name.
        alone: whether it has one system only, which is to be seen beside those of other grids.
    """

    file: Path
    command: str
    rename: str
    alone: bool = False


def compute(grid: "Grid", asked: Asked, store: str, pool: "Callable[[], Pool]", *, retry_failed: bool = False) -> None:
    """Do what a grid still needs, and show where its leaderboard is.

    Args:
        grid: as read, or as made.
        asked: how.
        store: address.
        pool: starts workers, where there is anything left to do.
        retry_failed: whether to try again what failed.
    """
    from harness.runner.plan import make_plan
    from harness.tracking.records import Store

    opened = Store(store)
    made = make_plan(grid, opened)
    idle = not retry_failed and set(made.stages) <= set(made.finished)
    with closing(_nobody() if idle else pool()) as workers:
        workers.check(made.stages.values())
        _warn_of_another(opened, made.grid, asked)
        again = set(made.stages) if retry_failed else set()
        begun = _executed(made.beginning, opened, workers, again) if made.awaited else None
        tried, made = made.awaited, make_plan(grid, opened) if begun else made
        summary = _executed(made, opened, workers, again - tried)
    _conclude(opened, made.grid, summary.after(begun) if begun else summary, asked)


def _executed(plan: "Plan", store: "Store", workers: "Pool", retried: "Collection[str]") -> "Summary":
    from harness.display import watching
    from harness.runner.execute import run as execute

    with watching(plan) as listener:
        return execute(plan, store, workers, listener, retried=retried)


def _warn_of_another(store: "Store", grid: str, asked: Asked) -> None:
    other = store.take_name(grid, asked.file)
    if other is not None:
        sys.stderr.write(
            f"warning: in this store the grid {grid!r} was that of {other}; from now on it is that of {asked.file.resolve()}. "
            f"Cells that only the former has are no longer shown, in MLflow neither. To keep both, {asked.rename}.\n"
        )


def _nobody() -> "Pool":
    """Workers for a grid of which nothing is left to do: none are started."""
    from harness.runner.pool import InProcessPool

    return InProcessPool()


def _conclude(store: "Store", grid: str, summary: "Summary", asked: Asked) -> None:
    from harness.display import duration

    counts = ", ".join(f"{getattr(summary, name)} {name}" for name in ("done", "cached", "failed", "blocked"))
    say(f"{grid}: stages {counts}; cells skipped {summary.skipped}; {duration(summary.seconds)}.")
    try:
        published(store, grid, None)
    except PublishError as error:
        say(f"Not in MLflow: {error}")
    options = store_option(store)
    say(f"Leaderboard: harness table {grid}{options}    in MLflow: harness ui {grid}{options}")
    if asked.alone:
        say(f"Beside the others: harness table{options}")
    if summary.failed or summary.blocked:
        say(f"Some stages failed; the table says why. Again: {asked.command} --retry failed{options}")
        raise typer.Exit(1)


def _pool(name: PoolName | None, address: str | None, cpus: int | None) -> "Pool":
    from harness.runner.pool import SerialPool

    installed = importlib.util.find_spec("ray") is not None
    if name is PoolName.serial or (name is None and not installed and address is None):
        if address is not None or cpus is not None:
            raise GridError("--address and --cpus belong to --pool ray.")
        return SerialPool()
    if not installed:
        raise GridError("Ray is not installed. Say: pip install 'ray>=2.49', or use --pool serial.")
    from harness.runner.ray_pool import RayPool

    return RayPool(address=address, num_cpus=cpus)


def _check_installation() -> None:
    from harness.runner.shadowing import check_not_shadowed

    check_not_shadowed()
