"""The plug-ins that a grid names, loaded once each."""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from harness.construction import begins_with, check_taken, design_of, least_steps, sampling_keys
from harness.contracts import Checkpoint, ModelClass, Pretraining, Task
from harness.design import Design
from harness.errors import GridError, HarnessError, ModelError, UnknownName
from harness.grid.schema import DecodeEntry, Grid, ModelEntry, PluginEntry, ScheduleEntry, TaskEntry
from harness.measurement import Metric
from harness.registry import Group, Target, resolve

if TYPE_CHECKING:
    from harness.schedules.names import SchedulePlan

CONTRACTS: dict[Group, tuple[str, ...]] = {
    "models": ("design", "fit", "generate", "likelihood", "save", "load"),
    "tasks": ("name", "version", "families", "fingerprint", "check", "load", "metrics"),
    "metrics": ("name", "version", "families", "needs", "values"),
}

_CONTRACT: dict[Group, str] = {
    "models": "harness/contracts.py", "tasks": "harness/contracts.py", "metrics": "harness/measurement.py",
}  # fmt: skip


@dataclass
class Catalogue:
    """Models, tasks and metrics by name, so that a grid of 10,000 cells asks for each of them once.

    Attributes:
        folder: where `file.py:Name` is looked for.
    """

    folder: Path
    _made: dict[tuple[Any, ...], Any] = field(default_factory=dict)

    def _once(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def target(self, group: Group, name: str) -> Target:
        """Where a name leads to."""
        return cast(Target, self._once((group, name), lambda: resolve(group, name, self.folder)))

    def model(self, name: str, place: str = "") -> ModelClass:
        """The class of a model; with `place` errors begin."""
        return cast(ModelClass, self._once(("model", name), lambda: self._loaded("models", name, place)))

    def _loaded(self, group: Group, name: str, place: str = "") -> Any:
        """The class behind a name, with all that its contract asks for.

        Raises:
            GridError: it cannot be imported, or something is missing.
        """
        try:
            return self._complete(group, name)
        except GridError as error:
            if not place:
                raise
            raise GridError(f"{place}{error}") from error

    def _complete(self, group: Group, name: str) -> Any:
        found = self.target(group, name).load()
        missing = [member for member in CONTRACTS[group] if not hasattr(found, member)]
        if missing:
            raise GridError(f"{name} is registered under {group} but lacks {', '.join(missing)}; see {_CONTRACT[group]}.")
        return found

    def design(self, entry: ModelEntry) -> Design:
        """The design of a model with the options of its entry.

        Raises:
            GridError: the class refuses the options.
        """
        return cast(Design, self._once(("design", entry.content), lambda: self._design(entry)))

    def _design(self, entry: ModelEntry) -> Design:
        model = self.model(entry.name, entry.place)
        try:
            design = design_of(model, entry.options)
        except Exception as error:
            raise _refusal("model", entry, error) from error
        if not isinstance(design, Design):
            raise GridError(f"model {entry.title!r} has no `design`: give the class an attribute design = Design(...).")
        return design

    def begins_with(self, entry: ModelEntry) -> Pretraining | Checkpoint | None:
        """With whose weights a model begins.

        Raises:
            GridError: the class refuses the options, or what they name is no model to begin with.
        """
        found = self._once(("begins", entry.content), lambda: self._begins_with(entry))
        return cast("Pretraining | Checkpoint | None", found)

    def _begins_with(self, entry: ModelEntry) -> Pretraining | Checkpoint | None:
        try:
            return begins_with(self.model(entry.name), self.split(entry)[0])
        except (TypeError, ValueError, ModelError) as error:
            raise _refusal("model", entry, error) from error

    def least_steps(self, entry: ModelEntry) -> Callable[[int], int] | None:
        """How many steps a model needs for texts of up to so many tokens; `None` where any number will do."""
        return least_steps(self.model(entry.name), entry.options)

    def split(self, entry: ModelEntry) -> tuple[dict[str, Any], dict[str, Any]]:
        """The options of an entry: those that decide what is learnt, and those that decide only how it samples."""
        return cast(tuple[dict[str, Any], dict[str, Any]], self._once(("split", entry.content), lambda: self._split(entry)))

    def _split(self, entry: ModelEntry) -> tuple[dict[str, Any], dict[str, Any]]:
        sampling = sampling_keys(self.model(entry.name)) if entry.options else frozenset()
        halves: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
        for name, value in entry.options.items():
            halves[name in sampling][name] = value
        return halves

    def schedules(self, grid: Grid, design: Design) -> "list[SchedulePlan | None]":
        """The schedules of a grid as a design takes them; [None] for designs without one.

        Raises:
            GridError: an unknown schedule or parameter.
        """
        if design.schedule is None:
            return [None]
        return [self._schedule(design.schedule if entry.name == "native" else entry) for entry in grid.schedules]

    def _schedule(self, entry: "ScheduleEntry | str") -> "SchedulePlan":
        from harness.schedules.names import parse

        specification = entry if isinstance(entry, str) else entry.specification
        return cast("SchedulePlan", self._once(("schedule", repr(specification)), lambda: parse(specification)))

    def task(self, entry: TaskEntry) -> Task:
        """The task object with the options of its entry; no data is read.

        Raises:
            GridError: the class refuses the options.
        """
        return cast(Task, self._once(("task", entry.content), lambda: self._task(entry)))

    def _task(self, entry: TaskEntry) -> Any:
        made = self._loaded("tasks", entry.name, entry.place)
        try:
            check_taken(made, entry.options)
            return made(**entry.options)
        except Exception as error:
            raise _refusal("task", entry, error) from error

    def fingerprint(self, entry: TaskEntry, family: Any) -> str:
        """Digest of the task's data in a family."""
        return cast(str, self._once(("print", entry.content, family), lambda: self.task(entry).fingerprint(family)))

    def metric(self, name: str) -> Metric:
        """The metric object.

        Raises:
            GridError: something of it is missing.
        """
        return cast(Metric, self._once(("metric", name), lambda: self._loaded("metrics", name)()))

    def libraries(self, name: str) -> dict[str, str | None]:
        """Versions of the packages that a metric says its numbers depend on; `None` for one that is not installed."""
        return {package: _version(package) for package in getattr(self.metric(name), "libraries", ())}

    def surroundings(self, name: str) -> dict[str, str | None]:
        """What else a metric says its numbers depend on."""
        depends_on = getattr(self.metric(name), "depends_on", None)
        return cast("dict[str, str | None]", self._once(("depends", name), lambda: dict(depends_on()) if depends_on else {}))


def _refusal(noun: str, entry: PluginEntry, error: Exception) -> GridError:
    said = str(error) if isinstance(error, TypeError | ValueError | HarnessError) else f"{type(error).__name__}: {error}"
    if noun == "model" and isinstance(error, UnknownName) and error.name in DecodeEntry.model_fields:
        said += f" How texts are drawn stands beside the models: `decode: [{{{error.name}: {entry.options[error.name]}}}]`."
    return GridError(f"{entry.place}{noun} {entry.title!r} refuses its options {entry.options}: {said}")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
