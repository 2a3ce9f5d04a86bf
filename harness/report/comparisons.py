"""A comparison of two systems as text and as plain objects."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from harness.compare import Differing, Line, Report
from harness.report.escape import code_cell, markdown_cell
from harness.report.export import grid_of_text, interval, number
from harness.stats.comparison import Comparison
from harness.tracking.rows import Row, Value

_HEADER = ("value", "a", "b", "a - b", "p", "p, {correction}", "detectable", "verdict")
_NAMES = {"holm": "Holm", "bh": "Benjamini-Hochberg"}
_MEANT = {
    "holm": "Holm's correction is over the lines above",
    "bh": "Benjamini and Hochberg's correction is over the lines above: on average up to 5 % of what it calls different is not, "
    "so it is for exploring",
}


def as_record(report: Report) -> dict[str, Any]:
    """A report as plain objects."""
    return {
        "task": report.task, "family": report.family,
        **{side: {"model": rows[0].model, "digests": [row.digest for row in rows]} for side, rows in _sides(report)},
        "correction": report.correction, "lines": [_line_record(line) for line in report.lines],
        "differing_by": report.differing_by, "differing": [asdict(item) for item in report.differing],
    }  # fmt: skip


def _sides(report: Report) -> tuple[tuple[str, tuple[Row, ...]], ...]:
    return ("a", report.a), ("b", report.b)


def _line_record(line: Line) -> dict[str, Any]:
    found = asdict(line)
    if line.comparison is not None:
        found["comparison"]["difference"] = line.comparison.difference
    return found


def as_text(reports: Sequence[Report]) -> str:
    """Reports as Markdown: who is compared, a table of values, the items on which they differ most."""
    return "\n\n".join(_section(report) for report in reports) + "\n"


def _section(report: Report) -> str:
    lines = [f"## {code_cell(report.task)} / {report.family}", ""]
    lines += [f"- {side}: {_described(rows)}" for side, rows in _sides(report)]
    header = [name.format(correction=_NAMES[report.correction]) for name in _HEADER]
    lines += ["", *grid_of_text(header, [_cells(line) for line in report.lines if line.comparison]), ""]
    lines += [f"- {code_cell(line.name)}: not compared: {markdown_cell(line.reason)}" for line in report.lines if line.reason]
    lines += _footnotes(report)
    if report.differing:
        assert report.differing_by is not None
        lines += ["", f"Where {code_cell(report.differing_by)} differs most (first seed of each):", ""]
        lines += [text for item in report.differing for text in _item(item)]
    return "\n".join(lines).rstrip()


def _described(rows: Sequence[Row]) -> str:
    first, seeds = rows[0], ", ".join(str(row.seed) for row in rows)
    setting = [first.schedule or "", f"{first.steps} steps" if first.steps else "", first.decode, f"seeds {seeds}"]
    return " ".join(code_cell(part) for part in (first.model, *setting) if part)


def _cells(line: Line) -> list[str]:
    found = line.comparison
    assert found is not None
    return [
        code_cell(line.name), number(found.a), number(found.b), interval(_difference(found)), _p_value(found.p_value),
        _p_value(line.adjusted), number(found.detectable, 2), _verdict(line),
    ]  # fmt: skip


def _difference(found: Comparison) -> Value:
    low, high = (found.interval.low, found.interval.high) if found.interval else (None, None)
    return Value(value=found.difference, low=low, high=high)


def _p_value(p: float | None) -> str:
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _verdict(line: Line) -> str:
    if line.better:
        return f"{line.better} is better"
    if line.is_noise:
        return f"within the noise floor of {number(line.floor, 2)}"
    if line.comparison is None or line.comparison.p_value is None:
        return "too little varies"
    return "differ" if line.adjusted is not None and line.adjusted < 0.05 else "not told apart"


def _footnotes(report: Report) -> list[str]:
    kinds = {(line.comparison.test, line.comparison.basis): None for line in report.lines if line.comparison}
    told = [f"- p by {test}, over {basis}{_one_seed(basis)}." for test, basis in kinds]
    single = [side for side, rows in _sides(report) if len(rows) == 1]
    told += (
        [f"- {single[0]} has one training run: what other runs of it would give is not in the test."] if len(single) == 1 else []
    )
    detectable = "detectable: the true difference that is found with 80 % power"
    return [*told, f"- {_MEANT[report.correction]}; {detectable}."]


def _one_seed(basis: str) -> str:
    return ": one training run on each side, so it says nothing of other runs" if basis == "items" else ""


def _item(item: Differing) -> list[str]:
    asked = [f"  - asked: {markdown_cell(item.condition)}"] if item.condition else []
    wanted = [f"  - target: {markdown_cell(item.target)}"] if item.target else []
    written = [
        f"  - {side} ({number(value)}): {markdown_cell(text)}"
        for side, value, text in zip("ab", item.values, item.texts, strict=True)
    ]
    return [f"- {code_cell(item.id)}", *asked, *wanted, *written]
