"""Scores of outputs from elsewhere as text."""

from collections.abc import Mapping

from harness.measurement import Measurement
from harness.report.escape import code_cell, markdown_cell
from harness.report.export import grid_of_text, interval
from harness.tracking.rows import Value


def as_text(measurements: Mapping[str, Measurement]) -> str:
    """A table of values with their intervals, then what a reader must know."""
    body = [
        [code_cell(name), _interval(found), str(found.n), code_cell(found.signature)]
        for name, found in measurements.items()
        if found.value is not None
    ]
    lines = grid_of_text(("value", "", "n", "signature"), body) if body else []
    notes = [(name, remark) for name, found in measurements.items() for remark in (*found.flags, *_absent(found))]
    return "\n".join([*lines, *(f"- {code_cell(name)}: {markdown_cell(remark)}" for name, remark in notes)]) + "\n"


def _absent(found: Measurement) -> tuple[str, ...]:
    return (f"no value: {found.reason}",) if found.value is None else ()


def _interval(found: Measurement) -> str:
    return interval(Value(value=found.value, low=found.low, high=found.high))
