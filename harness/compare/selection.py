"""Which cells are compared, by which value, and which of them a side means: one system, in one setting, under all its seeds."""

import re
from collections.abc import Callable, Iterable, Sequence

from harness.compare.noise import Place, contestants
from harness.errors import GridError, UnknownName
from harness.leaderboard import Condition, bare, lower_is_better, select
from harness.metrics.headlines import HEADLINES
from harness.tracking.rows import Row

_PARTS = re.compile(r",(?![^\[]*\])")
_SETTING = ("schedule", "steps", "decode")


def system_of(row: Row) -> tuple[object, ...]:
    """What the cells of one system in one setting have in common, whatever their seed: model, schedule, steps, decoding."""
    return (row.model, *(getattr(row, name) for name in _SETTING))


def title_of(row: Row) -> str:
    """A system in one setting, in words."""
    return " ".join(str(part) for part in system_of(row) if part is not None)


def settings_of(rows: Iterable[Row], command: str, named: Callable[[Row], str]) -> list[list[Row]]:
    """Cells that differ in their seed only, by seed; settings in the order in which they come.

    Args:
        rows: of one task and family.
        command: that the message begins with.
        named: a cell in words, for the message.

    Raises:
        GridError: two cells do not differ in their seed either.
    """
    found: dict[tuple[object, ...], dict[int, Row]] = {}
    for row in rows:
        by_seed = found.setdefault(system_of(row), {})
        if by_seed.setdefault(row.seed, row) is not row:
            digests = ", ".join(sorted((by_seed[row.seed].digest[:8], row.digest[:8])))
            raise GridError(
                f"{command}: {row.task} / {row.family} has two cells of {named(row)}: {digests}. "
                "Name a grid that has one of them: --grid NAME."
            )
    return [[by_seed[seed] for seed in sorted(by_seed)] for by_seed in found.values()]


def has_value(row: Row, metric: str) -> bool:
    """Whether a row has a value."""
    return metric in row.metrics and row.metrics[metric].value is not None


def why_absent(rows: Iterable[Row], metric: str) -> str:
    """Why one of these rows has no value, by the first that was measured."""
    reason = next((row.metrics[metric].reason for row in rows if metric in row.metrics), None)
    return reason or "it was not measured"


def distinct_contestants(rows: Iterable[Row]) -> list[Row]:
    """Rows that stand for systems, each cell once, in however many grids it stands."""
    return list({row.digest: row for row in contestants(rows)}.values())


def finished(rows: Iterable[Row], metric: str | None, command: str, *, task: str | None, family: str | None) -> list[Row]:
    """Finished rows of distinct contestants, among which a metric has a better end.

    Args:
        rows: all rows.
        metric: a value with a better end; `None` asks for none.
        command: that the message begins with.
        task, family: as in `harness table`.

    Raises:
        UnknownName: no row has such a task or family, or no finished one has such a value with a better end.
    """
    found = [row for row in select(distinct_contestants(rows), task=task, family=family) if row.status == "done"]
    if metric is not None and lower_is_better(found, metric) is None:
        raise without_an_end(found, metric, command)
    return found


def without_an_end(rows: Iterable[Row], metric: str, command: str) -> UnknownName:
    """The error that these rows have no such value with a better end; it names those that they have."""
    known = {name for row in rows for name, value in row.metrics.items() if value.higher_is_better is not None}
    return UnknownName("value with a better end", metric, known, command)


def by_place(rows: Iterable[Row]) -> dict[Place, list[Row]]:
    """Rows by task and family, places and rows in the order in which they come."""
    places: dict[Place, list[Row]] = {}
    for row in rows:
        places.setdefault((row.task, row.family), []).append(row)
    return places


def headline_with_an_end(rows: Sequence[Row], family: str) -> str | None:
    """The first headline of a family of which these rows say that one end is better; `None` without one."""
    return next((name for name in HEADLINES.get(family, ()) if lower_is_better(rows, name) is not None), None)


def side_of(rows: Sequence[Row], text: str) -> list[Row]:
    """Finished rows that a text means: a model or the start of a digest, and conditions after commas: `MODEL, steps = 32`.

    Raises:
        UnknownName: no finished cell has that model or digest.
        GridError: a condition cannot be read, or nothing passes.
    """
    name, *conditions = [part.strip() for part in _PARTS.split(text)]
    done = [row for row in rows if row.status == "done"]
    if _is_condition(name):
        return _passing(done, [name, *conditions], text)
    found = [row for row in done if name in (row.model, bare(row.model)) or (len(name) >= 6 and row.digest.startswith(name))]
    if not found:
        raise UnknownName("model or digest", name, {row.model for row in done}, "compare")
    return _passing(found, conditions, text)


def _is_condition(text: str) -> bool:
    try:
        Condition.parse(text)
    except GridError:
        return False
    return "[" not in text.partition("=")[0]


def _passing(rows: Sequence[Row], conditions: Sequence[str], text: str) -> list[Row]:
    found = select(rows, where=conditions)
    if not found:
        raise GridError(f"compare: no finished cell passes {text!r}.")
    return found


def one_setting(rows: Sequence[Row], text: str) -> list[Row]:
    """Rows of one task and family in one setting, one for each seed, in the order of seeds.

    Raises:
        GridError: they have several settings, or two cells of one seed; the message says how to choose.
    """
    found = {tuple(getattr(row, name) for name in _SETTING): None for row in rows}
    place = f"{rows[0].task} / {rows[0].family}"
    if len(found) > 1:
        told = "; ".join(", ".join(f"{name} = {value}" for name, value in zip(_SETTING, one, strict=True)) for one in found)
        raise GridError(f"compare: {text!r} has {len(found)} settings in {place}: {told}. Say which: '{text}, steps = ...'.")
    by_seed: dict[int, Row] = {}
    for row in rows:
        if by_seed.setdefault(row.seed, row).digest != row.digest:
            digests = ", ".join(sorted({row.digest[:8] for row in rows}))
            raise GridError(
                f"compare: {text!r} has several cells of seed {row.seed} in {place}: {digests}. Name one by its digest."
            )
    return [by_seed[seed] for seed in sorted(by_seed)]
