"""Latency of a model beside that of the autoregressive baseline: warm, in turn, with raw values and evidence.

What is done:

- Warm-up at the timed shape until stable; its seconds are a value of their own.
- The device synchronised around every reading of a nanosecond clock; on CUDA, events as a second reading, and a flag where the
  two differ by more than 2 %.
- Both systems in interleaved blocks (A B B A ...) on one device, at batch 1 and at a larger batch. A faster system makes more
  calls in a block; the pass ends when each has its requests and the slower its seconds.
- All candidates of a request are inside, and the baseline decodes as the candidate does. The batch counts requests: they go
  through the network together with all their candidates and beams.
- Timed texts have the fixed length and are not scored. After timing, up to 16 requests that were scored are asked once more, at
  natural length, and the row is flagged where a text differs from the scored one.
- Percentiles, medians and their ratios only where there are enough readings; ratios of medians with an interval that resamples
  blocks, then requests.

Where this departs from the usual window (ids in, ids out): a model takes text and gives text, so tokenising and detokenising are
inside. What they take by themselves is measured outside and stands beside (`latency_tokenising_ms`). The hook by which a
diffusion model counts its network calls stays on in timed calls: 4 microseconds a call, below 0.1 % of a step of 140,000
parameters on one CPU thread.
"""

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from harness.contracts import Generation, Request, Sampling, TextModel
from harness.errors import ModelError
from harness.metrics.profiles import Profile
from harness.runner.hardware import processor
from harness.stopwatch import Reading, Stopwatch, stopwatch_of
from harness.timings import VERSION, Timings, absent, values_of
from harness.tokenizer import Tokenizer
from harness.tracking.rows import Value

WINDOW = (
    "Request objects on the host to Generation objects on the host: encoding of the condition, network, sampling and decoding to "
    "text are inside; loading, data, scoring and clock are outside"
)
_WARMUP_LEAST, _WARMUP_WINDOW, _WARMUP_SPREAD = 3, 3, 0.02
_BLOCKS = 8
_MOST_TIMES = 8

