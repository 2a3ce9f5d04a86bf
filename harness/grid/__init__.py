"""Grid files: what to compare, on what, and how it is measured."""

from harness.grid.reading import find, load, shipped
from harness.grid.schema import BudgetEntry, DecodeEntry, Grid, Limits, ModelEntry, Resources, ScheduleEntry, TaskEntry

__all__ = [
    "BudgetEntry", "DecodeEntry", "Grid", "Limits", "ModelEntry", "Resources", "ScheduleEntry", "TaskEntry", "find", "load",
    "shipped",
]  # fmt: skip
