"""The leaderboard as data: rows of a store, filtered, sorted, and as a pandas table."""

import difflib
import operator
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import GridError, StoreError, UnknownName
from harness.tracking.rows import IDENTITY, Row, Value

if TYPE_CHECKING:
    import pandas

    from harness.tracking.records import Store

__all__ = ["Condition", "cell_of", "columns_of", "frame", "lower_is_better", "order", "select", "table"]

Cell = str | int | float | bool | None
_FIELDS = ("low", "high", "n", "signature", "flags", "reason")
_NEAR = 10
_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq, "!=": operator.ne, ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
_CONDITION = re.compile(r"^\s*(?P<column>.+?)\s*(?P<operator>==|!=|>=|<=|=|>|<)\s*(?P<value>.+?)\s*$")


def table(store: "Store | Path | str", grid: Any = None) -> "pandas.DataFrame":
    """The leaderboard of a store: one row per cell, identity first, then the metrics.

    Args:
        store: a store or its folder.
        grid: a loaded grid, its name or its file; `None` for every cell of the store.

    Returns:
        Columns as `frame` describes them.
    """
    return frame(rows_of(store, grid))


def rows_of(store: "Store | Path | str", grid: Any = None) -> list[Row]:
    """Rows of a store, from its path or the object; a grid may be named by its file."""
    from harness.tracking.records import rows

    return rows(opened(store) if isinstance(store, str | Path) else store, grid_name(grid))


def opened(address: Path | str) -> "Store":
    """The store at an address, to be read.

    Raises:
        StoreError: there is none.
    """
    from harness.tracking.records import Store

    store = Store.existing(address)
    if store is None:
        command = f"harness run GRID --store {shlex.quote(str(address))}"
        raise StoreError(f"no store at {address}: `{command}` makes one; --store names another.")
    return store


def grid_name(grid: Any) -> str | None:
    """Name under which a store knows a grid: of the object, of a file, or as given."""
    if isinstance(grid, Path) or (isinstance(grid, str) and grid.endswith((".yaml", ".yml"))):
        from harness.grid import load

        return load(grid).grid
    return getattr(grid, "grid", grid)


def frame(rows: Sequence[Row]) -> "pandas.DataFrame":
    """Rows as a pandas table.

    A metric `bleu` gives the columns `bleu`, `bleu.low`, `bleu.high`, `bleu.n`, `bleu.signature`, `bleu.flags` and
    `bleu.reason`; latencies stand under `latency.`, costs under `cost.`, the decode card under `settings.`. What is absent
    is missing (`None` or `NaN`), never 0.
    """
    import pandas

    columns = columns_of(rows)
    return pandas.DataFrame([{column: cell_of(row, column) for column in columns} for row in rows], columns=columns)


def columns_of(rows: Iterable[Row]) -> list[str]:
    """Every column that at least one row has, in a fixed order."""
    found: dict[str, None] = dict.fromkeys(IDENTITY)
    parts: dict[str, dict[str, None]] = {"metrics": {}, "latency": {}, "cost": {}, "settings": {}}
    for row in rows:
        for part, names in parts.items():
            names.update(dict.fromkeys(getattr(row, part)))
    for part, names in parts.items():
        prefix = "" if part == "metrics" else f"{part}."
        suffixes = ("", *(f".{field}" for field in _FIELDS)) if part in ("metrics", "latency") else ("",)
        found.update(dict.fromkeys(f"{prefix}{name}{suffix}" for name in sorted(names) for suffix in suffixes))
    return list(found)


def cell_of(row: Row, column: str) -> Cell:
    """What stands in a column of a row; `None` where nothing does."""
    if column in IDENTITY:
        return getattr(row, column)
    if column.startswith("cost."):
        return row.cost.get(column.removeprefix("cost."))
    if column.startswith("settings."):
        return _plain(row.settings.get(column.removeprefix("settings.")))
    value, field = _value_of(row, column)
    return _plain(getattr(value, field)) if value is not None else None


def _value_of(row: Row, column: str) -> tuple[Value | None, str]:
    values = row.metrics
    if column.startswith("latency."):
        column, values = column.removeprefix("latency."), row.latency
    if column in values:
        return values[column], "value"
    name, _, field = column.rpartition(".")
    return (values.get(name), field) if field in _FIELDS else (None, "value")


def _plain(value: Any) -> Cell:
    if isinstance(value, tuple | list):
        return "; ".join(map(str, value)) or None
    return str(value) if isinstance(value, Mapping) else value


