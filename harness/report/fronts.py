"""Fronts of quality and latency as text and as plain objects."""

from collections.abc import Sequence
from typing import Any

from harness.compare.draws import SURE
from harness.compare.pareto import Front, Placed
from harness.report.escape import code_cell, markdown_cell
from harness.report.export import grid_of_text, number
from harness.tracking.rows import Row

_HEADER = ("model", "schedule", "steps", "decode", "seeds")


def as_record(front: Front) -> dict[str, Any]:
    """A front as plain objects."""
    return {
        "task": front.task, "family": front.family, "metric": front.metric, "device": front.device,
        "systems": [_system(item) for item in front.placed], "left_out": dict(front.left_out),
    }  # fmt: skip


def _system(item: Placed) -> dict[str, Any]:
    first = item.rows[0]
    return {
        "model": first.model, "schedule": first.schedule, "steps": first.steps, "decode": first.decode,
        "digests": [row.digest for row in item.rows], "quality": item.quality, "latency_ms": item.milliseconds,
        "membership": item.membership, "dominated_by": list(item.dominated_by), "greyed": list(item.greyed),
    }  # fmt: skip


def as_text(fronts: Sequence[Front]) -> str:
    """One table for each front, best quality first."""
    return "\n".join(_section(front) for front in fronts)


def _section(front: Front) -> str:
    header = (*_HEADER, code_cell(front.metric), "latency, ms", "on the front", "dominated by")
    body = [
        [
            *_identity(item.rows), number(item.quality), _milliseconds(item), f"{item.membership:.2f}",
            ", ".join(map(code_cell, item.dominated_by)),
        ]
        for item in front.placed
    ]  # fmt: skip
    lines = [f"## {code_cell(front.task)} / {front.family}, on {code_cell(front.device)}", "", *grid_of_text(header, body), ""]
    lines += [f"- {code_cell(name)}: {markdown_cell(reason)}" for name, reason in front.left_out.items()]
    greyed = {code_cell(item.rows[0].model): markdown_cell("; ".join(item.greyed)) for item in front.placed if item.greyed}
    lines += [f"- {name}, greyed: {reasons}" for name, reasons in greyed.items()]
    lines += [
        f"- on the front: share of draws in which nothing beats it in both; dominated: beaten in both in {SURE:.0%} of them."
    ]
    return "\n".join(lines) + "\n"


def _milliseconds(item: Placed) -> str:
    shown = number(item.milliseconds)
    return f"~~{shown}~~" if item.greyed else shown


def _identity(rows: Sequence[Row]) -> list[str]:
    row = rows[0]
    shown = (row.model, row.schedule, row.steps, row.decode, ", ".join(str(each.seed) for each in rows))
    return ["" if part is None else code_cell(str(part)) for part in shown]
