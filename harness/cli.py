"""The command line: `harness plan | run | table | compare | rank | list | ui | publish | data | check`.

Heavy libraries are imported by the commands that need them, so that `harness --help` is instant.
"""

import importlib.util
import io
import json
import os
import shlex
import signal
import sys
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.errors import GridError, HarnessError, PublishError

if TYPE_CHECKING:
    from harness.runner.pool import Pool
    from harness.tracking.records import Store

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
data_app = typer.Typer(no_args_is_help=True, help="Source files of the tasks: list them, fetch them.", rich_markup_mode=None)
app.add_typer(data_app, name="data")


class Noun(StrEnum):
    """What can be listed."""

    models = "models"
    tasks = "tasks"
    schedules = "schedules"
    metrics = "metrics"


class Format(StrEnum):
    """Forms of a table."""

    md = "md"
    csv = "csv"
    json = "json"


class PoolName(StrEnum):
    """Where stages run."""

    ray = "ray"
    serial = "serial"


class Retry(StrEnum):
    """What is tried again."""

    failed = "failed"


GridArgument = Annotated[str, typer.Argument(help="A grid file, or the name of a shipped grid.")]
OptionalGrid = Annotated[str | None, typer.Argument(help="A grid by name or file; all grids of the store without it.")]
StoreOption = Annotated[str, typer.Option("--store", help="Folder (or fsspec address) of everything that runs write.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
UriOption = Annotated[str | None, typer.Option("--to", help="MLflow tracking address; the store's own database without it.")]


def main() -> None:
    """Entry point: errors that a user can repair are printed without a traceback, with exit status 2."""
    from harness.report.escape import visible

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except HarnessError as error:
        lines = [visible(line) for line in str(error).splitlines()]
        sys.stderr.write("\n".join(["error: " + (lines[0] if lines else type(error).__name__), *lines[1:]]) + "\n")
        sys.exit(2)


@app.callback()
def _start() -> None:
    """Which diffusion text model is better, at what cost, against which autoregressive baseline."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


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
    _say(_json(as_record(made, remarks)) if as_json else as_text(made, remarks))


@app.command()
def run(
    grid: GridArgument,
    store: StoreOption = "./runs",
    retry: Annotated[Retry | None, typer.Option(help="Run what failed before again.")] = None,
    pool: Annotated[PoolName | None, typer.Option(help="Ray where it is installed, else one process.")] = None,
    address: Annotated[str | None, typer.Option(help="Address of a Ray cluster; a local one without it.")] = None,
    cpus: Annotated[int | None, typer.Option(min=1, help="CPUs of the local Ray; all without it.")] = None,
) -> None:
    """Run a grid: what is in the store already is not done again."""
    from harness.display import watching
    from harness.grid import find, load
    from harness.runner.execute import run as execute
    from harness.runner.plan import make_plan
    from harness.tracking.records import Store

    _check_installation()
    opened = Store(store)
    made = make_plan(load(grid), opened)
    idle = retry is None and set(made.stages) <= set(made.finished)
    with closing(_nobody() if idle else _pool(pool, address, cpus)) as workers:
        workers.check(made.stages.values())
        _warn_of_another(opened, made.grid, find(grid))
        with watching(made) as listener:
            summary = execute(made, opened, workers, listener, retry_failed=retry is Retry.failed)
    _conclude(opened, made.grid, summary)


def _warn_of_another(store: "Store", grid: str, file: Path) -> None:
    other = store.take_name(grid, file)
    if other is not None:
        sys.stderr.write(
            f"warning: in this store the grid {grid!r} was that of {other}; from now on it is that of {file.resolve()}. Cells "
            "that only the former has are no longer shown, in MLflow neither. To keep both, write another `grid:` into one.\n"
        )


def _nobody() -> "Pool":
    """Workers for a grid of which nothing is left to do: none are started."""
    from harness.runner.pool import InProcessPool

    return InProcessPool()


def _conclude(store: "Store", grid: str, summary: Any) -> None:
    from harness.display import duration

    counts = ", ".join(f"{getattr(summary, name)} {name}" for name in ("done", "cached", "failed", "blocked"))
    _say(f"{grid}: stages {counts}; cells skipped {summary.skipped}; {duration(summary.seconds)}.")
    try:
        _published(store, grid, None)
    except PublishError as error:
        _say(f"Not in MLflow: {error}")
    options = f" --store {shlex.quote(store.address)}" if Path(store.address) != Path("runs").resolve() else ""
    _say(f"Leaderboard: harness table {grid}{options}    in MLflow: harness ui {grid}{options}")
    if summary.failed or summary.blocked:
        _say(f"Some stages failed; the table says why. Again: harness run {grid} --retry failed{options}")
        raise typer.Exit(1)


@app.command()
def table(
    grid: OptionalGrid = None,
    store: StoreOption = "./runs",
    task: Annotated[str | None, typer.Option(help="Label or bare name of a task.")] = None,
    family: Annotated[str | None, typer.Option(help="ucg, a2t or t2t.")] = None,
    model: Annotated[str | None, typer.Option(help="Label or bare name of a model.")] = None,
    sort: Annotated[str | None, typer.Option(help="Column to sort by, best first; -column turns it around.")] = None,
    where: Annotated[list[str] | None, typer.Option(help="Condition such as 'bleu >= 20'; may be repeated.")] = None,
    form: Annotated[Format, typer.Option("--format", help="md, csv or json.")] = Format.md,
    as_json: JsonOption = False,
) -> None:
    """Print the leaderboard of a store."""
    from harness.leaderboard import order, rows_of, select
    from harness.report.export import as_csv, as_markdown
    from harness.report.export import as_json as json_of

    rows = select(rows_of(store, _grid(grid)), task=task, family=family, model=model, where=where or ())
    rows = order(rows, sort) if sort else rows
    form = Format.json if as_json else form
    _say(
        {Format.md: lambda: as_markdown(rows, sort=sort), Format.csv: lambda: as_csv(rows), Format.json: lambda: json_of(rows)}[
            form
        ]()
    )


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="A model or the start of a digest, then conditions: 'd3pm, steps = 32'.")],
    b: Annotated[str, typer.Argument(help="The other side, likewise.")],
    grid: Annotated[str | None, typer.Option(help="Cells of one grid only.")] = None,
    store: StoreOption = "./runs",
    task: Annotated[str | None, typer.Option(help="Label or bare name of a task.")] = None,
    family: Annotated[str | None, typer.Option(help="ucg, a2t or t2t.")] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="Value to compare; may be repeated. Default: all with a better end.")
    ] = None,
    most: Annotated[int, typer.Option(min=0, help="Items to show, those that differ most.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """Compare two systems item by item: which differences are real, and where they are largest."""
    from harness.compare import compare_systems
    from harness.leaderboard import opened
    from harness.report.comparisons import as_record, as_text

    reports = compare_systems(opened(store), a, b, grid=_name(grid), task=task, family=family, metrics=metric or (), most=most)
    _say(_json([as_record(report) for report in reports]) if as_json else as_text(reports))


@app.command()
def rank(
    metric: Annotated[str | None, typer.Argument(help="Value to rank by; each section's headline without it.")] = None,
    grid: Annotated[str | None, typer.Option(help="Cells of one grid only.")] = None,
    store: StoreOption = "./runs",
    task: Annotated[str | None, typer.Option(help="Label or bare name of a task.")] = None,
    family: Annotated[str | None, typer.Option(help="ucg, a2t or t2t.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Rank systems in bands: those that cannot be told from the best of a band share it."""
    from harness.compare.ranking import rankings
    from harness.leaderboard import opened
    from harness.report.rankings import as_record, as_text

    found = rankings(opened(store), metric, grid=_name(grid), task=task, family=family)
    _say(
        _json([as_record(*item) for item in found])
        if as_json
        else "\n".join(as_text(f"{place} / {kind}", name, ranked) for place, kind, name, ranked in found)
    )


@app.command("list")
def list_things(noun: Annotated[Noun, typer.Argument(help="What to list.")], as_json: JsonOption = False) -> None:
    """List what is registered: the design matrix, from code."""
    from harness.report.matrix import as_table, listing

    entries = listing(noun.value)
    _say(_json(entries) if as_json else as_table(noun.value, entries))


@app.command()
def ui(
    grid: OptionalGrid = None,
    store: StoreOption = "./runs",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")] = 5000,
) -> None:
    """Serve MLflow's own user interface on this machine alone, and print the addresses of the leaderboards."""
    from harness.leaderboard import opened
    from harness.tracking.mlflow_server import free_port, serving
    from harness.tracking.publication import folder_of

    served = opened(store)
    folder = folder_of(served)
    views = _published(served, _name(grid), None)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with serving(folder, port=port or free_port()) as address:
            for title, path in views.items():
                _say(f"{title}: {address}{path}")
            _say("Open one of these in a browser; Ctrl-C ends the server.")
            signal.pause()
    except KeyboardInterrupt:
        _say("")


@app.command()
def publish(grid: OptionalGrid = None, to: UriOption = None, store: StoreOption = "./runs") -> None:
    """Rebuild MLflow from the records, into any tracking address. Doing it again changes nothing."""
    from harness.leaderboard import opened
    from harness.tracking.mlflow_sink import without_credentials

    server = without_credentials(to).rstrip("/") if to is not None and to.startswith("http") else ""
    for title, path in _published(opened(store), _name(grid), to).items():
        _say(f"{title}: {server}{path}")


def _published(store: "Store", grid: str | None, uri: str | None) -> dict[str, str]:
    """Publish and say so; "grid: section" -> path of the view."""
    from harness.tracking.publication import publish_store

    views: dict[str, str] = {}
    for name, done in publish_store(store, grid=grid, uri=uri).items():
        _say(f"MLflow experiment {name}: {done.written} runs written, {done.unchanged} unchanged.")
        views |= {f"{name}: {title}": path for title, path in done.views.items()}
    return views


@data_app.command("list")
def data_list(as_json: JsonOption = False) -> None:
    """List the source files of all tasks, and whether they are here."""
    from harness.report.sources import as_records, as_table

    _say(_json(as_records()) if as_json else as_table())


@data_app.command("fetch")
def data_fetch(
    tasks: Annotated[list[str] | None, typer.Argument(help="Tasks whose files are wanted; all without any.")] = None,
) -> None:
    """Fetch and check the source files of tasks."""
    from harness.report.sources import sources

    for source in sources(tasks or ()):
        _say(f"{source.name}: {source.fetch()}")


@app.command()
def check(
    model: Annotated[str, typer.Argument(help="Registered name, or file.py:Name.")],
    family: Annotated[str | None, typer.Option(help="ucg, a2t or t2t; every family of the model without it.")] = None,
    option: Annotated[list[str] | None, typer.Option("--set", help="key=value for the constructor; may be repeated.")] = None,
    device: Annotated[str, typer.Option(help="torch device name, such as cuda.")] = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Test whether an adapter keeps its contract, on a tiny data set that is generated on the spot."""
    from harness.check import as_records, as_text, conformance

    findings = conformance(model, family=family, size=_options(option or []), device=device)
    _say(_json(as_records(findings)) if as_json else as_text(findings))
    if any(finding.status == "failed" for finding in findings):
        raise typer.Exit(1)


def _options(pairs: list[str]) -> dict[str, Any]:
    import yaml

    broken = [pair for pair in pairs if "=" not in pair]
    if broken:
        raise GridError(f"--set {broken[0]!r}: expected key=value.")
    try:
        return {key: yaml.safe_load(value) for key, _, value in (pair.partition("=") for pair in pairs)}
    except (yaml.YAMLError, ValueError) as error:
        raise GridError(f"--set: a value is not valid YAML: {error}") from error


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


def _grid(grid: str | None) -> "str | Path | None":
    return Path(grid) if grid is not None and grid.endswith((".yaml", ".yml")) else grid


def _name(grid: str | None) -> str | None:
    from harness.leaderboard import grid_name

    return grid_name(_grid(grid))


def _json(value: Any) -> str:
    from harness.report.export import finite

    return json.dumps(finite(value), indent=2, ensure_ascii=False, allow_nan=False)


def _say(text: str) -> None:
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()
