"""A plan for the eye and for machines: cells, skips with reasons, trainings, estimated time and memory."""

from collections import Counter
from typing import Any

from harness.display import duration
from harness.report.escape import code_cell, markdown_cell
from harness.report.export import grid_of_text
from harness.runner.plan import Plan, PlannedCell

_COLUMNS = ("model", "task", "family", "schedule", "steps", "seed", "decode")


def as_record(plan: Plan) -> dict[str, Any]:
    """The plan as plain objects."""
    estimate, left = plan.estimate, [key for key in plan.stages if key not in plan.finished]
    return {
        "grid": plan.grid,
        "cells": [{**cell.labels(plan.grid), "stages": dict(cell.stages)} for cell in plan.cells],
        "skipped": [{**cell.labels(plan.grid), "reason": cell.cell.reason} for cell in plan.skipped],
        "trainings": len(plan.trainings),
        "stages": {"total": len(plan.stages), "left": len(left), "kinds": dict(kinds(plan))},
        "estimate": {
            "trainings": estimate.trainings, "tokens": estimate.tokens, "seconds": estimate.seconds,
            "memory_gib": estimate.memory,
        },
    }  # fmt: skip


def kinds(plan: Plan) -> Counter[str]:
    """How many stages of each kind a plan has."""
    return Counter(stage.kind for stage in plan.stages.values())


def as_text(plan: Plan) -> str:
    """The plan as text: a table of cells, the skipped ones, and what is left to be spent."""
    left = sum(1 for key in plan.stages if key not in plan.finished)
    lines = [f"Grid {plan.grid}: {len(plan.cells)} cells, {len(plan.skipped)} skipped.", ""]
    if plan.cells:
        lines += [*grid_of_text(_COLUMNS, [_line(cell, plan.grid) for cell in plan.cells]), ""]
    reasons: dict[str, list[str]] = {}
    for cell in plan.skipped:
        reasons.setdefault(cell.cell.reason or "", []).append(cell.cell.name)
    lines += [f"- skipped: {markdown_cell(reason)}: {code_cell('; '.join(names))}" for reason, names in reasons.items()]
    lines += [""] if reasons else []
    stages = ", ".join(f"{number} {kind}" for kind, number in kinds(plan).items())
    lines += [f"Stages: {len(plan.stages)} ({stages}); {len(plan.stages) - left} are in the store, {left} are left."]
    lines += [
        f"Left: {plan.estimate.trainings} trainings on {plan.estimate.tokens:,} canvas positions, very roughly "
        f"{duration(plan.estimate.seconds)} one after the other, {plan.estimate.memory:.1f} GiB for the largest stage.",
        "Nothing has been spent.",
    ]
    return "\n".join(lines) + "\n"


def _line(cell: PlannedCell, grid: str) -> list[str]:
    labels = cell.labels(grid)
    return ["" if labels[name] is None else code_cell(str(labels[name])) for name in _COLUMNS]
