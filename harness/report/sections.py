"""What belongs together on a leaderboard: one section for each task and family, with that family's own columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.compare.noise import contestants, is_replica, noise_floors
from harness.compare.selection import by_place
from harness.leaderboard import order
from harness.metrics.headlines import HEADLINES
from harness.metrics.profiles import PROFILES, Profile
from harness.tracking.rows import Row

LATENCIES = ("latency_ms_p50", "ratio_to_ar", "batched_ratio_to_ar", "ratio_to_best_ar")
_GUESSES = 8


@dataclass(frozen=True, slots=True)
class Section:
    """Rows that may be compared.

    Attributes:
        task, family: what all rows share.
        metrics: every metric that some row has a number for, headline metrics first.
        headlines: the part of `metrics` that a table shows.
        rows: finished rows, best first.
        failed, skipped, pending: the others.
        replicas: finished rows that are one of `rows` again, under other numerics.
        floor: noise floor of each value, from the replicas.
    """

    task: str
    family: str
    metrics: tuple[str, ...]
    headlines: tuple[str, ...]
    rows: tuple[Row, ...]
    failed: tuple[Row, ...]
    skipped: tuple[Row, ...]
    pending: tuple[Row, ...]
    replicas: tuple[Row, ...] = ()
    floor: Mapping[str, float] = field(default_factory=dict)

    @property
    def headline(self) -> str | None:
        """The metric by which the section is sorted."""
        return self.headlines[0] if self.headlines else None

    @property
    def title(self) -> str:
        """Task and family."""
        return f"{self.task} / {self.family}"

    @property
    def unranked(self) -> tuple[str, ...]:
        """Profiles among the rows whose numbers are not ranked."""
        names = {str(row.settings.get("profile")) for row in self.rows}
        return tuple(sorted(name for name in names if name in PROFILES and not PROFILES[name].ranked))

    @property
    def shortfalls(self) -> tuple[str, ...]:
        """Why rows of a profile that ranks are not ranked all the same: too few training seeds, too few sources."""
        groups: dict[tuple[object, ...], list[Row]] = {}
        for row in self.rows:
            name = str(row.settings.get("profile"))
            if name in PROFILES and PROFILES[name].ranked:
                groups.setdefault((name, row.model, row.schedule, row.steps, row.decode), []).append(row)
        return tuple(text for (name, *_), rows in groups.items() for text in _shortfalls(PROFILES[str(name)], rows))


def _shortfalls(profile: Profile, rows: Sequence[Row]) -> list[str]:
    seeds, least = len({row.seed for row in rows}), profile.t2t_least if rows[0].family == "t2t" else 0
    items = min(int(row.settings.get("n") or 0) for row in rows)
    found = [f"{seeds} of {profile.seeds} seeds"] if seeds < profile.seeds else []
    found += [f"{items} of {least} sources"] if items < least else []
    return [f"not ranked: {rows[0].model}: {what}" for what in found]


def sections(rows: Sequence[Row], *, sort: str | None = None) -> list[Section]:
    """Rows grouped by task and family, each group sorted.

    Args:
        rows: rows of one or more grids.
        sort: column as `leaderboard.order` takes it; `None` for the section's headline metric.
    """
    groups = by_place(order(rows, sort) if sort is not None else rows)
    return [_section(task, family, group, presorted=sort is not None) for (task, family), group in sorted(groups.items())]


def _section(task: str, family: str, rows: list[Row], *, presorted: bool) -> Section:
    by_status = {
        status: tuple(row for row in rows if row.status == status) for status in ("done", "failed", "skipped", "pending")
    }
    replicas = tuple(filter(is_replica, by_status["done"]))
    done = tuple(contestants(by_status["done"]))
    metrics = _metrics(done, family)
    headlines = tuple(name for name in metrics if name in HEADLINES.get(family, ())) or metrics[:_GUESSES]
    return Section(
        task=task, family=family, metrics=metrics, headlines=headlines,
        rows=done if presorted or not headlines else tuple(order(done, headlines[0])),
        failed=by_status["failed"], skipped=by_status["skipped"], pending=by_status["pending"],
        replicas=replicas, floor=noise_floors(rows).get((task, family), {}),
    )  # fmt: skip


def _metrics(rows: Sequence[Row], family: str) -> tuple[str, ...]:
    present = {name for row in rows for name, value in row.metrics.items() if value.value is not None}
    first = [name for name in HEADLINES.get(family, ()) if name in present]
    return (*first, *sorted(present.difference(first)))
