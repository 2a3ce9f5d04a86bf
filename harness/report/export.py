"""The leaderboard as Markdown, CSV and JSON. Absent values stay empty; JSON holds no NaN."""

import csv
import io
import json
import math
import re
from collections.abc import Sequence
from typing import Any

from harness.leaderboard import Cell, cell_of, columns_of
from harness.measurement import BOUND
from harness.report.canaries import canary_lines
from harness.report.escape import code_cell, markdown_cell, visible
from harness.report.sections import LATENCIES, Section, sections
from harness.tracking.rows import Row, Value

UNRANKED = {
    "smoke": "its budget proves nothing; not ranked",
    "test": "made for the test suite; its numbers mean nothing; not ranked",
    "quick": "intervals are shown; not ranked",
}
_BEYOND_ASCII_CONTROL = re.compile("[\x7f-\x9f]")
_IDENTITY = ("model", "schedule", "steps", "seed", "decode")
_ALWAYS = ("model", "schedule", "steps", "seed")


def number(value: float | None, digits: int = 4) -> str:
    """A number with so many significant digits; empty where there is none."""
    if value is None or not math.isfinite(value):
        return ""
    if value == round(value) or abs(value) >= 10**digits:
        return f"{value:,.0f}"
    return f"{value:.{digits - 1 - _magnitude(value)}f}" if abs(value) >= 1e-4 else f"{value:.1e}"


def interval(value: Value) -> str:
    """A value with its 95 % interval, as precise as the interval's width allows: `71.2 [69.1, 73.3]`."""
    if value.value is None or not math.isfinite(value.value):
        return ""
    if value.low is None or value.high is None or not 0 < value.high - value.low < math.inf:
        return number(value.value)
    decimals = min(6, max(0, 1 - _magnitude((value.high - value.low) / 2)))
    return f"{value.value:,.{decimals}f} [{value.low:,.{decimals}f}, {value.high:,.{decimals}f}]"


def _magnitude(value: float) -> int:
    return math.floor(math.log10(abs(value)) + 1e-9)