@dataclass(frozen=True, slots=True)
class Condition:
    """A test of one column, such as `bleu >= 20` or `model = d3pm`; absent values never pass.

    Attributes:
        column: any column of `frame`.
        symbol: one of ==, !=, >=, <=, >, <.
        operand: number or text to compare with.
    """

    column: str
    symbol: str
    operand: float | str

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """Read `column operator value`.

        Raises:
            GridError: the text is no condition.
        """
        match = _CONDITION.match(text)
        if match is None or match["value"][0] in "=<>!":
            raise GridError(f"condition {text!r}: expected `column operator value`, such as 'bleu >= 20' or 'model == gpt'.")
        symbol = {"=": "=="}.get(match["operator"], match["operator"])
        return cls(match["column"], symbol, _number_or_text(match["value"].strip("'\"")))

    def __call__(self, row: Row) -> bool:
        """Whether a row passes."""
        value, operand = cell_of(row, self.column), self.operand
        if value is None or value == "":
            return False
        if isinstance(value, str) or isinstance(operand, str):
            value, operand = str(value), str(operand)
        return _OPERATORS[self.symbol](value, operand)


def _number_or_text(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def select(
    rows: Iterable[Row], *, task: str | None = None, family: str | None = None, model: str | None = None,
    where: Sequence[str] = (),
) -> list[Row]:  # fmt: skip
    """Rows that pass every filter.

    Args:
        rows: all rows.
        task: label or bare name: "world" also takes "world[size=small]".
        family: "ucg", "a2t" or "t2t".
        model: label or bare name.
        where: conditions as `Condition.parse` reads them.

    Raises:
        UnknownName: no row has a column, task, family or model of that name.
    """
    rows = list(rows)
    for noun, name in (("task", task), ("family", family), ("model", model)):
        rows = _having(rows, noun, name) if name is not None else rows
    parsed = [Condition.parse(text) for text in where]
    conditions = [replace(condition, column=_column(rows, condition.column)) for condition in parsed]
    for condition in conditions:
        _require_kind(rows, condition)
    return [row for row in rows if all(condition(row) for condition in conditions)]


def _require_kind(rows: Sequence[Row], condition: Condition) -> None:
    cells = [cell_of(row, condition.column) for row in rows]
    numbers = all(isinstance(cell, int | float) for cell in cells if cell is not None)
    if isinstance(condition.operand, str) and numbers and any(cell is not None for cell in cells):
        raise GridError(
            f"condition on {condition.column}: it holds numbers, and {condition.operand!r} is none; write digits, such as 1000."
        )


def _having(rows: list[Row], noun: str, name: str) -> list[Row]:
    kept = [row for row in rows if name in (getattr(row, noun), bare(getattr(row, noun)))]
    if rows and not kept:
        raise UnknownName(noun, name, {getattr(row, noun) for row in rows}, "table")
    return kept


def bare(label: str) -> str:
    """A label without its parameters: "d3pm" of "d3pm[kernel=uniform]"."""
    return label.partition("[")[0]


def order(rows: Iterable[Row], column: str) -> list[Row]:
    """Rows sorted by a column, best first; values flagged "not ranked" after the others, absent ones last.

    Metrics know which end is better; everything else, and metrics without a better end, ascends. A leading `-` turns the
    order around.

    Raises:
        UnknownName: no row has the column.
    """
    rows = list(rows)
    name = _column(rows, column.removeprefix("-"))
    descending = (lower_is_better(rows, name) is False) != column.startswith("-")
    present = [row for row in rows if cell_of(row, name) is not None]
    present.sort(key=lambda row: _sort_key(cell_of(row, name)), reverse=descending)
    present.sort(key=lambda row: _declines_a_rank(row, name))
    return present + [row for row in rows if cell_of(row, name) is None]


def _declines_a_rank(row: Row, name: str) -> bool:
    value = row.metrics.get(name)
    return value is not None and any(flag.startswith("not ranked") for flag in value.flags)


def _sort_key(value: Cell) -> tuple[int, float, str]:
    return (1, 0.0, value) if isinstance(value, str) else (0, float(value or 0), "")


def lower_is_better(rows: Iterable[Row], column: str) -> bool | None:
    """Whether small values of a metric are good; `None` where nobody says."""
    for row in rows:
        value, field = _value_of(row, column)
        if field == "value" and value is not None and value.higher_is_better is not None:
            return not value.higher_is_better
    return None


def _column(rows: Sequence[Row], name: str) -> str:
    """A column by its full name; a latency or a cost may be named as the table prints it."""
    known = columns_of(rows)
    found = next((full for full in (name, f"latency.{name}", f"cost.{name}") if full in known), None)
    if rows and found is None:
        near = difflib.get_close_matches(name, known, n=_NEAR, cutoff=0.3) or known[:_NEAR]
        others = f"… ({len(known)} in all: harness table --format csv)"
        raise UnknownName("column", name, [*near, others], "table")
    return found or name
