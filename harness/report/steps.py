"""Quality against sampling steps as text, as plain objects and as plots."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from harness.compare.steps import Change, Curve, Curves, Held, Point
from harness.report.escape import code_cell, markdown_cell
from harness.report.export import grid_of_text, interval
from harness.report.figures import Drawing, save
from harness.stats.seeds import Pooled
from harness.tracking.rows import Value

_SETTING = ("model", "schedule", "decode", "seeds")


def as_record(found: Curves) -> dict[str, Any]:
    """The systems of one task and family as plain objects."""
    return {
        "task": found.task, "family": found.family, "metric": found.metric, "higher_is_better": found.higher_is_better,
        "perfect": found.perfect, "left_out": dict(found.left_out),
        "systems": [_system(curve) for curve in (*found.curves, *found.without_steps)],
    }  # fmt: skip


def _system(curve: Curve) -> dict[str, Any]:
    return {
        "model": curve.model, "schedule": curve.schedule, "decode": curve.decode, "kind": curve.kind, "oracle": curve.oracle,
        "remark": curve.remark,
        "points": [{"steps": point.steps, "seeds": list(point.seeds), **_estimate(point.pooled)} for point in curve.points],
        "held": [
            {
                "steps": held.steps, "oracle": _estimate(held.oracle), "parallel_decoding": _estimate(held.parallel),
                "learning": _estimate(held.learning), "reason": held.reason,
            }
            for held in curve.held
        ],
        "changes": [
            {"from": change.fewer, "to": change.more, **_estimate(change.gain), "rises": change.rises} for change in curve.changes
        ],
    }  # fmt: skip


def _estimate(found: Pooled | None) -> dict[str, Any]:
    ends = found.interval if found else None
    return {
        "value": found.value if found else None, "low": ends.low if ends else None, "high": ends.high if ends else None,
        "over": found.basis if found else None,
    }  # fmt: skip


def as_text(sections: Sequence[Curves]) -> str:
    """For each task and family: quality by steps, errors by cause, what does not rise with steps."""
    return "\n".join(_section(found) for found in sections)


def _section(found: Curves) -> str:
    better = "higher" if found.higher_is_better else "lower"
    lines = [f"## {code_cell(found.task)} / {found.family}: {code_cell(found.metric)} by sampling steps", ""]
    steps = sorted({int(point.steps or 0) for curve in found.curves for point in curve.points})
    header = (*_SETTING, *(f"{number} steps" for number in steps))
    lines += [f"{better.capitalize()} is better.", "", *grid_of_text(header, [_by_steps(curve, steps) for curve in found.curves])]
    if found.without_steps:
        body = [(*_setting(curve), _shown(curve.points[0].pooled)) for curve in found.without_steps]
        lines += ["", "Without steps:", "", *grid_of_text((*_SETTING, code_cell(found.metric)), body)]
    lines += ["", *_errors(found), *_notes(found)]
    return "\n".join(lines).rstrip() + "\n"


def _setting(curve: Curve) -> tuple[str, ...]:
    seeds = sorted({seed for point in curve.points for seed in point.seeds})
    return (*(code_cell(part or "") for part in (curve.model, curve.schedule, curve.decode)), ", ".join(map(str, seeds)))


def _by_steps(curve: Curve, steps: Sequence[int]) -> tuple[str, ...]:
    seeds = {seed for point in curve.points for seed in point.seeds}
    cells = {point.steps: _shown(point.pooled) + _fewer(point, seeds) for point in curve.points}
    return (*_setting(curve), *(cells.get(number, "") for number in steps))


def _fewer(point: Point, seeds: set[int]) -> str:
    """Which seeds a point has, where it lacks some that the curve has."""
    return "" if set(point.seeds) == seeds else f" (seeds {', '.join(map(str, point.seeds))})"


def _shown(found: Pooled | None) -> str:
    if found is None:
        return ""
    ends = found.interval
    return interval(Value(value=found.value, low=ends.low if ends else None, high=ends.high if ends else None))


def _errors(found: Curves) -> list[str]:
    """What every system that has an oracle lacks, by cause."""
    able = [curve for curve in found.curves if curve.held]
    if not able:
        return []
    steps = sorted({held.steps for curve in able for held in curve.held})
    header = ("model", "schedule", "decode", "oracle", "", *(f"{number} steps" for number in steps))
    body = [row for curve in able for row in _by_cause(curve, steps)]
    told = f"Parallel decoding: {found.perfect} less the oracle. " if found.perfect else ""
    title = (
        f"Held against the oracle of the same kernel, unmasking, schedule and steps. {told}Learning: the oracle less the system. "
        "Both are positive where quality is lacking. The oracle draws nearest to the law of texts among all that draw tokens "
        "independently; a system that prefers likely texts can exceed it in other values, and its learning is then below 0."
    )
    return [title, "", *grid_of_text(header, body), ""]


def _by_cause(curve: Curve, steps: Sequence[int]) -> list[tuple[str, ...]]:
    setting = (*_setting(curve)[:3], code_cell(curve.oracle or ""))
    held = {item.steps: item for item in curve.held}
    parts = {"oracle": lambda item: item.oracle, "parallel decoding": lambda item: item.parallel, "learning": _learning_of}
    return [
        (*setting, name, *(_shown(part(held[number])) if number in held else "" for number in steps))
        for name, part in parts.items()
    ]


def _learning_of(held: Held) -> Pooled | None:
    return held.learning


def _notes(found: Curves) -> list[str]:
    everything = (*found.curves, *found.without_steps)
    notes = [f"{_named(curve)}: {text}" for curve in found.curves for text in (_trend(curve), curve.remark) if text]
    refused = {(_named(curve), held.reason): None for curve in found.curves for held in curve.held if held.reason}
    notes += [f"{name}: not held against its oracle: {markdown_cell(str(reason))}" for name, reason in refused]
    notes += [f"{code_cell(cell)}: no value: {markdown_cell(reason)}" for cell, reason in found.left_out.items()]
    if any(len(point.seeds) == 1 for curve in everything for point in curve.points):
        notes.append("with one seed intervals are over items only, and say nothing of other trainings")
    return [f"- {note}" for note in notes]


def _named(curve: Curve) -> str:
    return " ".join(code_cell(part) for part in (curve.model, curve.schedule, curve.decode) if part)


def _trend(curve: Curve) -> str | None:
    """Where quality does not rise with steps, and where nobody can say; `None` where it always rises."""
    parts = {
        "does not rise beyond its interval": [change for change in curve.changes if change.gain.interval and not change.rises],
        "whether it rises cannot be said, there being no interval": [
            change for change in curve.changes if not change.gain.interval
        ],
    }
    told = [f"{said}: {', '.join(map(_between, changes))}" for said, changes in parts.items() if changes]
    return "; ".join(told) or None


def _between(change: Change) -> str:
    return f"{change.fewer} -> {change.more} ({_gain(change)})"


def _gain(change: Change) -> str:
    return f"falls: {_shown(change.gain)}" if change.falls else _shown(change.gain)


def plot(sections: Sequence[Curves], folder: Path) -> list[Path]:
    """One SVG for each task and family: quality against steps, oracles dashed, systems without steps dotted.

    Raises:
        HarnessError: matplotlib is not installed.
    """
    drawings = (Drawing(f"{found.task}-{found.family}-steps", (7.5, 4.5), partial(_draw, found)) for found in sections)
    return save(drawings, folder)


def _draw(found: Curves, figure: Any) -> None:
    axes = figure.add_subplot(1, 1, 1)
    for curve in found.curves:
        steps = [point.steps for point in curve.points]
        style = "--" if curve.kind == "oracle" else "-"
        (line,) = axes.plot(
            steps, [point.pooled.value for point in curve.points], style, marker=".", linewidth=1,
            label=f"{curve.model}, {curve.schedule}",
        )  # fmt: skip
        known = [(point.steps, point.pooled.interval) for point in curve.points if point.pooled.interval]
        axes.fill_between(
            [number for number, _ in known], [ends.low for _, ends in known], [ends.high for _, ends in known],
            alpha=0.12, color=line.get_color(), linewidth=0,
        )  # fmt: skip
    for place, curve in enumerate(found.without_steps):
        axes.axhline(
            curve.points[0].pooled.value, color=f"C{len(found.curves) + place}", linestyle=":", linewidth=1, label=curve.model
        )
    every = sorted({int(point.steps or 0) for curve in found.curves for point in curve.points})
    axes.set_xscale("log", base=2)
    axes.set_xticks(every, [str(number) for number in every])
    axes.set_title(f"{found.task} / {found.family}", fontsize=9)
    axes.set_xlabel("sampling steps", fontsize=8)
    axes.set_ylabel(found.metric, fontsize=8)
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=6, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
