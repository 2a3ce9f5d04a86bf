"""Rows out of records: a projection that can be made again at any time, with no plug-in loaded."""

from collections.abc import Mapping
from typing import Any

from harness.errors import UnknownName
from harness.tracking.records import Record, Store
from harness.tracking.rows import Row, Value

_COST_OF_FIT = {
    "parameters": "parameters",
    "tokens": "tokens",
    "updates": "updates",
    "flops": "flops",
    "fit_seconds": "fit_seconds",
}
_BATCHED = ("batched_ratio_to_ar", "throughput_seq_per_s")
_COST_OF_GENERATE = ("network_calls", "positions_processed", "generate_seconds")


def rows(store: Store, grid: str | None = None) -> list[Row]:
    """All rows of a store, or of one grid, in the grid's order.

    Raises:
        UnknownName: no such grid was ever run in this store.
    """
    plans = store.grids()
    if grid is not None and grid not in plans:
        raise UnknownName("grid", grid, plans, store.address)
    chosen = plans.values() if grid is None else [plans[grid]]
    reader = _Reader(store)
    return [reader.row(cell) for plan in chosen for cell in plan["cells"]]


class _Reader:
    """Reads each record once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.done, self.failed = store.keys()
        self._records: dict[str, Record | None] = {}

    def record(self, key: str) -> Record | None:
        """The record of a finished stage, else its latest failure."""
        if key not in self._records:
            finished = key in self.done
            self._records[key] = self.store.record(key) if finished else self.store.failure(key) if key in self.failed else None
        return self._records[key]

    def row(self, cell: Mapping[str, Any]) -> Row:
        """The row of a planned cell."""
        found = {role: self.record(key) for role, key in cell["stages"].items()}
        records = {role: record for role, record in found.items() if record is not None and record.status == "done"}
        status, reason = _status(cell, found)
        identity = {name: cell[name] for name in cell if name not in ("stages", "settings", "reason")}
        return Row(
            **identity, status=status, reason=reason, metrics=_metrics(records), latency=_latency(records), cost=_cost(records),
            settings={**cell["settings"], **_became(records)}, environment=_environment(records), digests=dict(cell["stages"]),
        )  # fmt: skip


def _status(cell: Mapping[str, Any], found: Mapping[str, Record | None]) -> tuple[Any, str | None]:
    if cell["reason"] is not None:
        return "skipped", cell["reason"]
    failed = next(((role, record) for role, record in found.items() if record is not None and record.status == "failed"), None)
    if failed is not None:
        return "failed", f"{failed[0]}: {failed[1].message}"
    return ("pending", None) if None in found.values() else ("done", None)


def _metrics(records: Mapping[str, Record]) -> dict[str, Value]:
    scores = (record for role, record in records.items() if role.startswith("score/"))
    return {name: _value(item) for record in scores for name, item in record.result["measurements"].items()}


def _value(item: Mapping[str, Any]) -> Value:
    return Value(**{**item, "flags": tuple(item["flags"])})


def _latency(records: Mapping[str, Record]) -> dict[str, Value]:
    """Values of the first pass under their own names; what the other batch sizes add, as `name@batch`."""
    passes = [(role.partition("/")[2], record) for role, record in records.items() if role.startswith("time/")]
    found: dict[str, Value] = {}
    for index, (batch, record) in enumerate(passes):
        values = {name: _value(item) for name, item in record.result["values"].items()}
        found |= values if index == 0 else {f"{name}@{batch}": values[name] for name in _BATCHED}
    return found


def _cost(records: Mapping[str, Record]) -> dict[str, float | None]:
    cost: dict[str, float | None] = {}
    if "fit" in records:
        cost |= {name: records["fit"].result.get(source) for name, source in _COST_OF_FIT.items()}
    if "generate" in records:
        cost |= {name: records["generate"].result.get(name) for name in _COST_OF_GENERATE}
    scores = [record.seconds for role, record in records.items() if role.startswith("score/")]
    return {**cost, "score_seconds": sum(scores)} if scores else cost


def _became(records: Mapping[str, Record]) -> dict[str, Any]:
    """What was passed and what it became: the size that met the target, the schedule as built, the canvas."""
    became: dict[str, Any] = {}
    if "tokenize" in records:
        became["view"] = {name: records["tokenize"].result[name] for name in ("vocabulary", "max_tokens", "max_source_tokens")}
    if "fit" in records:
        became |= {name: records["fit"].result.get(name) for name in ("size", "schedule", "schedule_updates")}
    if "generate" in records:
        became |= {"n": records["generate"].result["n"], "steps_used": records["generate"].result["steps_used"]}
    return became


def _environment(records: Mapping[str, Record]) -> dict[str, Any]:
    latest = next((records[role] for role in ("generate", "fit", "tokenize") if role in records), None)
    attempts = {role: list(record.attempts) for role, record in records.items() if record.attempts}
    return {**(dict(latest.environment) if latest else {}), **({"attempts": attempts} if attempts else {})}