Evidence = Mapping[str, str | float | int | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Contestant:
    """A loaded model and how it is asked.

    Attributes:
        name: as labelled in the row.
        model: the adapter.
        settings: decoding; `micro_batch` is set so that a timed batch goes through the network together.
    """

    name: str
    model: TextModel
    settings: Sampling


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """What a latency stage records.

    Attributes:
        values: name -> value, for the row.
        raw: "candidate batch 1" -> nanoseconds by block; warm-ups beside them.
        evidence: machine and circumstances.
    """

    values: Mapping[str, Value]
    raw: Mapping[str, tuple[tuple[int, ...], ...]]
    evidence: Evidence


def measure(
    candidate: Contestant,
    *,
    baseline: Contestant | None,
    requests: Sequence[Request],
    profile: Profile,
    batch: int,
    seed: int,
    tokenizer: Tokenizer | None = None,
    device: str = "cpu",
    stopwatch: Stopwatch | None = None,
) -> Latency:
    """Time a candidate at batch 1 and at a larger batch, in turn with the baseline.

    Args:
        candidate: whose latency it is.
        baseline: the autoregressive model of the same task; `None` leaves the ratios absent.
        requests: what is asked, in order; reused from the start where more are needed.
        profile: numbers of requests, warm-up cap and highest percentile.
        batch: requests per call of the batched scenario.
        seed: for resampling.
        tokenizer: of the task, to be timed by itself; `None` leaves that value absent.
        device: torch device the models stand on; a CUDA device is synchronised around every reading.
        stopwatch: `None` chooses by `device`.

    Raises:
        ValueError: no requests, or a batch below 2.
        ModelError: a model that answers with another number of generations.
    """
    if not requests or batch < 2:
        raise ValueError(f"{len(requests)} requests and batch {batch}: expected at least one request and a batch of at least 2")
    stopwatch = stopwatch or stopwatch_of(device)
    before = _load_average()
    contestants = [candidate] if baseline is None else [candidate, baseline]
    single, batched = (
        interleaved(contestants, requests=requests, profile=profile, batch=size, stopwatch=stopwatch) for size in (1, batch)
    )
    evidence = {**_environment(device), "load_before": before, "load_after": _load_average()}
    evidence |= _circumstances(candidate, baseline, requests, profile, batch)
    values = values_of(single, batched, batch=batch, profile=profile, rng=np.random.default_rng(seed))
    values["latency_tokenising_ms"] = _tokenising(tokenizer, requests, single[0].answers, stopwatch)
    return Latency(values=_signed(values, evidence), raw=_raw({1: single, batch: batched}), evidence=evidence)


def interleaved(
    contestants: Sequence[Contestant], *, requests: Sequence[Request], profile: Profile, batch: int, stopwatch: Stopwatch
) -> list[Timings]:
    """Readings of all contestants at one batch size, in blocks that alternate: A B, B A, A B, ...

    At least two blocks each, as many calls as the profile asks for, and more blocks until the slower has its seconds.
    """
    lanes = [_Lane(contestant=item, requests=requests, batch=batch, stopwatch=stopwatch) for item in contestants]
    warmups = [warm_up(lane.nanoseconds, cap=profile.warmup_cap) for lane in lanes]
    count = min(_BLOCKS, max(2, profile.latency_requests // 2))
    sizes = _block_sizes(-(-profile.latency_requests // count), [spent for spent, _ in warmups])
    turn = list(zip(lanes, sizes, strict=True))
    while len(lanes[0].blocks) < count or max(lane.seconds for lane in lanes) < profile.latency_seconds:
        for lane, size in turn if len(lanes[0].blocks) % 2 == 0 else turn[::-1]:
            lane.block(size)
    return [lane.timings(*warmup) for lane, warmup in zip(lanes, warmups, strict=True)]


def _block_sizes(least: int, warmups: Sequence[Sequence[int]]) -> list[int]:
    """Calls per block: the faster makes more, so that blocks last about as long, but not without bound."""
    usual = [max(1.0, float(np.median(spent[-_WARMUP_WINDOW:]))) for spent in warmups]
    return [least * min(_MOST_TIMES, int(max(usual) / own)) for own in usual]


def warm_up(call: Callable[[int], int], *, cap: int) -> tuple[tuple[int, ...], bool]:
    """Call at the timed shape until the median of the last 3 calls is within 2 % of that of the 3 before.

    Args:
        call: makes the call of a number and returns its nanoseconds.
        cap: calls at most; at least 3 are made.

    Returns:
        Nanoseconds of every call, and whether it became stable.
    """
    spent: list[int] = []
    while len(spent) < max(cap, _WARMUP_LEAST):
        spent.append(call(len(spent)))
        if len(spent) >= 2 * _WARMUP_WINDOW:
            last, previous = (float(np.median(part)) for part in (spent[-_WARMUP_WINDOW:], spent[-6:-3]))
            if abs(last - previous) <= _WARMUP_SPREAD * previous:
                return tuple(spent), True
    return tuple(spent), False


@dataclass(kw_only=True)
class _Lane:
    """One contestant at one batch size: its calls, and what they came to."""

    contestant: Contestant
    requests: Sequence[Request]
    batch: int
    stopwatch: Stopwatch
    blocks: list[tuple[int, ...]] = field(default_factory=list)
    answers: dict[str, Generation] = field(default_factory=dict)
    short: int = 0
    device_nanoseconds: int | None = None

    def call(self, number: int) -> Reading[list[Generation]]:
        """One timed call; beams and candidates of a batch go through the network together."""
        first = number * self.batch
        asked = [self.requests[index % len(self.requests)] for index in range(first, first + self.batch)]
        jobs = max(self.contestant.settings.beams, *(request.n for request in asked))
        settings = replace(self.contestant.settings, micro_batch=self.batch * jobs)
        reading = self.stopwatch(lambda: self.contestant.model.generate(asked, settings))
        if len(reading.done) != len(asked):
            raise ModelError(f"{self.contestant.name} gave {len(reading.done)} generations for {len(asked)} requests")
        return reading

    def nanoseconds(self, number: int) -> int:
        """What a call takes."""
        return self.call(number).nanoseconds

    def block(self, size: int) -> None:
        """Calls one after the other; the numbering goes on from block to block."""
        first = len(self.blocks) * size
        readings = [self.call(number) for number in range(first, first + size)]
        self.blocks.append(tuple(reading.nanoseconds for reading in readings))
        for reading in readings:
            self.answers |= {answer.id: answer for answer in reading.done}
            self.short += self._short(reading.done)
            if reading.device_nanoseconds is not None:
                self.device_nanoseconds = (self.device_nanoseconds or 0) + reading.device_nanoseconds

    def _short(self, answers: Sequence[Generation]) -> int:
        """Nobody is fast by writing less than was asked for: answers whose length is not the fixed one."""
        if not self.contestant.settings.fixed_length:
            return 0
        limits = {request.id: request.max_tokens for request in self.requests}
        return sum(any(len(ids) != limits.get(answer.id) for ids in answer.ids or ()) for answer in answers)

    @property
    def seconds(self) -> float:
        """Measured so far."""
        return sum(map(sum, self.blocks)) / 1e9

    def timings(self, warmup: tuple[int, ...], settled: bool) -> Timings:
        """All of it."""
        return Timings(
            blocks=tuple(self.blocks), warmup=warmup, settled=settled, answers=self.answers, short=self.short,
            device_nanoseconds=self.device_nanoseconds,
        )  # fmt: skip


def _tokenising(
    tokenizer: Tokenizer | None, requests: Sequence[Request], answers: Mapping[str, Generation], stopwatch: Stopwatch
) -> Value:
    """Median milliseconds in which a request's condition becomes ids and the ids of its candidates become texts."""
    asked = [request for request in requests if request.id in answers and answers[request.id].ids is not None]
    if tokenizer is None or not asked:
        return absent("no tokenizer was given, or the answers have no ids", len(asked))
    spent = [stopwatch(partial(_tokenised, tokenizer, request, answers[request.id])).nanoseconds for request in asked]
    return Value(value=float(np.median(spent)) / 1e6, n=len(spent), higher_is_better=False)


def _tokenised(tokenizer: Tokenizer, request: Request, answer: Generation) -> None:
    if request.condition is not None:
        tokenizer.encode(request.condition)
    for ids in answer.ids or ():
        tokenizer.decode(ids)


def _signed(values: Mapping[str, Value], evidence: Evidence) -> dict[str, Value]:
    """Values with what must agree before they are compared, and a flag where the machine had other work."""
    parts = (
        "version", "device_name", "threads", "dtype", "torch", "length", "max_tokens", "batch", "candidates", "baseline",
        "baseline_decode",
    )  # fmt: skip
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
        "version": VERSION,
        "candidate": candidate.name,
        "decode": _decode(candidate.settings),
        "dtype": _dtype(candidate.model),
        "baseline": None if baseline is None else baseline.name,
        "baseline_decode": None if baseline is None else _decode(baseline.settings),
        "baseline_dtype": None if baseline is None else _dtype(baseline.model),
        "length": "mixed" if len(regimes) > 1 else "fixed" if True in regimes else "natural",
        "max_tokens": max(request.max_tokens for request in requests),
        "candidates": max(request.n for request in requests),
        "steps": candidate.settings.steps,
        "batch": batch,
        "profile": profile.name,
        "window": WINDOW,
    }


def _decode(settings: Sampling) -> str:
    if settings.method == "sample":
        return f"sample t{settings.temperature:g} p{settings.top_p:g}"
    return f"beam {settings.beams}" if settings.method == "beam" else settings.method


def _dtype(model: TextModel) -> str:
    """Of the model's parameters; torch's default where it is no torch module."""
    import torch

    first = next(model.parameters(), None) if isinstance(model, torch.nn.Module) else None
    return str(torch.get_default_dtype() if first is None else first.dtype).removeprefix("torch.")


def _environment(device: str) -> dict[str, str | float | int | None]:
    import torch

    cuda = device.startswith("cuda")
    return {
        "device": device,
        "device_name": torch.cuda.get_device_name(device) if cuda else processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _load_average() -> float | None:
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
