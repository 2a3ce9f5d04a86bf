"""A leaderboard row: one cell of a grid, as everyone who reads results sees it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Status = Literal["done", "failed", "skipped", "pending"]
IDENTITY = ("digest", "grid", "model", "task", "family", "schedule", "steps", "seed", "decode", "status", "reason")
GREYED = "greyed: "  # begins a flag that says why a value is shown, and not to be relied on
VOLATILE_COST = ("fit_seconds", "generate_seconds", "score_seconds")


@dataclass(frozen=True, kw_only=True, slots=True)
class Value:
    """A number of a row.

    Attributes:
        value: `None` where there is none; `reason` then says why.
        low, high: 95 % interval.
        n: items (metrics) or requests (latency) behind it.
        signature: what must agree before two values are compared; for latency, the evidence of how it was measured.
        flags: what a reader must know.
        higher_is_better: `None` where neither end is better.
        exposes: canaries that it must put below every real model.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    signature: str = ""
    flags: tuple[str, ...] = ()
    reason: str | None = None
    higher_is_better: bool | None = None
    exposes: tuple[str, ...] = ()

    @property
    def greyed(self) -> tuple[str, ...]:
        """Why the value is not to be relied on; empty where it is."""
        return tuple(flag.removeprefix(GREYED) for flag in self.flags if flag.startswith(GREYED))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Value":
        """Out of plain objects."""
        return cls(**{**data, "flags": tuple(data.get("flags", ())), "exposes": tuple(data.get("exposes", ()))})


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One cell of a grid.

    Attributes:
        digest: key of the cell, the same in every grid that holds it.
        model, task: as labelled in the grid ("d3pm[kernel=uniform]", "world[size=small]").
        schedule: specification after `native` was resolved; `None` for models without one.
        steps, decode: sampler steps and the name of the decoding settings.
        status, reason: "failed" and "skipped" rows say why.
        metrics, latency: name -> value.
        cost: parameters, tokens, flops, network calls, seconds; absent is `None`.
        settings: the decode card: everything that makes the numbers reproducible.
        environment: versions, device, threads, times; differs between machines.
        digests: stage name -> stage key.
    """

    digest: str
    grid: str
    model: str
    task: str
    family: str
    schedule: str | None
    steps: int | None
    seed: int
    decode: str
    status: Status
    reason: str | None = None
    metrics: Mapping[str, Value] = field(default_factory=dict)
    latency: Mapping[str, Value] = field(default_factory=dict)
    cost: Mapping[str, float | None] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)

    @property
    def latency_greyed(self) -> tuple[str, ...]:
        """Why latencies of the row are not to be relied on; empty where they are, and where there are none."""
        return tuple(dict.fromkeys(reason for value in self.latency.values() for reason in value.greyed))

    def to_json(self) -> dict[str, Any]:
        """Plain objects, in a fixed order."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Row":
        """The inverse of `to_json`."""
        values = {
            part: {name: Value.from_json(item) for name, item in data.get(part, {}).items()} for part in ("metrics", "latency")
        }
        return cls(**{**data, **values})

    def reproducible(self) -> dict[str, Any]:
        """What must be identical between two runs: all but latency, environment and seconds in cost."""
        data = self.to_json()
        cost = {name: value for name, value in data["cost"].items() if name not in VOLATILE_COST}
        return {**{name: data[name] for name in data if name not in ("latency", "environment")}, "cost": cost}
