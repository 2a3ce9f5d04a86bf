"""Systems beside the autoregressive baseline at its quality and at its FLOPs, as text and as plain objects."""

from collections.abc import Sequence
from typing import Any

from harness.compare.match import Level, Match, Reached
from harness.report.escape import code_cell, markdown_cell
from harness.report.export import grid_of_text, interval, number
from harness.stats.intervals import Interval
from harness.tracking.rows import Value

_SYSTEM = ("model", "schedule", "decode", "seeds")


def as_record(found: Match) -> dict[str, Any]:
    """One task and family as plain objects."""
    return {
        "task": found.task, "family": found.family, "metric": found.metric, "higher_is_better": found.higher_is_better,
        "baseline": {
            "model": found.baseline, "setting": found.reference, "quality": found.quality, "latency_ms": found.milliseconds,
            "device": found.device, "greyed": list(found.greyed),
        },
        "quality_matched": [_reached(item) for item in found.reached], "compute_matched": [_level(item) for item in found.levels],
        "left_out": dict(found.left_out), "flags": list(found.flags),
    }  # fmt: skip


def _reached(item: Reached) -> dict[str, Any]:
    return {
        **_system(item), "steps": list(item.steps), "reaching": list(item.reaching), "reached_in": item.share,
        "time_ratio": item.ratio, **_ends(item.interval), "greyed": list(item.greyed),
    }  # fmt: skip


def _level(item: Level) -> dict[str, Any]:
    return {
        **_system(item), "steps": item.steps, "flops_per_request": item.flops, "baseline": item.baseline,
        "flops_ratio": item.ratio, "difference": item.difference, **_ends(item.interval), "reason": item.reason,
    }  # fmt: skip


def _system(item: Reached | Level) -> dict[str, Any]:
    return {"model": item.model, "schedule": item.schedule, "decode": item.decode, "seeds": list(item.seeds)}


def _ends(found: Interval | None) -> dict[str, float | None]:
    return {"low": found.low if found else None, "high": found.high if found else None}


def as_text(sections: Sequence[Match]) -> str:
    """For each task and family: times at the baseline's quality, quality at no more FLOPs, and what could not be matched."""
    return "\n".join(_section(found) for found in sections)


def _section(found: Match) -> str:
    title = f"## {code_cell(found.task)} / {found.family}: {code_cell(found.metric)}"
    lines = [f"{title}, beside {code_cell(found.baseline)}" if found.baseline else title, ""]
    lines += [*_by_quality(found), *_by_compute(found), *(f"- {note}" for note in _notes(found))]
    return "\n".join(lines).rstrip() + "\n"


def _by_quality(found: Match) -> list[str]:
    if not found.reached:
        return []
    told = (
        f"Quality-matched: the time to reach {number(found.quality)}, the score of {code_cell(found.baseline or '')} "
        f"({code_cell(found.reference or '')}), over its "
        f"{_struck(number(found.milliseconds), found.greyed)} ms, on {code_cell(found.device or '')}."
    )
    header = (*_SYSTEM, "steps", "reached with", "reached in", "time over the baseline's")
    body = [
        (*_identity(item), _listed(item.steps), _listed(item.reaching) or "none", f"{_percent(item)} of draws", _ratio(item))
        for item in found.reached
    ]
    return [told, "", *grid_of_text(header, body), ""]


def _ratio(item: Reached) -> str:
    if item.ratio is None:
        return f"reached in {_percent(item)} of draws"
    return _struck(_with_ends(item.ratio, item.interval), item.greyed)


def _struck(shown: str, greyed: Sequence[str]) -> str:
    return f"~~{shown}~~" if greyed else shown


def _percent(item: Reached) -> str:
    return f"{number(100 * item.share)} %"


def _by_compute(found: Match) -> list[str]:
    if not found.levels:
        return []
    better = "higher" if found.higher_is_better else "lower"
    told = (
        f"Compute-matched: {code_cell(found.metric)} less that of the baseline's best setting that takes no more FLOPs for a "
        f"request; {better} values are better, and differences are turned so that above 0 the system is the better one."
    )
    header = (*_SYSTEM, "steps", "FLOPs", "baseline", "FLOPs over the baseline's", "difference")
    body = [
        (
            *_identity(item), str(item.steps), f"{item.flops:.3g}", code_cell(item.baseline or ""), number(item.ratio, 3),
            markdown_cell(item.reason) if item.reason else _with_ends(item.difference, item.interval),
        )
        for item in found.levels
    ]  # fmt: skip
    return [told, "", *grid_of_text(header, body), ""]


def _with_ends(value: float | None, ends: Interval | None) -> str:
    return interval(Value(value=value, low=ends.low if ends else None, high=ends.high if ends else None))


def _identity(item: Reached | Level) -> tuple[str, ...]:
    return (*(code_cell(part or "") for part in (item.model, item.schedule, item.decode)), _listed(item.seeds))


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _notes(found: Match) -> list[str]:
    greyed = {f"{code_cell(found.baseline or '')} {code_cell(found.reference or '')}": found.greyed} if found.greyed else {}
    greyed |= {
        " ".join(code_cell(part) for part in (item.model, item.schedule, item.decode) if part): item.greyed
        for item in found.reached
        if item.greyed and item.ratio is not None
    }
    notes = [f"{code_cell(title)}: {markdown_cell(reason)}" for title, reason in found.left_out.items()]
    notes += [f"{name}, greyed: {markdown_cell('; '.join(reasons))}" for name, reasons in greyed.items()]
    notes += [f"FLOPs are {markdown_cell(flag)}" for flag in found.flags]
    if found.reached:
        notes.append(
            "reached with: steps whose measured score is the baseline's or better; reached in: draws in which any of the steps "
            "reaches it; time: the fastest that does, over those draws, and only from 95 % of them on"
        )
    if any(len(seeds) == 1 for seeds in (*(item.seeds for item in found.reached), *(item.seeds for item in found.levels))):
        notes.append("with one seed intervals are over items and calls only, and say nothing of other trainings")
    return notes
