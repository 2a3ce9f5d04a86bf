"""The application that commands add themselves to, the options they share, and how it starts and ends."""

import io
import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.tracking.records import Store

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

GridArgument = Annotated[str, typer.Argument(help="A grid file, or the name of a shipped grid.")]
OptionalGrid = Annotated[str | None, typer.Argument(help="A grid by name or file; all grids of the store without it.")]
StoreOption = Annotated[str, typer.Option("--store", help="Folder (or fsspec address) of everything that runs write.")]
GridFilter = Annotated[str | None, typer.Option(help="Cells of one grid only.")]
TaskFilter = Annotated[str | None, typer.Option(help="Label or bare name of a task.")]
FamilyFilter = Annotated[str | None, typer.Option(help="ucg, a2t or t2t.")]
ModelFilter = Annotated[str | None, typer.Option(help="Label or bare name of a model.")]
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


def grid_of(grid: str | None) -> "str | Path | None":
    """A grid as named on the command line: a file, or a name."""
    return Path(grid) if grid is not None and grid.endswith((".yaml", ".yml")) else grid


def grid_name(grid: str | None) -> str | None:
    """Name under which a store knows a grid."""
    from harness import leaderboard

    return leaderboard.grid_name(grid_of(grid))


def store_option(store: "Store") -> str:
    """` --store ADDRESS` as it is to be typed behind a command; nothing for the folder that commands take without it."""
    return f" --store {shlex.quote(store.address)}" if Path(store.address) != Path("runs").resolve() else ""


def json_text(value: Any) -> str:
    """Plain objects as JSON; what is not finite is null."""
    from harness.report.export import finite

    return json.dumps(finite(value), indent=2, ensure_ascii=False, allow_nan=False)


def say(text: str) -> None:
    """Print, with one newline at the end, at once."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()
