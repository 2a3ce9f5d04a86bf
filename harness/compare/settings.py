"""Systems in one setting under all their seeds, with their quality, their time and their work."""

from collections.abc import Sequence

import numpy as np

from harness.compare.draws import LATENCY, device_of, greyed_latency, is_timed
from harness.compare.outcomes import Outcome
from harness.compare.selection import system_of, title_of
from harness.tracking.records import Store
from harness.tracking.rows import Row

FLOPS = "flops_per_request"


class Setting:
    """A system in one setting, under all its seeds.

    Args:
        store: where the records are.
        rows: its cells.
        metric: quality.
        lower: whether small values are good.
    """

    def __init__(self, store: Store, rows: Sequence[Row], metric: str, lower: bool) -> None:
        self.rows, self.row, self.metric = rows, rows[0], metric
        self.outcomes = [Outcome(store, row) for row in rows]
        self.sign = -1.0 if lower else 1.0
        self.title = title_of(rows[0])
        self.quality = float(np.mean([row.metrics[metric].value for row in rows]))
        self.timed = [one for one in self.outcomes if is_timed(one.row)]
        counts = [count for row in rows if (count := flops_of(row)) is not None]
        self.flops = float(np.mean(counts)) if counts else None

    @property
    def goodness(self) -> float:
        """Quality, so that more is better."""
        return self.sign * self.quality

    @property
    def milliseconds(self) -> float | None:
        """Median latency, mean over the seeds that were timed."""
        return float(np.mean([one.row.latency[LATENCY].value for one in self.timed])) if self.timed else None

    @property
    def device(self) -> str | None:
        """On which it was timed."""
        return device_of(self.timed[0].row.latency[LATENCY]) if self.timed else None

    @property
    def greyed(self) -> tuple[str, ...]:
        """Why its latency is not to be relied on."""
        return greyed_latency(self.rows)

    @property
    def place(self) -> tuple[str, ...]:
        """By its names, without steps."""
        return self.row.model, self.row.schedule or "", self.row.decode

    @property
    def steps(self) -> int:
        """Sampling steps; 0 for a system without."""
        return self.row.steps or 0

    @property
    def name(self) -> str:
        """What tells it apart among the settings of its model."""
        return " ".join(str(part) for part in system_of(self.row)[1:] if part is not None)

    @property
    def flags(self) -> tuple[str, ...]:
        """How its FLOPs were counted."""
        return tuple(flag for row in self.rows if flops_of(row) is not None for flag in row.latency[FLOPS].flags)


def flops_of(row: Row) -> float | None:
    """FLOPs of a request; `None` where they are not known."""
    value = row.latency.get(FLOPS)
    return value.value if value is not None else None


def why_untimed(rows: Sequence[Row]) -> str:
    """Why cells have no latency."""
    reason = next((row.latency[LATENCY].reason for row in rows if LATENCY in row.latency), None)
    return f"no latency: {reason or 'it was not timed'}"


def why_uncounted(rows: Sequence[Row]) -> str:
    """Why the FLOPs of cells are not known."""
    reason = next((row.latency[FLOPS].reason for row in rows if FLOPS in row.latency), None)
    return f"no FLOPs: {reason or 'it was not timed'}"


def seeds_of(settings: Sequence[Setting]) -> tuple[int, ...]:
    """Seeds of all of them."""
    return tuple(sorted({row.seed for setting in settings for row in setting.rows}))
