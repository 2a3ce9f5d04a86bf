"""The design matrix from code: every registered model, task, schedule and metric as plain records."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any, Literal

from harness import registry
from harness.construction import sampling_keys
from harness.design import FAMILIES
from harness.errors import UnknownName
from harness.report.escape import markdown_cell
from harness.report.export import grid_of_text

Noun = Literal["models", "tasks", "schedules", "metrics"]
Entry = dict[str, Any]
_SHOWN: Mapping[str, tuple[str, ...]] = {
    "models": (
        "registered", "kind", "families", "space", "kernel", "schedule", "grains", "predicts", "conditioning", "posterior",
        "last_step", "likelihood", "scored_grains", "paper", "reconstructed",
    ),
    "tasks": ("registered", "version", "families", "summary", "licence"),
    "schedules": ("name", "equation", "parameters", "grain", "start", "end"),
    "metrics": ("registered", "version", "families", "values", "needs"),
}  # fmt: skip
_CHANGES = {True: "is trained anew", False: "samples the same training"}


def listing(noun: Noun) -> list[Entry]:
    """Every registered thing of a kind, sorted by name; one that cannot be used is listed with its error.

    Args:
        noun: "models", "tasks", "schedules" or "metrics".
    """
    if noun == "schedules":
        return _schedules()
    describe = {"models": _model, "tasks": _task, "metrics": _metric}[noun]
    return [_described(noun, name, describe) for name in sorted([*registry.known(noun), *registry.disputed(noun)])]


def listed(noun: Noun, name: str) -> Entry:
    """One registered thing, as in `listing`.

    Raises:
        UnknownName: nothing of the kind is registered under the name.
    """
    found = {str(entry.get("registered", entry.get("name"))): entry for entry in listing(noun)}
    if name not in found:
        raise UnknownName(noun.removesuffix("s"), name, found)
    return found[name]


def _described(noun: registry.Group, name: str, describe: Any) -> Entry:
    entry = {"registered": name}
    try:
        target = registry.resolve(noun, name)
        entry["origin"] = target.origin
        return {**entry, **describe(target.load())}
    except Exception as error:
        return {**entry, "error": f"{type(error).__name__}: {error}"}


def _model(loaded: Any) -> Entry:
    defaults, sampling = getattr(loaded, "defaults", {}), sampling_keys(loaded)
    keys = {name: {"default": default, "trained": name not in sampling} for name, default in defaults.items()}
    told = {"class": _home(loaded), "summary": _summary(loaded), "documentation": _documentation(loaded)}
    return {**asdict(loaded.design), "keys": keys, **told}


def _documentation(loaded: Any) -> str:
    """What a class says, and then what those say that it varies: models of a design of their own."""
    whole = [kind for kind in inspect.getmro(loaded) if kind is loaded or "design" in vars(kind)]
    told = [(kind.__name__, inspect.cleandoc(kind.__doc__)) for kind in whole if kind.__doc__]
    return "\n\n".join(f"{name}: {text}" for name, text in told)


def _task(loaded: Any) -> Entry:
    task = loaded()
    sources = task.sources() if hasattr(task, "sources") else ()
    metrics = {family: list(task.metrics(family)) for family in FAMILIES if family in task.families}
    licences = sorted({source.licence for source in sources}) or ["generated"]
    return {
        "version": task.version, "families": task.families, "metrics": metrics, "licence": licences,
        "sources": [source.name for source in sources], "class": _home(loaded), "summary": _summary(loaded),
    }  # fmt: skip


def _metric(loaded: Any) -> Entry:
    values = dict(loaded.values)
    facts = {name: getattr(loaded, name) for name in ("version", "families", "needs")}
    return {**facts, "values": values, "class": _home(loaded), "summary": _summary(loaded)}


def _schedules() -> list[Entry]:
    from harness.schedules.catalogue import known_schedules

    return [asdict(schedule) if is_dataclass(schedule) else dict(schedule) for schedule in known_schedules()]


def _home(loaded: Any) -> str:
    return f"{loaded.__module__}:{loaded.__qualname__}"


def _summary(loaded: Any) -> str:
    return (loaded.__doc__ or "").strip().partition("\n")[0]


def as_table(noun: Noun, entries: Sequence[Entry]) -> str:
    """The main columns of a listing as a Markdown table, and what cannot be used."""
    shown = [entry for entry in entries if "error" not in entry]
    columns = [column for column in _SHOWN[noun] if any(entry.get(column) not in (None, (), [], "") for entry in shown)]
    body = [[markdown_cell(_said(entry.get(column))) for column in columns] for entry in shown]
    lines = grid_of_text(columns, body) if body else [f"No {noun}."]
    broken = [f"- {entry['registered']} cannot be used: {markdown_cell(entry['error'])}" for entry in entries if "error" in entry]
    return "\n".join([*lines, *([""] if broken else []), *broken]) + "\n"


def as_page(noun: Noun, entry: Entry) -> str:
    """One entry: its row; of a model also its documentation, and its keys with their defaults."""
    row = as_table(noun, [entry])
    if not entry.get("keys"):
        return row
    body = [
        [f"`{name}`", markdown_cell("null" if key["default"] is None else _said(key["default"])), _CHANGES[key["trained"]]]
        for name, key in entry["keys"].items()
    ]
    return "\n".join([row, entry["documentation"], "", *grid_of_text(["key", "default", "another value"], body)]) + "\n"


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}{_arrow(item)}" for key, item in value.items())
    if isinstance(value, tuple | list):
        return ", ".join(" = ".join(map(str, item)) if isinstance(item, tuple | list) else str(item) for item in value)
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _arrow(value: Any) -> str:
    if isinstance(value, bool):
        return " (more is better)" if value else " (less is better)"
    return f": {_said(value)}" if value is not None else ""
