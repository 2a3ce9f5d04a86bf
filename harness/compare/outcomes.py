"""What a finished cell left item by item: texts, and the statistics behind its values. No model and no metric is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from harness.measurement import cluster_of
from harness.metrics.aggregates import AGGREGATES, statistics
from harness.runner.artefacts import unpack_generations, unpack_json
from harness.stats.intervals import Aggregate
from harness.tracking.records import Record, Store
from harness.tracking.rows import Row


@dataclass(frozen=True, slots=True)
class Scored:
    """Per-item statistics of one value.

    Attributes:
        rows: additive statistics, one row per item.
        aggregate: sums [R, K] -> values [R].
        of_targets: whether items say something of the test targets, and not of samples.
    """

    rows: Float[np.ndarray, "n K"]
    aggregate: Aggregate
    of_targets: bool

    @property
    def values(self) -> Float[np.ndarray, " n"]:
        """The value of every item by itself."""
        return self.aggregate(self.rows)


class Outcome:
    """A finished cell with what its stages left, read when it is asked for.

    Args:
        store: where the records lie.
        row: the cell.
    """

    def __init__(self, store: Store, row: Row) -> None:
        self.store, self.row = store, row

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Ids of the test items, in their order."""
        return tuple(answer.id for answer in unpack_generations(self._blob("generate", "generations.jsonl.gz")))

    @cached_property
    def texts(self) -> Mapping[str, str]:
        """The selected text of every item."""
        return dict(zip(self.ids, unpack_json(self._blob("select", "texts.json.gz")), strict=True))

    @cached_property
    def asked(self) -> Mapping[str, Mapping[str, str | None]]:
        """Condition and target of every item; nothing where an earlier version of the harness did not keep them."""
        record = self._record("generate")
        digest = record.blobs.get("asked.json.gz") if record else None
        return unpack_json(self.store.get(digest)) if digest else {}

    @cached_property
    def clusters(self) -> Mapping[str, str]:
        """What every item is one observation of: items that share a condition are one, and so are repetitions."""
        return {name: cluster_of(name, self.asked.get(name, {}).get("condition")) for name in self.ids}

    @cached_property
    def scores(self) -> Mapping[str, Scored]:
        """Statistics of every value that has them."""
        found: dict[str, Scored] = {}
        for role in (role for role in self.row.digests if role.startswith("score/")):
            record = self._record(role)
            if record is not None and "items.json.gz" in record.blobs:
                for name, kept in unpack_json(self.store.get(record.blobs["items.json.gz"])).items():
                    rows = statistics(kept["rows"], kept["aggregate"])
                    found[name] = Scored(rows, AGGREGATES[kept["aggregate"]], kept["of_targets"])
        return found

    def blob(self, kind: str, name: str) -> bytes:
        """A blob of the first stage whose role begins so."""
        return self._blob(next(role for role in self.row.digests if role.startswith(kind)), name)

    def _record(self, role: str) -> Record | None:
        return self.store.record(self.row.digests[role]) if role in self.row.digests else None

    def _blob(self, role: str, name: str) -> bytes:
        record = self._record(role)
        assert record is not None, f"a finished cell without the record of its stage {role}"
        return self.store.get(record.blobs[name])
