"""Commands about texts that other programs made."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.application import JsonOption, app, json_text, say
from harness.errors import OutputsError


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
