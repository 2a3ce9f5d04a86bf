"""The noise floor: how far a value moves when nothing but the numerics change; no smaller difference is an improvement."""

from collections.abc import Iterable, Mapping, Sequence

from harness.tracking.rows import Row

Place = tuple[str, str]
"""Task and family."""


def is_replica(row: Row) -> bool:
    """Whether a row is another's cell, sampled again under other numerics."""
    return bool(row.settings.get("numerics"))


def contestants(rows: Iterable[Row]) -> list[Row]:
    """Rows that stand for systems: all but replicas."""
    return [row for row in rows if not is_replica(row)]


def noise_floors(rows: Sequence[Row]) -> Mapping[Place, Mapping[str, float]]:
    """Task and family -> value -> largest difference between a finished cell and its replicas."""
    originals = {row.digest: row for row in rows if row.status == "done"}
    floors: dict[Place, dict[str, float]] = {}
    for row in rows:
        original = originals.get(str(row.settings.get("again_of")))
        if not is_replica(row) or row.status != "done" or original is None:
            continue
        floor = floors.setdefault((row.task, row.family), {})
        for name, value in row.metrics.items():
            first = original.metrics.get(name)
            if first is not None and first.value is not None and value.value is not None:
                floor[name] = max(floor.get(name, 0.0), abs(value.value - first.value))
    return floors
