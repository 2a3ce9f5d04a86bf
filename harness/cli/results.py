"""Commands that read a store: tables, comparisons, bands, MLflow."""

import shlex
import signal
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.application import (
    FamilyFilter,
    GridFilter,
    JsonOption,
    ModelFilter,
    OptionalGrid,
    StoreOption,
    TaskFilter,
    UriOption,
    app,
    grid_name,
    grid_of,
    json_text,
    say,
    store_option,
)

if TYPE_CHECKING:
    from harness.tracking.records import Store


class Correcting(StrEnum):
    """Corrections for many tests at once."""

    holm = "holm"
    bh = "bh"


class Format(StrEnum):
    """Forms of a table."""

    md = "md"
    csv = "csv"
    json = "json"


@app.command()
def table(
    grid: OptionalGrid = None,
    store: StoreOption = "./runs",
    task: TaskFilter = None,
    family: FamilyFilter = None,
    model: ModelFilter = None,
    sort: Annotated[str | None, typer.Option(help="Column to sort by, best first; -column turns it around.")] = None,
    where: Annotated[list[str] | None, typer.Option(help="Condition such as 'bleu >= 20'; may be repeated.")] = None,
    form: Annotated[Format, typer.Option("--format", help="md, csv or json.")] = Format.md,
    as_json: JsonOption = False,
) -> None:
    """Print the leaderboard of a store."""
    from harness.leaderboard import order, rows_of, select
    from harness.report.export import as_csv, as_markdown
    from harness.report.export import as_json as json_of

    rows = select(rows_of(store, grid_of(grid)), task=task, family=family, model=model, where=where or ())
    rows = order(rows, sort) if sort else rows
    form = Format.json if as_json else form
    say(
        {Format.md: lambda: as_markdown(rows, sort=sort), Format.csv: lambda: as_csv(rows), Format.json: lambda: json_of(rows)}[
            form
        ]()
    )


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="A model or the start of a digest, then conditions: 'MODEL, steps = 32'.")],
    b: Annotated[str, typer.Argument(help="The other side, likewise.")],
    grid: GridFilter = None,
    store: StoreOption = "./runs",
    task: TaskFilter = None,
    family: FamilyFilter = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="Value to compare; may be repeated. Default: all with a better end.")
    ] = None,
    most: Annotated[int, typer.Option(min=0, help="Items to show, those that differ most.")] = 5,
    correction: Annotated[
        Correcting, typer.Option(help="Of p-values: holm to claim differences; bh (Benjamini-Hochberg) to explore.")
    ] = Correcting.holm,
    as_json: JsonOption = False,
) -> None:
    """Compare two systems item by item: which differences are real, and where they are largest."""
    from harness.compare import compare_systems
    from harness.leaderboard import opened
    from harness.report.comparisons import as_record, as_text

    reports = compare_systems(
        opened(store), a, b, grid=grid_name(grid), task=task, family=family, metrics=metric or (), most=most,
        correction=correction.value,
    )  # fmt: skip
    say(json_text([as_record(report) for report in reports]) if as_json else as_text(reports))


@app.command()
def rank(
    metric: Annotated[str | None, typer.Argument(help="Value to rank by; each section's headline without it.")] = None,
    grid: GridFilter = None,
    store: StoreOption = "./runs",
    task: TaskFilter = None,
    family: FamilyFilter = None,
    as_json: JsonOption = False,
) -> None:
    """Rank systems in bands: those that cannot be told from the best of a band share it."""
    from harness.compare.ranking import rankings
    from harness.leaderboard import opened
    from harness.report.rankings import as_record, as_text

    found = rankings(opened(store), metric, grid=grid_name(grid), task=task, family=family)
    say(
        json_text([as_record(*item) for item in found])
        if as_json
        else "\n".join(as_text(f"{place} / {kind}", name, ranked) for place, kind, name, ranked in found)
    )


@app.command()
def frontier(
    grid: OptionalGrid = None,
    store: StoreOption = "./runs",
    task: TaskFilter = None,
    model: ModelFilter = None,
    as_json: JsonOption = False,
) -> None:
    """Judge perplexity at the entropy of human text, from cells sampled at several temperatures; never extrapolated."""
    from harness.compare.frontier import frontiers
    from harness.leaderboard import opened
    from harness.report.frontiers import as_record, as_text

    found = frontiers(opened(store), grid=grid_name(grid), task=task, model=model)
    say(json_text([as_record(item) for item in found]) if as_json else as_text(found))


