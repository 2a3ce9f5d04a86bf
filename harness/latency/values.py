"""What a row shows of a latency pass."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from harness.contracts import Generation
from harness.latency.contestants import Contestant, Written, unmatched
from harness.latency.timings import LEAST_REQUESTS, Timings
from harness.metrics.profiles import Profile
from harness.stats.intervals import Interval, block_medians, percentile
from harness.tracking.rows import Value

ROLES = ("candidate", "baseline", "best_baseline")
Readings = Float[np.ndarray, "K n"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenarios:
    """All readings of a pass, in each scenario those of every role that somebody has.

    Attributes:
        single: one request at a time, fixed length.
        batched: many requests at a time, fixed length.
        natural: one request at a time; everyone stops as it likes.
        batch: requests per call of `batched`.
        idle_watts: power of the device while nothing was asked of it; `None` where it has no counter.
    """

    single: Mapping[str, Timings]
    batched: Mapping[str, Timings]
    natural: Mapping[str, Timings]
    batch: int
    idle_watts: float | None = None


def values_of(
    timed: Scenarios, contestants: Mapping[str, Contestant], *, profile: Profile, rng: np.random.Generator
) -> dict[str, Value]:
    """Every value of the candidate that depends on the machine's pace.

    Args:
        timed: the readings.
        contestants: who has which role.
        profile: resamples and highest percentile.
        rng: for resampling.
    """
    single, natural, resamples = timed.single["candidate"], timed.natural["candidate"], profile.resamples
    values = {f"latency_ms_p{level}": _percentile(single, level, profile, rng) for level in LEAST_REQUESTS}
    values |= _moments(single, resamples, rng)
    values["latency_warmup_s"] = _warmup(single)
    values |= _ratios(timed, contestants, resamples, rng)
    values["throughput_seq_per_s"] = _throughput(timed.batched["candidate"], timed.batch, resamples, rng)
    values["natural_ms_p50"] = _percentile(natural, 50, profile, rng)
    values["natural_bytes_per_s"] = _rate(natural, lambda call: call.bytes, resamples, rng)
    values["natural_tokens_per_s"] = _rate(natural, lambda call: call.tokens, resamples, rng)
    return values | {"joules_per_sequence": _energy(timed)}


def absent(reason: str, n: int, *, higher_is_better: bool = False) -> Value:
    """No value, and why."""
    return Value(value=None, n=n, reason=reason, higher_is_better=higher_is_better)


# --- times -----------------------------------------------------------------------------------------------------------
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


def _shown(timings: Timings, value: float, interval: Interval | None = None, *, higher_is_better: bool = False) -> Value:
    low, high = (None, None) if interval is None else (interval.low, interval.high)
    count = timings.milliseconds.size
    return Value(value=value, low=low, high=high, n=count, flags=timings.flags, higher_is_better=higher_is_better)


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


def _ratios(
    timed: Scenarios, contestants: Mapping[str, Contestant], resamples: int, rng: np.random.Generator
) -> dict[str, Value]:
    """Every scenario over every baseline; the flags say what candidate and baseline do not share."""
    scenarios = {"ratio": timed.single, "batched_ratio": timed.batched, "natural_ratio": timed.natural}
    apart = {role: unmatched(contestants["candidate"], contestants[role]) if role in contestants else () for role in ROLES[1:]}
    return {
        f"{name}_to_{which}": _ratio([found[item] for item in ("candidate", role) if item in found], apart[role], resamples, rng)
        for role, which in zip(ROLES[1:], ("ar", "best_ar"), strict=True)
        for name, found in scenarios.items()
    }


def _ratio(timings: Sequence[Timings], apart: Sequence[str], resamples: int, rng: np.random.Generator) -> Value:
    """Ratio of medians, candidate over baseline; both systems keep the same resampled blocks, since they ran in turn."""
    count = min(item.milliseconds.size for item in timings)
    reason = "no such baseline in the grid" if len(timings) < 2 else _too_few(50, count)
    if reason is not None:
        return absent(reason, count)
    ours, theirs = (item.milliseconds for item in timings)
    picks = _picks(len(ours), resamples, rng)
    interval = percentile(_draws(ours, picks, 0.5, rng) / _draws(theirs, picks, 0.5, rng))
    unclear = ("no difference shown: the interval contains 1",) if interval.low <= 1 <= interval.high else ()
    flags = dict.fromkeys([*unclear, *apart, *(flag for item in timings for flag in item.flags)])
    return Value(
        value=float(np.median(ours) / np.median(theirs)), low=interval.low, high=interval.high, n=count,
        flags=tuple(flags), higher_is_better=False,
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


def _rate(timings: Timings, count: Callable[[Written], int | None], resamples: int, rng: np.random.Generator) -> Value:
    """What was written a second: totals over totals, and an interval that resamples blocks."""
    readings, counts = timings.milliseconds, [[count(call) for call in block] for block in timings.written]
    reason = _too_few(50, readings.size)
    if any(number is None for block in counts for number in block):
        reason = "the model gives no token ids"
    if reason is not None:
        return absent(reason, readings.size, higher_is_better=True)
    written, seconds = np.array(counts, dtype=np.float64).sum(1), readings.sum(1) / 1e3
    picks = _picks(len(seconds), resamples, rng)
    interval = percentile(written[picks].sum(1) / seconds[picks].sum(1))
    return _shown(timings, float(written.sum() / seconds.sum()), interval, higher_is_better=True)


def _picks(blocks: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(blocks, size=(resamples, blocks), dtype=np.int32)


def _draws(readings: Readings, picks: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    return block_medians(readings, picks, quantile=level, rng=rng)


# --- work ------------------------------------------------------------------------------------------------------------
def costs_of(timed: Scenarios, candidate: Contestant) -> dict[str, Value]:
    """What a request costs whatever the machine's pace: network calls, positions, FLOPs, memory; and how much is written."""
    single, natural = timed.single["candidate"], timed.natural["candidate"]
    calls = _per_request(single, lambda answer: answer.network_calls, "the model counts no network calls")
    positions = _per_request(single, lambda answer: answer.positions_processed, "the model counts no positions")
    return {
        "network_calls": calls, "positions_processed": positions, "flops_per_request": _flops(positions, candidate.parameters),
        "tokens_per_call": _tokens_per_call(natural), "natural_tokens": _natural_tokens(natural),
        "peak_memory_mib": _memory(timed.batched["candidate"], candidate.weights_mib),
    }  # fmt: skip


