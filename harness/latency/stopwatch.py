"""How long something takes: a nanosecond clock, read while the device has nothing left to do."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Done = TypeVar("Done")


@dataclass(frozen=True, slots=True)
class Reading(Generic[Done]):
    """One timed piece of work.

    Attributes:
        done: what it gave.
        nanoseconds: by the host's clock.
        device_nanoseconds: by the device's own clock; `None` where it has none.
    """

    done: Done
    nanoseconds: int
    device_nanoseconds: int | None = None


@dataclass(frozen=True)
class Stopwatch:
    """The host's clock; on a CPU there is nothing to wait for.

    Attributes:
        clock: nanoseconds, monotonic.
    """

    clock: Callable[[], int] = time.perf_counter_ns

    def synchronize(self) -> None:
        """Wait until the device has done all that was asked of it."""

    def __call__(self, work: Callable[[], Done]) -> Reading[Done]:
        """Do a piece of work and time it."""
        self.synchronize()
        begun = self.clock()
        done = work()
        self.synchronize()
        return Reading(done, self.clock() - begun)


class CudaStopwatch(Stopwatch):
    """The host's clock, and events in the stream of the current CUDA device as a second reading."""

    def synchronize(self) -> None:
        """Wait for every visible device."""
        import torch

        for index in range(torch.cuda.device_count()):
            torch.cuda.synchronize(index)

    def __call__(self, work: Callable[[], Done]) -> Reading[Done]:
        """Do a piece of work and time it twice."""
        begun, ended = _event(), _event()

        def marked() -> Done:
            begun.record()
            done = work()
            ended.record()
            return done

        reading = super().__call__(marked)
        return Reading(reading.done, reading.nanoseconds, round(begun.elapsed_time(ended) * 1e6))


def _event() -> Any:
    import torch

    return torch.cuda.Event(enable_timing=True)