@app.command()
def pareto(
    metric: Annotated[str | None, typer.Argument(help="Quality; each section's headline without it.")] = None,
    grid: GridFilter = None,
    store: StoreOption = "./runs",
    task: TaskFilter = None,
    family: FamilyFilter = None,
    as_json: JsonOption = False,
) -> None:
    """Quality against latency: which systems nothing beats in both, as a probability."""
    from harness.compare.pareto import fronts
    from harness.leaderboard import opened
    from harness.report.fronts import as_record, as_text

    found = fronts(opened(store), metric, grid=grid_name(grid), task=task, family=family)
    say(json_text([as_record(item) for item in found]) if as_json else as_text(found))


@app.command()
def match(
    metric: Annotated[str | None, typer.Argument(help="Quality; each section's headline without it.")] = None,
    baseline: Annotated[
        str | None, typer.Option(help="Autoregressive model to match; the first of each section without it.")
    ] = None,
    grid: GridFilter = None,
    store: StoreOption = "./runs",
    task: TaskFilter = None,
    family: FamilyFilter = None,
    as_json: JsonOption = False,
) -> None:
    """Systems with steps beside an autoregressive one: time to reach its quality, and quality at its FLOPs."""
    from harness.compare.match import matches
    from harness.leaderboard import opened
    from harness.report.match import as_record, as_text

    found = matches(opened(store), metric, baseline=baseline, grid=grid_name(grid), task=task, family=family)
    say(json_text([as_record(item) for item in found]) if as_json else as_text(found))


@app.command()
def validity(
    grid: OptionalGrid = None,
    store: StoreOption = "./runs",
    metric: Annotated[list[str] | None, typer.Option(help="Value to look at; may be repeated. Default: all.")] = None,
    plots: Annotated[Path | None, typer.Option(help="Folder for one SVG per task.")] = None,
    as_json: JsonOption = False,
) -> None:
    """How metrics track the truth: cells of models whose distance from the law of their task is known."""
    from harness.compare.validity import trackings
    from harness.leaderboard import opened
    from harness.report.validity import as_record, as_text, plot

    found = trackings(opened(store), grid=grid_name(grid), metrics=metric or ())
    say(json_text([as_record(item) for item in found]) if as_json else as_text(found))
    for path in plot(found, plots) if plots else ():
        typer.echo(f"plot: {path}", err=True)


@app.command()
def steps(
    metric: Annotated[str | None, typer.Argument(help="Quality; each section's headline without it.")] = None,
    grid: GridFilter = None,
    store: StoreOption = "./runs",
    task: TaskFilter = None,
    family: FamilyFilter = None,
    plots: Annotated[Path | None, typer.Option(help="Folder for one SVG per task and family.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Quality against sampling steps; where an oracle stands, what parallel decoding and what learning takes."""
    from harness.compare.steps import step_curves
    from harness.leaderboard import opened
    from harness.report.steps import as_record, as_text, plot

    found = step_curves(opened(store), metric, grid=grid_name(grid), task=task, family=family)
    say(json_text([as_record(item) for item in found]) if as_json else as_text(found))
    for path in plot(found, plots) if plots else ():
        typer.echo(f"plot: {path}", err=True)


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
    views = published(served, grid_name(grid), None)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with serving(folder, port=port or free_port()) as address:
            for title, path in views.items():
                say(f"{title}: {address}{path}")
            say("Open one of these in a browser; Ctrl-C ends the server.")
            signal.pause()
    except KeyboardInterrupt:
        say("")


@app.command()
def publish(grid: OptionalGrid = None, to: UriOption = None, store: StoreOption = "./runs") -> None:
    """Rebuild MLflow from the records, into any tracking address. Doing it again changes nothing."""
    from harness.leaderboard import opened
    from harness.tracking.mlflow_sink import without_credentials

    server = without_credentials(to).rstrip("/") if to is not None and to.startswith("http") else ""
    served = opened(store)
    views = published(served, grid_name(grid), to)
    for title, path in views.items():
        say(f"{title}: {server}{path}")
    if views and not server:
        own = shlex.join(["harness", "ui", *([grid] if grid else [])]) + store_option(served)
        other = shlex.join(["mlflow", "server", "--backend-store-uri", without_credentials(to or "")])
        say(f"To open them: {own if to is None else other}")


def published(store: "Store", grid: str | None, uri: str | None) -> dict[str, str]:
    """Publish and say so; "grid: section" -> path of the view."""
    from harness.tracking.publication import publish_store

    views: dict[str, str] = {}
    for name, done in publish_store(store, grid=grid, uri=uri).items():
        say(f"MLflow experiment {name}: {done.written} runs written, {done.unchanged} unchanged.")
        views |= {f"{name}: {title}": path for title, path in done.views.items()}
    return views