def _per_request(timings: Timings, count: Callable[[Generation], int | None], reason: str) -> Value:
    known = [number for number in map(count, timings.answers.values()) if number]
    if len(known) < len(timings.answers):
        return absent(reason, len(timings.answers))
    return Value(value=float(np.mean(known)), n=len(known), higher_is_better=False)


def _flops(positions: Value, parameters: int | None) -> Value:
    """2 FLOPs a parameter and position: an estimate that leaves out attention and the decoding itself."""
    if positions.value is None or parameters is None:
        return absent(positions.reason or "the number of parameters is not known", positions.n or 0)
    return Value(
        value=2.0 * parameters * positions.value, n=positions.n, higher_is_better=False,
        flags=("analytic: 2 x parameters x positions, attention left out",),
    )  # fmt: skip


def _natural_tokens(timings: Timings) -> Value:
    counts = [call.tokens for block in timings.written for call in block]
    known = [number for number in counts if number is not None]
    if len(known) < len(counts) or not known:
        return absent("the model gives no token ids", len(counts))
    return Value(value=float(np.mean(known)), n=len(known))


def _tokens_per_call(timings: Timings) -> Value:
    """Tokens written for each network call, at natural length."""
    answers = list(timings.answers.values())
    tokens, calls = Written.of(answers).tokens, sum(answer.network_calls for answer in answers)
    if tokens is None or not calls:
        return absent("the model gives no token ids or counts no network calls", len(answers), higher_is_better=True)
    return Value(value=tokens / calls, n=len(answers), higher_is_better=True)


def _memory(timings: Timings, weights: float | None) -> Value:
    """Weights, and the most that a batched call needed above what was held before it."""
    working = timings.peak_mib.get("working")
    if working is None or weights is None:
        return absent("the device does not tell its memory, or the model is no torch module", timings.milliseconds.size)
    return Value(value=weights + working, n=timings.milliseconds.size, higher_is_better=False)


def _energy(timed: Scenarios) -> Value:
    """Energy of a batched request, without what the idle device takes in the same time."""
    timings, requests = timed.batched["candidate"], timed.batched["candidate"].milliseconds.size * timed.batch
    if timings.joules is None or timed.idle_watts is None:
        return absent("the device has no energy counter that can be read", requests)
    net = timings.joules - timed.idle_watts * timings.milliseconds.sum() / 1e3
    return Value(value=float(net) / requests, n=requests, flags=timings.flags, higher_is_better=False)
