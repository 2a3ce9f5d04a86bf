"""A row as MLflow wants it: parameters, metrics, tags and a note, all of them decided by the row alone."""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from harness.errors import PublishError
from harness.report.escape import code_cell, markdown_cell
from harness.report.export import grid_of_text, label, number, summary
from harness.report.sections import Section
from harness.tracking.rows import Row, Value

MOST_PARAMETERS = 15
LOW, HIGH = "low/", "high/"
GREYED_TAG = "latency_greyed"
_IDENTITY = ("model", "task", "family", "schedule", "steps", "seed", "decode")
_SETTINGS = (
    "profile", "budget.tokens", "budget.parameters", "native_schedule", "design.kind", "design.space", "design.kernel",
    "design.conditioning",
)  # fmt: skip
_DIGITS = 5
_LONGEST_PARAMETER = 500
_LONGEST_TAG = 7_500
_NOTE_COLUMNS = ("value", "", "95 % interval", "n", "remarks", "signature")
_FORM = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class RunContent:
    """One run.

    Attributes:
        cell: digest of the row.
        params: at most `MOST_PARAMETERS`; never change for one cell.
        metrics: finite numbers, rounded to 5 significant digits.
        tags: grid, cell, the reason of a failure, why latencies are greyed, the run's note.
        started, finished: milliseconds since 1970, out of the row's environment; `None` where it does not say.
        samples: table of texts, or `None`.
    """

    name: str
    cell: str
    failed: bool
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    started: int | None
    finished: int | None
    samples: Mapping[str, Any] | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What tells a run from the others of its experiment: two labels may name one cell."""
        return self.cell, self.name

    @property
    def digest(self) -> str:
        """sha256 of all that is written: equal digests, nothing to do."""
        return hashlib.sha256(json.dumps([_FORM, asdict(self)], sort_keys=True).encode()).hexdigest()[:32]


def run_content(row: Row, samples: Sequence[Mapping[str, Any]] | None = None) -> RunContent:
    """What is written for a row.

    Args:
        row: a finished or failed cell.
        samples: texts to browse: one mapping for each, all with the same keys.
    """
    tags = {"grid": row.grid, "cell": row.digest, "mlflow.note.content": _note(row), "mlflow.source.name": "harness"}
    if row.reason:
        tags["reason"] = row.reason[:_LONGEST_TAG]
    if row.latency_greyed:
        tags[GREYED_TAG] = "; ".join(row.latency_greyed)[:_LONGEST_TAG]
    return RunContent(
        name=" | ".join(part for part in (row.model, row.task, row.schedule, _steps(row)) if part), cell=row.digest,
        failed=row.status == "failed", params=_params(row), metrics=metrics_of(row), tags=tags,
        started=_milliseconds(row.environment.get("started")), finished=_milliseconds(row.environment.get("finished")),
        samples=_table(samples) if samples else None,
    )  # fmt: skip


def _steps(row: Row) -> str:
    return "" if row.steps is None else f"{row.steps} steps"


def _params(row: Row) -> dict[str, str]:
    params = {name: str(getattr(row, name)) for name in _IDENTITY if getattr(row, name) is not None}
    for path in _SETTINGS:
        value: Any = row.settings
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None:
            params[path] = str(value)[:_LONGEST_PARAMETER]
    return params


def metric_name(name: str) -> str:
    """A name that MLflow takes: letters, digits and `_ - . / :`; "chrf++" becomes "chrfpp"."""
    return re.sub(r"[^A-Za-z0-9_\-./:]", "_", name.replace("+", "p").replace("%", "percent"))


def metrics_of(row: Row) -> dict[str, float]:
    """Every finite number of a row under MLflow's names: metrics, `latency/...`, `cost/...`; intervals as `low/...`, `high/...`.

    Raises:
        PublishError: two names become one.
    """
    values = list(row.metrics.items())
    values += [(f"latency/{name}", value) for name, value in row.latency.items()]
    amounts = [(f"{end}{name}", amount) for name, value in values for end, amount in _ends(value)]
    amounts += [(f"cost/{name}", amount) for name, amount in row.cost.items()]
    found: dict[str, float] = {}
    for name, amount in amounts:
        if amount is not None and math.isfinite(amount):
            if metric_name(name) in found:
                raise PublishError(
                    f"two metrics of {row.model} on {row.task} are both {metric_name(name)!r} to MLflow; rename one."
                )
            found[metric_name(name)] = float(f"{amount:.{_DIGITS}g}")
    return found


def _ends(value: Value) -> Iterable[tuple[str, float | None]]:
    return ("", value.value), (LOW, value.low), (HIGH, value.high)


def _milliseconds(moment: Any) -> int | None:
    if isinstance(moment, int | float):
        return int(moment * 1000)
    return int(datetime.fromisoformat(moment).timestamp() * 1000) if isinstance(moment, str) else None


def _note(row: Row) -> str:
    head = [f"**{code_cell(label(row))}** on {code_cell(row.task)} ({row.family}), grid {code_cell(row.grid)}", ""]
    if row.reason:
        head += [f"{row.status}: {markdown_cell(row.reason[:1000])}", ""]
    measured = [(name, value) for part in (row.metrics, row.latency) for name, value in sorted(part.items())]
    body = [_note_line(name, value) for name, value in measured]
    room = _LONGEST_TAG - sum(len(line) + 1 for line in head)
    while body and _size(body) > room:
        body.pop()
    return "\n".join([*head, *(grid_of_text(_NOTE_COLUMNS, body) if body else [])])


def _size(body: Sequence[tuple[str, ...]]) -> int:
    """Characters of a table whose columns are padded to their widest cell."""
    widths = (max(3, *map(len, column)) for column in zip(_NOTE_COLUMNS, *body, strict=True))
    return (len(body) + 2) * (sum(widths) + 3 * len(_NOTE_COLUMNS) + 2)


def _note_line(name: str, value: Value) -> tuple[str, ...]:
    interval = f"{number(value.low)} to {number(value.high)}" if value.low is not None and value.high is not None else ""
    remarks = "; ".join((*value.flags, *([value.reason] if value.reason else [])))
    cells = (name, number(value.value, _DIGITS), interval, "" if value.n is None else str(value.n), remarks, value.signature)
    return tuple(markdown_cell(cell) for cell in cells)


def _table(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    columns = list(samples[0])
    return {"columns": columns, "data": [[sample.get(column) for column in columns] for sample in samples]}


def description(sections: Sequence[Section], paths: Mapping[str, str]) -> str:
    """Markdown of an experiment: links to the views first, because MLflow folds it after the first heading.

    Args:
        sections: all sections of the experiment.
        paths: section title -> path of its view.
    """
    links = [f"[{code_cell(title)}]({path.removeprefix('/')})" for title, path in paths.items()]
    head = f"# Leaderboard: {' · '.join(links)}" if links else "# Leaderboard"
    counts = [f"- {code_cell(section.title)}: {summary(section)}" for section in sections]
    tail = "Skipped and pending cells have no run. Full precision and the signatures of all numbers: `harness table`."
    return "\n".join([head, "", *counts, "", tail])[:_LONGEST_TAG]
