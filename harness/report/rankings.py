"""Rank bands as text and as plain objects."""

from collections.abc import Sequence
from typing import Any

from harness.compare.ranking import Ranked
from harness.report.escape import code_cell, markdown_cell
from harness.report.export import grid_of_text, interval
from harness.tracking.rows import Row, Value

_HEADER = ("band", "model", "schedule", "steps", "decode", "seeds")


def as_record(task: str, family: str, metric: str, ranked: Sequence[Ranked]) -> dict[str, Any]:
    """A ranking as plain objects."""
    return {"task": task, "family": family, "metric": metric, "systems": [_system(item) for item in ranked]}


def _system(item: Ranked) -> dict[str, Any]:
    ends = item.pooled.interval
    return {
        "band": item.band, "model": item.rows[0].model, "digests": [row.digest for row in item.rows], "value": item.pooled.value,
        "low": ends.low if ends else None, "high": ends.high if ends else None, "basis": item.pooled.basis,
        "seeds": item.pooled.seeds, "reason": item.reason,
    }  # fmt: skip


def as_text(title: str, metric: str, ranked: Sequence[Ranked]) -> str:
    """One table: bands, systems, means over seeds with their intervals."""
    body = [[*_identity(item), interval(_value(item)), item.pooled.basis] for item in ranked]
    lines = [f"## {code_cell(title)}", "", *grid_of_text((*_HEADER, code_cell(metric), "interval over"), body), ""]
    lines += [f"- {code_cell(item.rows[0].model)}: no band: {markdown_cell(item.reason)}" for item in ranked if item.reason]
    lines += ["- Systems of one band are not told from its first (5 %, Holm's correction over all pairs of this table)."]
    lines += ["- Where the interval is over items only, nothing is said of other training runs."] if _single(ranked) else []
    return "\n".join(lines) + "\n"


def _single(ranked: Sequence[Ranked]) -> bool:
    return any(item.pooled.basis == "items" for item in ranked)


def _identity(item: Ranked) -> list[str]:
    row: Row = item.rows[0]
    shown = (item.band, row.model, row.schedule, row.steps, row.decode, ", ".join(str(row.seed) for row in item.rows))
    return ["" if part is None else code_cell(str(part)) for part in shown]


def _value(item: Ranked) -> Value:
    ends = item.pooled.interval
    return Value(value=item.pooled.value, low=ends.low if ends else None, high=ends.high if ends else None)