def as_json(rows: Sequence[Row]) -> str:
    """Rows as a JSON list, as `Row.from_json` reads it; what is not finite is null."""
    text = json.dumps([finite(row.to_json()) for row in rows], indent=2, ensure_ascii=False, allow_nan=False)
    return _BEYOND_ASCII_CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def finite(value: Any) -> Any:
    """Plain objects with every NaN and infinity replaced by `None`."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value


def as_csv(rows: Sequence[Row]) -> str:
    """Rows as CSV with the columns of `leaderboard.frame`; what is absent is empty, control characters are written out."""
    columns, out = columns_of(rows), io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_csv_cell(cell_of(row, column)) for column in columns] for row in rows)
    return out.getvalue()


def _csv_cell(value: Cell) -> Cell:
    if isinstance(value, float) and not math.isfinite(value):
        return ""
    return "" if value is None else visible(value) if isinstance(value, str) else value


def as_markdown(rows: Sequence[Row], *, sort: str | None = None) -> str:
    """One table for each task and family, with that family's headline metrics and their intervals.

    Args:
        rows: rows of one or more grids.
        sort: column to sort by; `None` for each section's headline metric.
    """
    if not rows:
        return "No cells yet. `harness run GRID` makes some.\n"
    return "\n".join(_section(section, sort) for section in sections(rows, sort=sort))


def _section(section: Section, sort: str | None = None) -> str:
    lines = [f"## {code_cell(section.title)}", "", summary(section, sort), ""]
    notes: list[str] = []
    if section.rows:
        lines += [*grid_of_text(*_table(section, notes)), ""]
    lines += [f"- {note}" for note in (*notes, *_basis(section), *_noise(section), *_warnings(section), *_unfinished(section))]
    return "\n".join(lines).rstrip() + "\n"


def _basis(section: Section) -> list[str]:
    """What the intervals speak of: every row is one training run."""
    shown = any(row.metrics[name].low is not None for row in section.rows for name in section.headlines if name in row.metrics)
    return (
        ["intervals are over items only, one seed each: nothing is said of other training runs (harness rank)"] if shown else []
    )


def _noise(section: Section) -> list[str]:
    """The noise floor of the values that are shown; no smaller difference is an improvement."""
    floors = {name: section.floor[name] for name in section.headlines if name in section.floor}
    if not floors:
        return []
    again = sorted({f"{code_cell(row.model)} ({code_cell(row.decode)})" for row in section.replicas})
    moved = [f"{markdown_cell(name)} {number(floor, 2)}" for name, floor in floors.items() if floor]
    return [f"noise floor, by sampling {', '.join(again)}: {', '.join(moved) or 'nothing moved'}"]


def summary(section: Section, sort: str | None = None) -> str:
    """How many cells a section has, what they are sorted by (the headline metric by default) and what the profile is worth."""
    counts = {
        "done": section.rows, "failed": section.failed, "skipped": section.skipped, "pending": section.pending,
    }  # fmt: skip
    text = ", ".join(f"{len(items)} {status}" for status, items in counts.items() if items)
    worth = "".join(f" Profile `{name}`: {UNRANKED.get(name, 'not ranked')}." for name in section.unranked)
    column = sort or section.headline
    order = f" Sorted by {markdown_cell(column)}." if column and section.rows else ""
    return f"{text} cells.{order}{worth}"


def _table(section: Section, notes: list[str]) -> tuple[list[str], list[list[str]]]:
    identity = [name for name in _IDENTITY if name in _ALWAYS or len({getattr(row, name) for row in section.rows}) > 1]
    timed = {name for row in section.rows for name, value in row.latency.items() if value.value is not None}
    latencies = [name for name in LATENCIES if name in timed]
    shown = [*(("metrics", name) for name in section.headlines), *(("latency", name) for name in latencies)]
    header = [*identity, *(name for _, name in shown), "parameters"]
    body = [
        [
            *("" if getattr(row, name) is None else code_cell(str(getattr(row, name))) for name in identity),
            *(_measured(getattr(row, part).get(name), notes) for part, name in shown),
            number(row.cost.get("parameters")),
        ]
        for row in section.rows
    ]
    return [code_cell(name) for name in header], body


def _measured(value: Value | None, notes: list[str]) -> str:
    if value is None:
        return ""
    remarks = [flag for flag in value.flags if flag != BOUND]
    remarks += [value.reason] if value.value is None and value.reason else []
    marks = [_footnote(markdown_cell(remark), notes) for remark in remarks]
    bound = "<=" if BOUND in value.flags and value.value is not None else ""
    shown = interval(value)
    return " ".join(filter(None, [bound, f"~~{shown}~~" if value.greyed and shown else shown, *marks]))


def _footnote(text: str, notes: list[str]) -> str:
    for index, note in enumerate(notes, 1):
        if note == f"({index}) {text}":
            return f"({index})"
    notes.append(f"({len(notes) + 1}) {text}")
    return f"({len(notes)})"


def _warnings(section: Section) -> list[str]:
    mixed = [name for name in section.headlines if len(_signatures(section, name)) > 1]
    differ = [f"{markdown_cell(name)}: signatures differ between rows; compare only where they agree." for name in mixed]
    return [*differ, *map(markdown_cell, (*section.shortfalls, *canary_lines(section)))]


def _signatures(section: Section, metric: str) -> set[str]:
    values = [row.metrics[metric] for row in section.rows if metric in row.metrics]
    return {value.signature for value in values if value.value is not None}


def _unfinished(section: Section) -> list[str]:
    """What became of the other cells: one line for each reason."""
    groups: dict[tuple[str, str], list[str]] = {}
    for row in (*section.failed, *section.skipped, *section.pending):
        groups.setdefault((row.status, row.reason or "not run yet"), []).append(code_cell(label(row)))
    return [f"{status}: {'; '.join(names)}: {markdown_cell(reason)}" for (status, reason), names in groups.items()]


def label(row: Row) -> str:
    """One line that names a cell of a task and family; plain sampling goes without saying."""
    steps, decode = None if row.steps is None else f"{row.steps} steps", None if row.decode == "sample" else row.decode
    return ", ".join(part for part in (row.model, row.schedule, steps, decode, f"seed {row.seed}") if part)


def grid_of_text(header: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table whose columns are padded, so that it reads well as plain text too."""
    widths = [max(3, *map(len, column)) for column in zip(header, *body, strict=True)]
    lines = [_line(header, widths), "|" + "|".join("-" * (width + 2) for width in widths) + "|"]
    return lines + [_line(cells, widths) for cells in body]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"
