"""Commands about what a grid is made of: what is registered, the data, the conformance of an adapter."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from harness.cli.application import JsonOption, app, json_text, say
from harness.errors import GridError

data_app = typer.Typer(no_args_is_help=True, help="Source files of the tasks: list them, fetch them.", rich_markup_mode=None)
app.add_typer(data_app, name="data")


class Noun(StrEnum):
    """What can be listed."""

    models = "models"
    tasks = "tasks"
    schedules = "schedules"
    metrics = "metrics"


@app.command("list")
def list_things(
    noun: Annotated[Noun, typer.Argument(help="What to list.")],
    name: Annotated[str | None, typer.Argument(help="One of them alone: of a model also its keys and what they mean.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List what is registered: the design matrix, from code."""
    from harness.report.matrix import as_page, as_table, listed, listing

    if name is not None:
        entry = listed(noun.value, name)
        say(json_text(entry) if as_json else as_page(noun.value, entry))
        return
    entries = listing(noun.value)
    say(json_text(entries) if as_json else as_table(noun.value, entries))


@data_app.command("list")
def data_list(as_json: JsonOption = False) -> None:
    """List the source files of all tasks, and whether they are here."""
    from harness.report.sources import as_records, as_table

    say(json_text(as_records()) if as_json else as_table())


@data_app.command("fetch")
def data_fetch(
    tasks: Annotated[list[str] | None, typer.Argument(help="Tasks whose files are wanted; all without any.")] = None,
) -> None:
    """Fetch and check the source files of tasks."""
    from harness.report.sources import sources

    for source in sources(tasks or ()):
        say(f"{source.name}: {source.fetch()}")


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
    say(json_text(as_records(findings)) if as_json else as_text(findings))
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
