"""The readings of a latency pass, and the values that are made of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from harness.contracts import Generation
from harness.metrics.profiles import Profile
from harness.stats.intervals import Interval, block_medians, percentile
from harness.tracking.rows import Value

VERSION = 2  # of how latency is measured: in the key of every latency pass and in the signature of its values
# n with 1 - q**n at least 0.975: below it the sample's largest value is no upper end of a two-sided 95 % interval
LEAST_REQUESTS = {50: 6, 90: 36, 95: 72, 99: 368}
CLOCKS_APART = 0.02


@dataclass(frozen=True, kw_only=True, slots=True)
class Timings:
    """Raw readings of one contestant at one batch size.

    Attributes:
        blocks: nanoseconds of every call, block by block, in the order measured.
        warmup: nanoseconds of the calls before.
        settled: whether the warm-up became stable before its cap.
        answers: request -> the latest timed answer to it.
        short: answers with other than `max_tokens` tokens although the length was fixed.
        device_nanoseconds: all timed calls by the device's own clock; `None` where it has none.
    """

    blocks: tuple[tuple[int, ...], ...]
    warmup: tuple[int, ...]
    settled: bool
    answers: Mapping[str, Generation] = field(default_factory=dict)
    short: int = 0
    device_nanoseconds: int | None = None

    @property
    def milliseconds(self) -> Float[np.ndarray, "K n"]:
        """Readings in milliseconds, one row per block."""
        return np.array(self.blocks, dtype=np.float64) / 1e6

    @property
    def clocks_apart(self) -> float:
        """Difference between the device's clock and the host's, as a share of the latter; 0 where there is one clock only."""
        host = sum(map(sum, self.blocks))
        return abs(self.device_nanoseconds - host) / host if self.device_nanoseconds is not None and host else 0.0

    @property
    def flags(self) -> tuple[str, ...]:
        """What a reader must know."""
        apart = self.clocks_apart
        return (
            *((f"warm-up did not settle in {len(self.warmup)} calls",) if not self.settled else ()),
            *((f"{self.short} answers have another length than the fixed one",) if self.short else ()),
            *((f"the device's clock and the host's differ by {apart:.0%}",) if apart > CLOCKS_APART else ()),
        )


def values_of(
    single: Sequence[Timings], batched: Sequence[Timings], *, batch: int, profile: Profile, rng: np.random.Generator
) -> dict[str, Value]:
    """What a row shows of a candidate, and of the baseline after it where there is one.

    Args:
        single: at batch 1.
        batched: at the larger batch.
        batch: requests per call of the latter.
        profile: resamples and highest percentile.
        rng: for resampling.
    """
    values = {f"latency_ms_p{level}": _percentile(single[0], level, profile, rng) for level in LEAST_REQUESTS}
    values |= _moments(single[0], profile.resamples, rng)
    values["latency_warmup_s"] = _warmup(single[0])
    values["ratio_to_ar"] = _ratio(single, profile.resamples, rng)
    values["batched_ratio_to_ar"] = _ratio(batched, profile.resamples, rng)
    values["throughput_seq_per_s"] = _throughput(batched[0], batch, profile.resamples, rng)
    values["network_calls"] = _per_request(single[0], lambda answer: answer.network_calls, "the model counts no network calls")
    values["positions_processed"] = _per_request(
        single[0], lambda answer: answer.positions_processed, "the model counts no positions"
    )
    return values


def absent(reason: str, n: int, *, higher_is_better: bool = False) -> Value:
    """No value, and why."""
    return Value(value=None, n=n, reason=reason, higher_is_better=higher_is_better)


def _too_few(level: int, count: int) -> str | None:
    least = LEAST_REQUESTS[level]
    return f"p{level} needs {least} requests, there are {count}" if count < least else None


def _percentile(timings: Timings, level: int, profile: Profile, rng: np.random.Generator) -> Value:
    readings = timings.milliseconds
    hidden = f"profile {profile.name!r} shows percentiles up to p{profile.highest_percentile}"
    reason = hidden if level > profile.highest_percentile else _too_few(level, readings.size)
    if reason is not None:
        return absent(reason, readings.size)
    interval = percentile(_draws(readings, _picks(len(readings), profile.resamples, rng), level / 100, rng))
    return _shown(timings, float(np.quantile(readings, level / 100)), interval)


def _shown(timings: Timings, value: float, interval: Interval | None = None) -> Value:
    low, high = (None, None) if interval is None else (interval.low, interval.high)
    return Value(value=value, low=low, high=high, n=timings.milliseconds.size, flags=timings.flags, higher_is_better=False)


def _moments(timings: Timings, resamples: int, rng: np.random.Generator) -> dict[str, Value]:
    """Mean, whose interval resamples blocks, and coefficient of variation."""
    readings = timings.milliseconds
    reason = _too_few(50, readings.size)
    if reason is not None:
        return {name: absent(reason, readings.size) for name in ("latency_ms_mean", "latency_cv")}
    blocks, mean = readings.mean(1), float(readings.mean())
    interval = percentile(blocks[_picks(len(blocks), resamples, rng)].mean(1))
    spread = float(readings.std(ddof=1)) / mean
    return {"latency_ms_mean": _shown(timings, mean, interval), "latency_cv": _shown(timings, spread)}


def _warmup(timings: Timings) -> Value:
    return Value(value=sum(timings.warmup) / 1e9, n=len(timings.warmup), flags=timings.flags, higher_is_better=False)


def _ratio(timings: Sequence[Timings], resamples: int, rng: np.random.Generator) -> Value:
    """Ratio of medians, candidate over baseline; both systems keep the same resampled blocks, since they ran in turn."""
    count = min(item.milliseconds.size for item in timings)
    reason = "no baseline to compare with" if len(timings) < 2 else _too_few(50, count)
    if reason is not None:
        return absent(reason, count)
    ours, theirs = (item.milliseconds for item in timings)
    picks = _picks(len(ours), resamples, rng)
    interval = percentile(_draws(ours, picks, 0.5, rng) / _draws(theirs, picks, 0.5, rng))
    unclear = ("no difference shown: the interval contains 1",) if interval.low <= 1 <= interval.high else ()
    return Value(
        value=float(np.median(ours) / np.median(theirs)), low=interval.low, high=interval.high, n=count,
        flags=tuple(dict.fromkeys([*unclear, *(flag for item in timings for flag in item.flags)])), higher_is_better=False,
    )  # fmt: skip


def _throughput(timings: Timings, batch: int, resamples: int, rng: np.random.Generator) -> Value:
    readings = timings.milliseconds
    reason = _too_few(50, readings.size)
    if reason is not None:
        return absent(reason, readings.size * batch, higher_is_better=True)
    interval = percentile(batch * 1e3 / _draws(readings, _picks(len(readings), resamples, rng), 0.5, rng))
    return Value(
        value=batch * 1e3 / float(np.median(readings)), low=interval.low, high=interval.high, n=readings.size * batch,
        flags=timings.flags, higher_is_better=True,
    )  # fmt: skip


def _per_request(timings: Timings, count: Callable[[Generation], int | None], reason: str) -> Value:
    known = [number for number in map(count, timings.answers.values()) if number]
    if len(known) < len(timings.answers):
        return absent(reason, len(timings.answers))
    return Value(value=float(np.mean(known)), n=len(known), higher_is_better=False)


def _picks(blocks: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(blocks, size=(resamples, blocks), dtype=np.int32)


def _draws(readings: Float[np.ndarray, "K n"], picks: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    return block_medians(readings, picks, quantile=level, rng=rng)
