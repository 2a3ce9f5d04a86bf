"""Rows out of records: a projection that can be made again at any time, with no plug-in loaded."""

from collections.abc import Iterable, Mapping
from typing import Any

from harness.errors import StoreError, UnknownName
from harness.tracking.records import Record, Store
from harness.tracking.rows import Row, Value

_COST_OF_FIT = {
    "parameters": "parameters",
    "tokens": "tokens",
    "updates": "updates",
    "flops": "flops",
    "fit_seconds": "fit_seconds",
}
_BATCHED = (
    "batched_ratio_to_ar", "batched_ratio_to_best_ar", "throughput_seq_per_s", "peak_memory_mib", "joules_per_sequence",
)  # fmt: skip
_COST_OF_GENERATE = ("network_calls", "positions_processed", "generate_seconds")


def rows(store: Store, grid: str | None = None) -> list[Row]:
    """All rows of a store, or of one grid, in the grid's order.

    Raises:
        StoreError: no grid at all was run in this store, or something in it was written by another version of the harness.
        UnknownName: no such grid was ever run in this store.
    """
    plans = store.grids()
    if grid is not None and not plans:
        raise StoreError(f"no grid has been run in the store {store.address}; --store names another.")
    if grid is not None and grid not in plans:
        raise UnknownName("grid", grid, plans, store.address)
    chosen = plans.values() if grid is None else [plans[grid]]
    reader = _Reader(store)
    return [row for plan in chosen for row in _rows_of(plan, reader)]


def _rows_of(plan: Mapping[str, Any], reader: "_Reader") -> list[Row]:
    try:
        return [reader.row(cell) for cell in plan["cells"]]
    except (TypeError, KeyError, AttributeError) as error:
        raise StoreError(
            f"{reader.store.address}/grids/{plan.get('grid')}.json, or a record that it names, was written by another version of "
            f"the harness: {type(error).__name__}: {error}. Read it with that version, or run the grid again in a new store."
        ) from error


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
        status, reason = self._status(cell, found)
        identity = {name: cell[name] for name in cell if name not in ("stages", "needs", "settings", "reason")}
        return Row(
            **identity, status=status, reason=reason, metrics=_metrics(records), latency=_latency(found, records),
            cost=_cost(records), settings={**cell["settings"], **_became(records)}, environment=_environment(records),
            digests=dict(cell["stages"]),
        )  # fmt: skip

    def _status(self, cell: Mapping[str, Any], found: Mapping[str, Record | None]) -> tuple[Any, str | None]:
        if cell["reason"] is not None:
            return "skipped", cell["reason"]
        failed = _failure(found)
        if failed is not None:
            return "failed", f"{failed[0]}: {failed[1].message}"
        if None not in found.values():
            return "done", None
        blocking = _failure({name: self.record(key) for name, key in cell.get("needs", {}).items()})
        return ("failed", f"{blocking[0]} failed: {blocking[1].message}") if blocking is not None else ("pending", None)


def _failure(found: Mapping[str, Record | None]) -> tuple[str, Record] | None:
    return next(((name, record) for name, record in found.items() if record is not None and record.status == "failed"), None)


def _metrics(records: Mapping[str, Record]) -> dict[str, Value]:
    scores = (record for role, record in records.items() if role.startswith("score/"))
    return {name: _value(item) for record in scores for name, item in record.result["measurements"].items()}


def _value(item: Mapping[str, Any]) -> Value:
    return Value.from_json(item)


def _latency(stages: Iterable[str], records: Mapping[str, Record]) -> dict[str, Value]:
    """Batch 1 of the first finished pass; what is batched has its plain name in the first planned pass, else `name@batch`."""
    found: dict[str, Value] = {}
    for place, role in enumerate(role for role in stages if role.startswith("time/")):
        if role in records:
            suffix = f"@{role.partition('/')[2]}" if place else ""
            values = {name: _value(item) for name, item in records[role].result["values"].items()}
            batched = {f"{name}{suffix}": values.pop(name) for name in _BATCHED if name in values}
            found = {**values, **found, **batched}
    return found


def _cost(records: Mapping[str, Record]) -> dict[str, float | None]:
    cost: dict[str, float | None] = {}
    if "fit" in records:
        cost |= {name: records["fit"].result.get(source) for name, source in _COST_OF_FIT.items()}
    if "pretrain" in records:
        cost |= {f"pretraining_{name}": records["pretrain"].result.get(name) for name in ("tokens", "flops")}
    if "generate" in records:
        cost |= {name: records["generate"].result.get(name) for name in _COST_OF_GENERATE}
    scores = [record.seconds for role, record in records.items() if role.startswith("score/")]
    return {**cost, "score_seconds": sum(scores)} if scores else cost


def _became(records: Mapping[str, Record]) -> dict[str, Any]:
    """What was passed and what it became: the size that met the target, the schedule as built, the canvas."""
    became: dict[str, Any] = {}
    tokenized = records.get("tokenize/own", records.get("tokenize"))
    if tokenized is not None:
        became["view"] = {name: tokenized.result[name] for name in ("vocabulary", "max_tokens", "max_source_tokens")}
    if "pretrain" in records:
        begun = records["pretrain"]
        became["plm"] = {
            "name": "local", "model": begun.spec["model"], "size": begun.result["size"], "tokens": begun.result["tokens"],
            "digest": begun.key,
        }  # fmt: skip
    if "fit" in records:
        became |= {name: records["fit"].result.get(name) for name in ("size", "schedule", "schedule_updates")}
    if "generate" in records:
        became |= {"n": records["generate"].result["n"], "steps_used": records["generate"].result.get("steps_used", [])}
    return became


def _environment(records: Mapping[str, Record]) -> dict[str, Any]:
    latest = next((records[role] for role in ("generate", "fit", "tokenize") if role in records), None)
    attempts = {role: list(record.attempts) for role, record in records.items() if record.attempts}
    timed = {
        role.partition("/")[2]: dict(record.result["evidence"]) for role, record in records.items() if role.startswith("time/")
    }
    added = {"attempts": attempts, "latency": timed}
    return {**(dict(latest.environment) if latest else {}), **{name: part for name, part in added.items() if part}}
