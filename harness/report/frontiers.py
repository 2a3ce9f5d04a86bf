"""Frontiers of judge perplexity as text and as plain objects."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from harness.compare.frontier import BESIDE, ENTROPY, PERPLEXITY, Frontier, Point
from harness.report.escape import code_cell, markdown_cell
from harness.report.export import grid_of_text, interval, number
from harness.tracking.rows import Value

_HEADER = ("model", "schedule", "steps", "seeds", "judge_ppl at human entropy", "interval over")
_POINTS = ("model", "schedule", "steps", "decode", ENTROPY, PERPLEXITY, *BESIDE)


def as_record(frontier: Frontier) -> dict[str, Any]:
    """A frontier as plain objects."""
    return asdict(frontier)


def as_text(frontiers: Sequence[Frontier]) -> str:
    """One section for each task: systems at the human entropy, then every point with its entropy and repetition beside it."""
    tasks = {frontier.task: [other for other in frontiers if other.task == frontier.task] for frontier in frontiers}
    return "\n".join(_section(task, found) for task, found in tasks.items())


def _section(task: str, frontiers: Sequence[Frontier]) -> str:
    human = sorted({number(found.human) for found in frontiers if found.human is not None})
    lines = [f"## {code_cell(task)}: judge perplexity at the entropy of human text ({', '.join(human) or 'unknown'} nats)", ""]
    lines += [*grid_of_text(_HEADER, [_system(found) for found in frontiers]), ""]
    lines += [
        f"- {code_cell(' '.join(_identity(found)).rstrip())}: {markdown_cell(found.reason)}"
        for found in frontiers
        if found.reason
    ]
    points = [(*_identity(found), *_point(point)) for found in frontiers for point in found.points]
    lines += ["", "Every point that was sampled:", "", *grid_of_text(_POINTS, points)] if points else []
    return "\n".join(lines).rstrip() + "\n"


def _identity(found: Frontier) -> tuple[str, str, str]:
    return code_cell(found.model), code_cell(found.schedule or ""), "" if found.steps is None else str(found.steps)


def _system(found: Frontier) -> tuple[str, ...]:
    ends = found.interval
    value = Value(value=found.perplexity, low=ends.low if ends else None, high=ends.high if ends else None)
    return (*_identity(found), ", ".join(map(str, found.seeds)), interval(value), found.basis or "")


def _point(point: Point) -> tuple[str, ...]:
    return (code_cell(point.decode), *(number(point.values.get(name)) for name in (ENTROPY, PERPLEXITY, *BESIDE)))
