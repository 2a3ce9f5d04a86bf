"""Commands about texts that other programs made."""

import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.application import JsonOption, StoreOption, app, json_text, say
from harness.cli.grids import Asked, Retry, RetryOption, compute
from harness.design import FAMILIES, Family
from harness.errors import OutputsError, UnknownName


@app.command()
def score(
    outputs: Annotated[Path, typer.Argument(help="JSON lines with `text` and optionally `id`.")],
    references: Annotated[
        Path | None, typer.Option(help="JSON lines with `references`, a list, and optionally `id` and `source`.")
    ] = None,
    metrics: Annotated[str, typer.Option(help="Names of metrics, with commas between.")] = "bleu,chrf,lengths",
    as_json: JsonOption = False,
) -> None:
    """Score texts that any program made."""
    from harness.outputs.scoring import as_record
    from harness.outputs.scoring import score as scored
    from harness.report.outputs import as_text

    names = [name.strip() for name in metrics.split(",") if name.strip()]
    if not names:
        raise OutputsError("--metrics names none; expected names with commas between, such as bleu,chrf.")
    found = scored(outputs, references, names)
    say(json_text(as_record(found)) if as_json else as_text(found))


TaskOption = Annotated[str, typer.Option(help="Registered name, or a label of the grid of --like.")]
FamilyOption = Annotated[str | None, typer.Option(help="ucg, a2t or t2t; not needed where the task has one only.")]
LikeOption = Annotated[
    str | None, typer.Option(help="A grid whose task options, judge, metrics and profile are taken, so that values compare.")
]
ProfileOption = Annotated[str, typer.Option(help="How many items, where no grid is named by --like.")]


@app.command()
def items(task: TaskOption, family: FamilyOption = None, like: LikeOption = None, profile: ProfileOption = "quick") -> None:
    """Print the test items for which texts are wanted, as JSON lines with `id` and `condition`."""
    import json

    from harness.grid import load
    from harness.outputs.importing import items_of, lines_of, task_of

    grid = load(like) if like else None
    sizes, folder = (grid.profile, grid.folder) if grid else (profile, Path.cwd())
    _, found = items_of(task_of(grid, task), _family(family), sizes, folder)
    for line in lines_of(found):
        say(json.dumps(line, ensure_ascii=True))


@app.command("import")
def import_outputs(
    outputs: Annotated[Path, typer.Argument(help="JSON lines with `text` and optionally `id`, one for each of `harness items`.")],
    model: Annotated[str, typer.Option(help="Name of the system on the leaderboard.")],
    task: TaskOption,
    family: FamilyOption = None,
    like: LikeOption = None,
    profile: ProfileOption = "quick",
    store: StoreOption = "./runs",
    retry: RetryOption = None,
) -> None:
    """Put texts that another program made on the leaderboard; cost, latency and likelihood stay empty."""
    from harness.grid import load
    from harness.outputs.importing import grid_of_outputs, task_of
    from harness.runner.pool import SerialPool

    grid = load(like) if like else None
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(filter(None, ("imported", model, task, family))))
    made = grid_of_outputs(
        outputs, model=model, task=task_of(grid, task), family=_family(family), like=grid, profile_name=profile, name=name
    )
    given = {"--model": model, "--task": task, "--family": family, "--like": like, "--profile": None if like else profile}
    options = [word for name, value in given.items() if value for word in (name, value)]
    command = shlex.join(["harness", "import", str(outputs), *options])
    asked = Asked(outputs, command, "import one under another --model", alone=True)
    compute(made, asked, store, SerialPool, retry_failed=retry is Retry.failed)


def _family(name: str | None) -> Family | None:
    found = next((family for family in FAMILIES if family == name), None)
    if name is not None and found is None:
        raise UnknownName("family", name, FAMILIES, "--family")
    return found
