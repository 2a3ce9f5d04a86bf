"""What a grid comes to: cells with their stages, and what is left of them to be done."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from harness.grid.expansion import Cell, schedule_name
from harness.runner.estimates import Estimate, estimate
from harness.runner.stage import Stage


@dataclass(frozen=True, slots=True)
class PlannedCell:
    """A cell with what is needed to tell its row.

    Attributes:
        digest: the same in every grid that holds the cell.
        stages: role ("fit", "score/bleu", "time/1", ...) -> stage key, in the order in which they are done.
        settings: the decode card.
        needs: stages of others without which one of these cannot be done, by what they are ("time/16: its baseline gpt").
    """

    cell: Cell
    digest: str
    stages: Mapping[str, str]
    settings: Mapping[str, Any]
    needs: Mapping[str, str] = field(default_factory=dict)

    def labels(self, grid: str) -> dict[str, Any]:
        """The row's identity."""
        cell = self.cell
        return {
            "digest": self.digest, "grid": grid, "model": cell.model.title, "task": cell.task.title, "family": cell.family,
            "schedule": schedule_name(cell.schedule) if cell.schedule else None, "steps": cell.steps, "seed": cell.seed,
            "decode": cell.decoded,
        }  # fmt: skip

    def snapshot(self, grid: str) -> dict[str, Any]:
        """Plain data from which the row is told."""
        parts = {"reason": self.cell.reason, "stages": self.stages, "needs": self.needs, "settings": self.settings}
        return {**self.labels(grid), **parts}


@dataclass(frozen=True)
class Plan:
    """What a grid comes to.

    Attributes:
        grid: its name.
        everything: all cells in the grid's order, skipped ones among them.
        stages: key -> stage, inputs first.
        finished: keys that have a record already.
        awaited: keys of stages that cut texts, where how long they get decides which cells are skipped: until they have a record,
            no cell is skipped for that.
        estimate: time and memory of what is left.
    """

    grid: str
    everything: list[PlannedCell]
    stages: dict[str, Stage]
    finished: frozenset[str] = frozenset()
    awaited: frozenset[str] = frozenset()
    estimate: Estimate = field(default_factory=lambda: estimate([]))

    @cached_property
    def cells(self) -> list[PlannedCell]:
        """Cells to be computed."""
        return [planned for planned in self.everything if planned.cell.reason is None]

    @cached_property
    def skipped(self) -> list[PlannedCell]:
        """Cells that mean nothing; `cell.reason` says why."""
        return [planned for planned in self.everything if planned.cell.reason is not None]

    @property
    def trainings(self) -> list[Stage]:
        """All fit stages, the judges' included."""
        return [stage for stage in self.stages.values() if stage.kind == "fit"]

    @property
    def beginning(self) -> "Plan":
        """The plan with no stage but the awaited ones."""
        return replace(self, stages={key: stage for key, stage in self.stages.items() if key in self.awaited})

    @cached_property
    def _cells_of(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for planned in self.cells:
            for key in (*planned.stages.values(), *planned.needs.values()):
                found.setdefault(key, []).append(planned.cell.name)
        return found

    def cells_of(self, key: str) -> tuple[str, ...]:
        """Names of the cells that need a stage."""
        return tuple(self._cells_of.get(key, ()))

    def snapshot(self) -> dict[str, Any]:
        """Plain data from which rows are told without any plug-in."""
        return {"grid": self.grid, "cells": [planned.snapshot(self.grid) for planned in self.everything]}
