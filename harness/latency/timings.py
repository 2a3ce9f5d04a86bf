"""The readings of one contestant in one scenario of a latency pass."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from harness.contracts import Generation
from harness.latency.contestants import Written

VERSION = 3  # of how latency is measured: in the key of every latency pass and in the signature of its values
LARGEST = "largest"
"""In the place of a batch size: the largest for which a device has memory."""
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
        written: what every call wrote, in the shape of `blocks`.
        answers: request -> the latest answer to it, warm-up included.
        short: answers with other than `max_tokens` tokens although the length was fixed.
        device_nanoseconds: all timed calls by the device's own clock; `None` where it has none.
        joules: energy of all timed calls, idle power included; `None` where the device has no counter.
        peak_mib: most memory in a block, by kind; empty where the device does not tell.
    """

    blocks: tuple[tuple[int, ...], ...]
    warmup: tuple[int, ...]
    settled: bool
    written: tuple[tuple[Written, ...], ...] = ()
    answers: Mapping[str, Generation] = field(default_factory=dict)
    short: int = 0
    device_nanoseconds: int | None = None
    joules: float | None = None
    peak_mib: Mapping[str, float] = field(default_factory=dict)

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
            *((f"the device's clock and the host's differ by {apart:.0%}",) if apart > CLOCKS_APART else ()),
        )
