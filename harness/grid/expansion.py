"""From a grid to its cells: the product of the axes, with what means nothing collapsed and what cannot be skipped."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from harness.design import Design, Family
from harness.errors import GridError
from harness.grid.catalogue import Catalogue
from harness.grid.schema import DecodeEntry, Grid, ModelEntry, NumericsEntry, TaskEntry

if TYPE_CHECKING:
    from harness.schedules.names import SchedulePlan


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination of a grid's axes.

    Attributes:
        schedule: after "native" was resolved and checked; `None` for models without one, and for cells skipped before it
            mattered.
        steps: `None` for models without steps.
        reason: why the cell is skipped; `None` where it is to be computed.
        numerics: other numerics under which an equal cell is sampled again; `None` for that cell itself.
    """

    model: ModelEntry
    design: Design
    task: TaskEntry
    family: Family
    schedule: "SchedulePlan | None"
    steps: int | None
    seed: int
    decode: DecodeEntry
    reason: str | None = None
    numerics: NumericsEntry | None = None

    @property
    def identity(self) -> tuple[Any, ...]:
        """What tells the cell from the others of its grid."""
        schedule = schedule_name(self.schedule) if self.schedule else None
        return self.model.title, self.task.title, self.family, schedule, self.steps, self.decoded, self.seed

    @property
    def decoded(self) -> str:
        """Name of the decoding, with the numerics where they are others."""
        return f"{self.decode.title} again {self.numerics.title}" if self.numerics else self.decode.title

    @property
    def name(self) -> str:
        """One line that says which cell it is."""
        schedule = f" {schedule_name(self.schedule)}" if self.schedule else ""
        steps = f" {self.steps} steps" if self.steps else ""
        return f"{self.model.title} {self.task.title}:{self.family}{schedule}{steps} {self.decoded} seed {self.seed}"


@cache
def schedule_name(schedule: "SchedulePlan") -> str:
    """A schedule as rows name it."""
    return schedule.specification


def expand(grid: Grid, catalogue: Catalogue | None = None) -> list[Cell]:
    """All cells of a grid, without repetition, those of one training next to each other.

    Raises:
        GridError: a plug-in that cannot be loaded, options that it refuses, an unknown schedule, a baseline that is not
            autoregressive.
    """
    catalogue = catalogue or Catalogue(grid.folder)
    _check_baseline(grid, catalogue)
    cells = {cell.identity: cell for task in grid.tasks for cell in _of_task(grid, task, catalogue)}
    return [*cells.values(), *_again(grid, cells.values())]


def _again(grid: Grid, cells: Iterable[Cell]) -> Iterator[Cell]:
    """One cell of each task and family once more under each of the grid's numerics: the first trained model's, else the first."""
    places: dict[tuple[str, Family], list[Cell]] = {}
    for cell in cells:
        if cell.reason is None:
            places.setdefault((cell.task.title, cell.family), []).append(cell)
    for group in places.values():
        cell = next((cell for cell in group if cell.design.is_trained), group[0])
        yield from (replace(cell, numerics=entry, reason=_numerics_refusal(cell, entry)) for entry in grid.numerics)


def _numerics_refusal(cell: Cell, entry: NumericsEntry) -> str | None:
    if entry.dtype is None or cell.design.is_trained:
        return None
    return f"only a network can be sampled in {entry.dtype}; {cell.task.title}:{cell.family} has no trained model"


def _check_baseline(grid: Grid, catalogue: Catalogue) -> None:
    able = [entry.title for entry in grid.models if catalogue.design(entry).kind == "autoregressive"]
    for key, label in grid.baselines.items():
        if label not in able:
            there = ", ".join(able) or "none"
            raise GridError(f"{grid.place_of(key)}{key} {label!r} is not autoregressive; those of this grid that are: {there}.")


def _of_task(grid: Grid, task: TaskEntry, catalogue: Catalogue) -> Iterator[Cell]:
    offered = catalogue.task(task).families
    for family in task.families or offered:
        for model in grid.models:
            yield from _of_model(grid, task, family, model, catalogue, family in offered)


def _of_model(
    grid: Grid, task: TaskEntry, family: Family, model: ModelEntry, catalogue: Catalogue, offered: bool
) -> Iterator[Cell]:
    design = catalogue.design(model)
    first = Cell(model, design, task, family, None, None, grid.seeds[0], grid.decode[0])
    reason = _refusal(grid, first, offered)
    if reason is not None:
        yield replace(first, reason=reason)
        return
    for schedule in catalogue.schedules(grid, design):
        reason = _schedule_refusal(catalogue.model(model.name), design, schedule)
        if reason is not None:
            yield replace(first, schedule=schedule, reason=reason)
            continue
        yield from _of_schedule(grid, replace(first, schedule=schedule))


def _of_schedule(grid: Grid, first: Cell) -> Iterator[Cell]:
    for seed in grid.seeds:
        for steps in grid.steps if first.schedule is not None else (None,):
            for decode in grid.decode:
                cell = replace(first, seed=seed, steps=steps, decode=decode)
                yield replace(cell, reason=_decode_refusal(cell) or _steps_refusal(cell))


def _refusal(grid: Grid, cell: Cell, offered: bool) -> str | None:
    if not offered:
        return f"task {cell.task.name} has no family {cell.family!r}"
    if cell.family not in cell.design.families:
        return f"{cell.model.title} does {', '.join(cell.design.families) or 'nothing by itself'}, not {cell.family}"
    if cell.model.name == grid.judge.name:
        return "the judge of this grid cannot be a contestant: it is trained on other data with a larger budget"
    return None


def _schedule_refusal(model: Any, design: Design, schedule: "SchedulePlan | None") -> str | None:
    if schedule is None:
        return None
    if schedule.grain not in design.grains:
        return f"{design.name} bears schedules of grain {', '.join(design.grains)}; {schedule} has grain {schedule.grain}"
    if design.closed_form and schedule.has_steps:
        return f"{design.name} needs a schedule in closed form; {schedule} has steps"
    if schedule.needs_kernel and not hasattr(model, "kernel_for"):
        return f"{schedule} is solved for a discrete kernel; {design.name} has none"
    return None


def _decode_refusal(cell: Cell) -> str | None:
    decode = cell.decode
    if cell.design.kind != "autoregressive":
        if decode.method != "sample":
            return f"{decode.method} search needs an autoregressive model; {cell.model.title} can only sample"
        if not cell.design.temperature and (decode.temperature, decode.top_p) != (1.0, 1.0):
            return f"{cell.model.title} takes no temperature or top_p: it samples from its own law only"
        if decode.top_p != 1.0:
            return (
                f"{cell.model.title} takes a temperature and no top_p; some systems cut their law by a key, `top_k` or `nucleus`"
            )
    if cell.design.predicts == "nothing" and decode.candidates > 1:
        return f"{cell.model.title} writes the same text every time: more candidates say nothing new"
    if decode.method != "sample" and cell.family == "ucg":
        return f"{decode.method} search without a condition writes the same text every time"
    return None


def _steps_refusal(cell: Cell) -> str | None:
    chain = (cell.schedule.steps if cell.schedule is not None else None) or cell.design.chain
    if chain is not None and cell.steps is not None and cell.steps > chain:
        return f"{cell.steps} steps on a chain of {chain}"
    parts = cell.design.equal_parts
    if cell.steps is not None and cell.steps % parts:
        return f"{cell.model.title} writes {parts} blocks with equally many steps; {cell.steps} steps are no multiple of {parts}"
    return None
