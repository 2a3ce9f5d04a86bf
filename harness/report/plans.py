"""A plan for the eye and for machines: cells, skips with reasons, trainings, estimated time and memory."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from harness.display import duration
from harness.errors import GridError
from harness.grid import Grid
from harness.report.escape import code_cell, visible
from harness.report.export import grid_of_text
from harness.runner.hardware import available_cpus, check_machine, machine_memory
from harness.runner.keys import bare
from harness.runner.planned import Plan, PlannedCell

_COLUMNS = ("model", "task", "family", "schedule", "steps", "seed", "decode")


def notes(plan: Plan, grid: Grid) -> list[str]:
    """What a reader of the plan might not expect: metrics that say nothing of a cell, resources that this machine has not."""
    return [*_unmeasured(plan, grid), *_awaited(plan), *_beyond_this_machine(plan)]


def _unmeasured(plan: Plan, grid: Grid) -> list[str]:
    named = grid.metrics if grid.metrics != "default" else ()
    missing = {
        (metric, planned.cell.task.title, planned.cell.family): None
        for planned in plan.cells for metric in named if f"score/{bare(metric)}" not in planned.stages
    }  # fmt: skip
    return [f"metric {metric} is none for {family}: cells of {task} / {family} do without it" for metric, task, family in missing]


def _awaited(plan: Plan) -> list[str]:
    return ["cells with too few steps for how long their texts get are skipped once the texts are cut"] if plan.awaited else []


def _beyond_this_machine(plan: Plan) -> list[str]:
    found: dict[str, None] = {}
    for stage in {stage.kind: stage for stage in plan.stages.values()}.values():
        try:
            check_machine([stage], cpus=available_cpus(), memory=machine_memory())
        except GridError as error:
            found[str(error)] = None
    return list(found)


def as_record(plan: Plan, remarks: Sequence[str] = ()) -> dict[str, Any]:
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
        "notes": list(remarks),
    }  # fmt: skip


def kinds(plan: Plan) -> Counter[str]:
    """How many stages of each kind a plan has."""
    return Counter(stage.kind for stage in plan.stages.values())


def as_text(plan: Plan, remarks: Sequence[str] = ()) -> str:
    """The plan as text: a table of cells, the skipped ones, remarks, and what is left to be spent."""
    left = sum(1 for key in plan.stages if key not in plan.finished)
    lines = [f"Grid {plan.grid}: {len(plan.cells)} cells, {len(plan.skipped)} skipped.", ""]
    if plan.cells:
        lines += [*grid_of_text(_COLUMNS, [_line(cell, plan.grid) for cell in plan.cells]), ""]
    reasons: dict[str, list[str]] = {}
    for cell in plan.skipped:
        reasons.setdefault(cell.cell.reason or "", []).append(cell.cell.name)
    lines += [f"- skipped: {_line_of(reason)}: {_line_of('; '.join(names))}" for reason, names in reasons.items()]
    lines += [f"- note: {_line_of(remark)}" for remark in remarks]
    lines += [""] if reasons or remarks else []
    stages = ", ".join(f"{number} {kind}" for kind, number in kinds(plan).items())
    lines += [f"Stages: {len(plan.stages)} ({stages}); {len(plan.stages) - left} are in the store, {left} are left."]
    lines += [
        f"Left: {plan.estimate.trainings} trainings on {plan.estimate.tokens:,} canvas positions, very roughly "
        f"{duration(plan.estimate.seconds)} one after the other, {plan.estimate.memory:.1f} GiB for the largest stage.",
        "Nothing has been spent.",
    ]
    return "\n".join(lines) + "\n"


def _line_of(text: str) -> str:
    return visible(text.replace("\n", " "))


def _line(cell: PlannedCell, grid: str) -> list[str]:
    labels = cell.labels(grid)
    return ["" if labels[name] is None else code_cell(str(labels[name])) for name in _COLUMNS]
