"""Contestants timed in turn: warm-up, blocks that alternate, and what each block came to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from harness.contracts import Generation, Request
from harness.errors import ModelError
from harness.latency.contestants import Contestant, Written, short_answers
from harness.latency.timings import Timings
from harness.metrics.profiles import Profile

if TYPE_CHECKING:
    from harness.latency.devices import Device
    from harness.latency.stopwatch import Reading

_WARMUP_LEAST, _WARMUP_WINDOW, _WARMUP_SPREAD = 3, 3, 0.02
_BLOCKS = 8
_MOST_TIMES = 8


def interleaved(
    contestants: Sequence[Contestant], *, requests: Sequence[Request], profile: Profile, batch: int, device: "Device",
    look: Callable[[], None] = lambda: None,
) -> list[Timings]:  # fmt: skip
    """Readings of all contestants at one batch size, in blocks that alternate: A B, B A, A B, ...

    At least two blocks each, as many calls as the profile asks for, and more blocks until the slower has its seconds.

    Args:
        contestants: in the order of the results.
        requests: what is asked, in order; reused from the start where more are needed.
        profile: numbers of requests and warm-up cap.
        batch: requests per call.
        device: where the models stand.
        look: called after every turn, outside of what is timed.
    """
    lanes = [Lane(contestant=item, requests=requests, batch=batch, device=device) for item in contestants]
    warmups = [warm_up(lane.nanoseconds, cap=profile.warmup_cap) for lane in lanes]
    count = min(_BLOCKS, max(2, profile.latency_requests // 2))
    sizes = _block_sizes(-(-profile.latency_requests // count), [spent for spent, _ in warmups])
    turn = list(zip(lanes, sizes, strict=True))
    while len(lanes[0].blocks) < count or max(lane.seconds for lane in lanes) < profile.latency_seconds:
        for lane, size in turn if len(lanes[0].blocks) % 2 == 0 else turn[::-1]:
            lane.block(size)
        look()
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
class Lane:
    """One contestant at one batch size: its calls, and what they came to."""

    contestant: Contestant
    requests: Sequence[Request]
    batch: int
    device: "Device"
    blocks: list[tuple[int, ...]] = field(default_factory=list)
    written: list[tuple[Written, ...]] = field(default_factory=list)
    answers: dict[str, Generation] = field(default_factory=dict)
    short: int = 0
    device_nanoseconds: int | None = None
    joules: float | None = None
    peak: dict[str, float] = field(default_factory=dict)

    def call(self, number: int) -> "Reading[list[Generation]]":
        """One timed call; beams and candidates of a batch go through the network together."""
        first = number * self.batch
        asked = [self.requests[index % len(self.requests)] for index in range(first, first + self.batch)]
        jobs = max(self.contestant.settings.beams, *(request.n for request in asked))
        settings = replace(self.contestant.settings, micro_batch=self.batch * jobs)
        reading = self.device.stopwatch(lambda: self.contestant.model.generate(asked, settings))
        if len(reading.done) != len(asked):
            raise ModelError(f"{self.contestant.name} gave {len(reading.done)} generations for {len(asked)} requests")
        self.answers |= {answer.id: answer for answer in reading.done}
        return reading

    def nanoseconds(self, number: int) -> int:
        """What a call takes."""
        return self.call(number).nanoseconds

    def block(self, size: int) -> None:
        """Calls one after the other; the numbering goes on from block to block."""
        first = len(self.blocks) * size
        self.device.forget_peak()
        before = self.device.joules()
        readings = [self.call(number) for number in range(first, first + size)]
        self._spent(before, self.device.joules())
        self.blocks.append(tuple(reading.nanoseconds for reading in readings))
        self.written.append(tuple(Written.of(reading.done) for reading in readings))
        limits = {request.id: request.max_tokens for request in self.requests}
        for reading in readings:
            self.short += short_answers(self.contestant, reading.done, limits)
            if reading.device_nanoseconds is not None:
                self.device_nanoseconds = (self.device_nanoseconds or 0) + reading.device_nanoseconds

    def _spent(self, before: float | None, after: float | None) -> None:
        """Energy of a block, and the most memory that one took."""
        if before is not None and after is not None:
            self.joules = (self.joules or 0.0) + after - before
        for name, mib in self.device.peak_mib().items():
            self.peak[name] = max(self.peak.get(name, 0.0), mib)

    @property
    def seconds(self) -> float:
        """Measured so far."""
        return sum(map(sum, self.blocks)) / 1e9

    def timings(self, warmup: tuple[int, ...], settled: bool) -> Timings:
        """All of it."""
        peak: Mapping[str, float] = self.peak
        return Timings(
            blocks=tuple(self.blocks), warmup=warmup, settled=settled, written=tuple(self.written), answers=self.answers,
            short=self.short, device_nanoseconds=self.device_nanoseconds, joules=self.joules, peak_mib=peak,
        )  # fmt: skip
