"""Latency of a model beside that of the autoregressive baseline: warm, in turn, with raw values and evidence.

Rules by which it measures: warm-up until stable at the timed shape; the device synchronised around every reading of a
nanosecond clock; both systems in interleaved blocks (A B B A ...) on one device; percentiles only where there are enough
requests; ratios of medians with an interval that resamples blocks, then requests.
"""

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from harness.contracts import Generation, Request, Sampling, TextModel
from harness.errors import ModelError
from harness.intervals import block_medians, percentile
from harness.metrics.profiles import Profile
from harness.tracking.rows import Value

WINDOW = (
    "Request objects on the host to Generation objects on the host: encoding of the condition, network, sampling and decoding to "
    "text are inside; loading, data, scoring and clock are outside"
)
_WARMUP_LEAST, _WARMUP_WINDOW, _WARMUP_SPREAD = 3, 3, 0.02
# n with 1 - q**n at least 0.975: below it the sample's largest value is no upper end of a two-sided 95 % interval
LEAST_REQUESTS = {50: 2, 90: 36, 95: 72, 99: 368}
_BLOCKS = 8

Clock = Callable[[], int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Contestant:
    """A loaded model and how it is asked.

    Attributes:
        name: as labelled in the row.
        model: the adapter.
        settings: decoding; `micro_batch` is set to the timed batch.
    """

    name: str
    model: TextModel
    settings: Sampling


@dataclass(frozen=True, kw_only=True, slots=True)
class Timings:
    """Raw readings of one contestant at one batch size.

    Attributes:
        blocks: nanoseconds of every call, block by block, in the order measured.
        warmup: nanoseconds of the calls before.
        settled: whether the warm-up became stable before its cap.
        generations: answers of the timed calls, for scoring the very outputs that were timed.
        short: answers with other than `max_tokens` tokens although the length was fixed.
    """

    blocks: tuple[tuple[int, ...], ...]
    warmup: tuple[int, ...]
    settled: bool
    generations: tuple[Generation, ...] = ()
    short: int = 0

    @property
    def milliseconds(self) -> Float[np.ndarray, "K n"]:
        """Readings in milliseconds, one row per block."""
        return np.array(self.blocks, dtype=np.float64) / 1e6


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """What a latency stage records.

    Attributes:
        values: name -> value, for the row.
        raw: "candidate batch 1" -> nanoseconds by block; warm-ups beside them.
        evidence: machine and circumstances.
        generations: the candidate's answers in the timed calls at batch 1.
    """

    values: Mapping[str, Value]
    raw: Mapping[str, tuple[tuple[int, ...], ...]]
    evidence: Mapping[str, str | float | int | None]
    generations: tuple[Generation, ...] = field(default=(), repr=False)


def measure(
    candidate: Contestant,
    *,
    baseline: Contestant | None,
    requests: Sequence[Request],
    profile: Profile,
    batch: int,
    seed: int,
    device: str = "cpu",
    clock: Clock = time.perf_counter_ns,
    synchronize: Callable[[], None] | None = None,
) -> Latency:
    """Time a candidate at batch 1 and at a larger batch, in turn with the baseline.

    Args:
        candidate: whose latency it is.
        baseline: the autoregressive model of the same task; `None` leaves the ratios absent.
        requests: what is asked, in order; reused from the start where more are needed.
        profile: numbers of requests, warm-up cap and highest percentile.
        batch: requests per call of the batched scenario.
        seed: for resampling.
        device: torch device the models stand on; a CUDA device is synchronised around every reading.
        clock: nanoseconds, monotonic.
        synchronize: waits for the device; `None` chooses by `device`.

    Raises:
        ValueError: no requests, or a batch below 2.
        ModelError: a model that answers with another number of generations.
    """
    if not requests or batch < 2:
        raise ValueError(f"{len(requests)} requests and batch {batch}: expected at least one request and a batch of at least 2")
    wait = synchronize or (_synchronize_cuda if device.startswith("cuda") else _nothing)
    before = _load_average()
    contestants = [candidate] if baseline is None else [candidate, baseline]
    single, batched = (
        interleaved(contestants, requests=requests, profile=profile, batch=size, clock=clock, synchronize=wait)
        for size in (1, batch)
    )
    evidence = {**_environment(device), "load_before": before, "load_after": _load_average()}
    evidence |= _circumstances(candidate, baseline, requests, profile, batch)
    values = _values(single, batched, batch=batch, profile=profile, rng=np.random.default_rng(seed))
    return Latency(
        values=_signed(values, evidence),
        raw=_raw({1: single, batch: batched}),
        evidence=evidence,
        generations=single[0].generations,
    )


def interleaved(
    contestants: Sequence[Contestant],
    *,
    requests: Sequence[Request],
    profile: Profile,
    batch: int,
    clock: Clock,
    synchronize: Callable[[], None],
) -> list[Timings]:
    """Readings of all contestants at one batch size, in blocks that alternate: A B, B A, A B, ...

    At least two blocks each, as many calls as the profile asks for, and more blocks until its seconds are spent.
    """
    calls = [
        _Caller(contestant=item, requests=requests, batch=batch, clock=clock, synchronize=synchronize) for item in contestants
    ]
    warmups = [warm_up(call, cap=profile.warmup_cap) for call in calls]
    count = min(_BLOCKS, max(2, profile.latency_requests // 2))
    size = -(-profile.latency_requests // count)
    blocks: list[list[tuple[int, ...]]] = [[] for _ in calls]
    answers: list[list[Generation]] = [[] for _ in calls]
    while len(blocks[0]) < count or _seconds(blocks) < profile.latency_seconds:
        done = len(blocks[0])
        turn = list(enumerate(calls))
        for index, call in turn if done % 2 == 0 else turn[::-1]:
            timed = [call(number) for number in range(done * size, (done + 1) * size)]
            blocks[index].append(tuple(nanoseconds for nanoseconds, _ in timed))
            answers[index].extend(answer for _, group in timed for answer in group)
    return [
        Timings(blocks=tuple(rows), warmup=spent, settled=settled, generations=tuple(given), short=_short(item, requests, given))
        for item, rows, (spent, settled), given in zip(contestants, blocks, warmups, answers, strict=True)
    ]


def _short(contestant: Contestant, requests: Sequence[Request], answers: Sequence[Generation]) -> int:
    """Nobody is fast by writing less than was asked for: answers whose length is not the fixed one."""
    if not contestant.settings.fixed_length:
        return 0
    limits = {request.id: request.max_tokens for request in requests}
    return sum(any(len(ids) != limits.get(answer.id) for ids in answer.ids or ()) for answer in answers)


def warm_up(call: Callable[[int], tuple[int, Sequence[Generation]]], *, cap: int) -> tuple[tuple[int, ...], bool]:
    """Call at the timed shape until the median of the last 3 calls is within 2 % of that of the 3 before.

    Args:
        call: makes the call of a number and returns its nanoseconds.
        cap: calls at most; at least 3 are made.

    Returns:
        Nanoseconds of every call, and whether it became stable.
    """
    spent: list[int] = []
    while len(spent) < max(cap, _WARMUP_LEAST):
        spent.append(call(len(spent))[0])
        if len(spent) >= 2 * _WARMUP_WINDOW:
            last, previous = (float(np.median(part)) for part in (spent[-_WARMUP_WINDOW:], spent[-6:-3]))
            if abs(last - previous) <= _WARMUP_SPREAD * previous:
                return tuple(spent), True
    return tuple(spent), False


@dataclass(frozen=True, kw_only=True)
class _Caller:
    """One timed call after another: synchronise, read, generate, synchronise, read."""

    contestant: Contestant
    requests: Sequence[Request]
    batch: int
    clock: Clock
    synchronize: Callable[[], None]

    def __call__(self, number: int) -> tuple[int, list[Generation]]:
        first = number * self.batch
        asked = [self.requests[index % len(self.requests)] for index in range(first, first + self.batch)]
        settings = replace(self.contestant.settings, micro_batch=self.batch)
        self.synchronize()
        begun = self.clock()
        answers = self.contestant.model.generate(asked, settings)
        self.synchronize()
        spent = self.clock() - begun
        if len(answers) != len(asked):
            raise ModelError(f"{self.contestant.name} gave {len(answers)} generations for {len(asked)} requests")
        return spent, answers


def _values(
    single: Sequence[Timings], batched: Sequence[Timings], *, batch: int, profile: Profile, rng: np.random.Generator
) -> dict[str, Value]:
    values = {f"latency_ms_p{level}": _percentile(single[0], level, profile, rng) for level in LEAST_REQUESTS}
    values["ratio_to_ar"] = _ratio(single, profile.resamples, rng)
    values["batched_ratio_to_ar"] = _ratio(batched, profile.resamples, rng)
    values["throughput_seq_per_s"] = _throughput(batched[0], batch, profile.resamples, rng)
    values["network_calls"] = _per_request(single[0], lambda answer: answer.network_calls, "the model counts no network calls")
    values["positions_processed"] = _per_request(
        single[0], lambda answer: answer.positions_processed, "the model counts no positions"
    )
    return values


def _percentile(timings: Timings, level: int, profile: Profile, rng: np.random.Generator) -> Value:
    readings = timings.milliseconds
    if level > profile.highest_percentile:
        reason = f"profile {profile.name!r} shows percentiles up to p{profile.highest_percentile}"
        return Value(value=None, n=readings.size, reason=reason, higher_is_better=False)
    if readings.size < LEAST_REQUESTS[level]:
        reason = f"p{level} needs {LEAST_REQUESTS[level]} requests, there are {readings.size}"
        return Value(value=None, n=readings.size, reason=reason, higher_is_better=False)
    interval = percentile(_draws(readings, _picks(len(readings), profile.resamples, rng), level / 100, rng))
    return Value(
        value=float(np.quantile(readings, level / 100)), low=interval.low, high=interval.high, n=readings.size,
        flags=_flags(timings), higher_is_better=False,
    )  # fmt: skip


def _ratio(timings: Sequence[Timings], resamples: int, rng: np.random.Generator) -> Value:
    """Ratio of medians, candidate over baseline; both systems keep the same resampled blocks, since they ran in turn."""
    count = timings[0].milliseconds.size
    if len(timings) < 2:
        return Value(value=None, n=count, reason="no baseline to compare with", higher_is_better=False)
    ours, theirs = (item.milliseconds for item in timings)
    picks = _picks(len(ours), resamples, rng)
    interval = percentile(_draws(ours, picks, 0.5, rng) / _draws(theirs, picks, 0.5, rng))
    unclear = ("no difference shown: the interval contains 1",) if interval.low <= 1 <= interval.high else ()
    return Value(
        value=float(np.median(ours) / np.median(theirs)), low=interval.low, high=interval.high, n=count,
        flags=(*unclear, *_flags(*timings)), higher_is_better=False,
    )  # fmt: skip


def _throughput(timings: Timings, batch: int, resamples: int, rng: np.random.Generator) -> Value:
    readings = timings.milliseconds
    interval = percentile(batch * 1e3 / _draws(readings, _picks(len(readings), resamples, rng), 0.5, rng))
    return Value(
        value=batch * 1e3 / float(np.median(readings)), low=interval.low, high=interval.high, n=readings.size * batch,
        flags=_flags(timings), higher_is_better=True,
    )  # fmt: skip


def _per_request(timings: Timings, count: Callable[[Generation], int | None], reason: str) -> Value:
    counts = [count(answer) for answer in timings.generations]
    known = [number for number in counts if number]
    if len(known) < len(counts):
        return Value(value=None, n=len(counts), reason=reason, higher_is_better=False)
    return Value(value=float(np.mean(known)), n=len(known), higher_is_better=False)


def _picks(blocks: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(blocks, size=(resamples, blocks))


def _draws(readings: Float[np.ndarray, "K n"], picks: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    return block_medians(readings, picks, quantile=level, rng=rng)


def _flags(*timings: Timings) -> tuple[str, ...]:
    wild = [len(item.warmup) for item in timings if not item.settled]
    short = sum(item.short for item in timings)
    return (
        *((f"warm-up did not settle in {max(wild)} calls",) if wild else ()),
        *((f"{short} answers have another length than the fixed one",) if short else ()),
    )


def _signed(values: Mapping[str, Value], evidence: Mapping[str, str | float | int | None]) -> dict[str, Value]:
    """Values with what must agree before they are compared, and a flag where the machine had other work."""
    parts = ("device_name", "threads", "dtype", "torch", "length", "max_tokens", "batch", "baseline")
    signature = "|".join(f"{part}:{evidence[part]}" for part in parts)
    load, cpus = evidence["load_before"], evidence["cpus"]
    busy = isinstance(load, float) and isinstance(cpus, int) and load > cpus
    flag = (f"busy machine: load {load} on {cpus} CPUs",) if busy else ()
    return {name: replace(value, signature=signature, flags=(*value.flags, *flag)) for name, value in values.items()}


def _raw(scenarios: Mapping[int, Sequence[Timings]]) -> dict[str, tuple[tuple[int, ...], ...]]:
    raw: dict[str, tuple[tuple[int, ...], ...]] = {}
    for batch, timings in scenarios.items():
        for role, item in zip(("candidate", "baseline"), timings, strict=False):
            raw[f"{role} batch {batch}"] = item.blocks
            raw[f"{role} batch {batch} warm-up"] = (item.warmup,)
    return raw


def _circumstances(
    candidate: Contestant, baseline: Contestant | None, requests: Sequence[Request], profile: Profile, batch: int
) -> dict[str, str | float | int | None]:
    regimes = {item.settings.fixed_length for item in (candidate, baseline) if item is not None}
    return {
        "candidate": candidate.name,
        "baseline": None if baseline is None else baseline.name,
        "length": "mixed" if len(regimes) > 1 else "fixed" if True in regimes else "natural",
        "max_tokens": max(request.max_tokens for request in requests),
        "steps": candidate.settings.steps,
        "batch": batch,
        "profile": profile.name,
        "window": WINDOW,
    }


def _environment(device: str) -> dict[str, str | float | int | None]:
    import torch

    cuda = device.startswith("cuda")
    return {
        "device": device,
        "device_name": torch.cuda.get_device_name(device) if cuda else platform.machine(),
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "dtype": str(torch.get_default_dtype()).removeprefix("torch."),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _seconds(blocks: Sequence[Sequence[tuple[int, ...]]]) -> float:
    """Seconds measured so far by the contestant that spent least."""
    return min(sum(map(sum, rows)) for rows in blocks) / 1e9


def _load_average() -> float | None:
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _synchronize_cuda() -> None:
    import torch

    for index in range(torch.cuda.device_count()):
        torch.cuda.synchronize(index)


def _nothing() -> None:
    return None
