"""Canaries of a section: which of them are exposed, and which values are fooled by one."""

from collections.abc import Sequence

from harness.leaderboard import bare
from harness.report.sections import Section
from harness.tracking.rows import Row, Value

CEILING = "human"
_REAL = ("diffusion", "autoregressive")


def canary_lines(section: Section) -> list[str]:
    """What the canaries of a section show: values that rank one above a real model, then by what each one is exposed.

    A canary is exposed by a value that says it must, where every real model of the section is strictly better; where one is
    not, be it that all of them score 0, that is said.
    """
    real = [row for row in section.rows if _kind(row) in _REAL]
    canaries = [row for row in section.rows if _kind(row) == "floor" and name_of(row) != CEILING]
    if not real or not canaries:
        return []
    fooled = [line for name in section.metrics if (line := _fooled(name, canaries, real, shown=name in section.headlines))]
    exposing = {value: shown for row in section.rows for value, shown in row.metrics.items() if shown.exposes}
    return [*fooled, *_exposed(canaries, real, exposing)]


def name_of(row: Row) -> str:
    """Registered name of a row's model, whatever its label."""
    return str((row.settings.get("design") or {}).get("name") or bare(row.model))


def _kind(row: Row) -> str | None:
    return (row.settings.get("design") or {}).get("kind")


def _fooled(name: str, canaries: Sequence[Row], real: Sequence[Row], *, shown: bool) -> str | None:
    pairs = [(canary, model) for canary in canaries for model in real if shown and _better(canary, model, name)]
    if not pairs:
        return None
    above, below = (sorted({row.model for row in side}) for side in zip(*pairs, strict=True))
    return f"{name} ranks {', '.join(above)} above {', '.join(below)}: by itself it is no evidence here"


def _exposed(canaries: Sequence[Row], real: Sequence[Row], exposing: dict[str, Value]) -> list[str]:
    lines: list[str] = []
    for label in sorted({row.model for row in canaries}):
        rows = [row for row in canaries if row.model == label]
        wanted = [value for value, found in exposing.items() if name_of(rows[0]) in found.exposes]
        hit = [value for value in wanted if _below_all(rows, real, value)]
        missed = [value for value in wanted if value not in hit]
        if wanted:
            told = f"exposed by {', '.join(hit)}" if hit else "exposed by nothing"
            missing = f"; some model is no better by {', '.join(missed)}" if missed else ""
            lines.append(f"canary {label}: {told}{missing}")
    return lines


def _below_all(rows: Sequence[Row], real: Sequence[Row], name: str) -> bool:
    """Whether every real model that has the value is better; a canary without one, such as an empty text, counts as below."""
    measured = [model for model in real if _value(model, name) is not None]
    known = [row for row in rows if _value(row, name) is not None]
    return bool(measured) and all(_better(model, row, name) for model in measured for row in known)


def _better(one: Row, other: Row, name: str) -> bool:
    """Whether a value of one row is strictly better than another's; `False` where one is absent or neither end is better."""
    values = [_value(row, name) for row in (one, other)]
    higher = one.metrics[name].higher_is_better if name in one.metrics else None
    if None in values or higher is None:
        return False
    first, second = (float(value or 0.0) for value in values)
    return first > second if higher else first < second


def _value(row: Row, name: str) -> float | None:
    return row.metrics[name].value if name in row.metrics else None
