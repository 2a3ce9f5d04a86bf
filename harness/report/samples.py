"""Generated texts of a cell, to be browsed."""

from collections.abc import Sequence

from harness.runner.artefacts import unpack_generations
from harness.tracking.records import Store
from harness.tracking.rows import Row

MOST = 100


class SamplesOf:
    """The first texts of a row, out of the records of a store.

    Args:
        store: where the records lie.
        most: texts for each cell.
    """

    def __init__(self, store: Store, most: int = MOST) -> None:
        self.store, self.most = store, most

    def __call__(self, row: Row) -> Sequence[dict[str, object]] | None:
        """One mapping per text: request, candidate, text, finish, network calls; `None` where nothing was generated."""
        record = self.store.record(row.digests["generate"]) if "generate" in row.digests else None
        if record is None:
            return None
        generations = unpack_generations(self.store.get(record.blobs["generations.jsonl.gz"]))
        lines: list[dict[str, object]] = [
            {
                "request": generation.id, "candidate": index, "text": text,
                "finish": generation.finish_reasons[index] if index < len(generation.finish_reasons) else None,
                "network_calls": generation.network_calls,
            }
            for generation in generations[: self.most] for index, text in enumerate(generation.texts)
        ]  # fmt: skip
        return lines[: self.most] or None
