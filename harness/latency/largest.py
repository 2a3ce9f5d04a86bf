"""How many requests at a time a device has memory for."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.contracts import Request
from harness.errors import MeasurementRefused
from harness.latency.contestants import Contestant
from harness.latency.lanes import Lane
from harness.runner.hardware import out_of_memory

if TYPE_CHECKING:
    from harness.latency.devices import Device

MOST = 4096


def largest_batch(contestants: Sequence[Contestant], requests: Sequence[Request], device: "Device", *, most: int = MOST) -> int:
    """The largest power of two, from 2 on, at which every contestant answers: all are timed at one batch size.

    Doubled until memory runs out or `most` is reached.

    Raises:
        MeasurementRefused: a contestant has no memory for two requests at a time.
    """
    size = 1
    while size < most:
        short = next((item.name for item in contestants if not _fits(item, requests, 2 * size, device)), None)
        if short is not None and size == 1:
            raise MeasurementRefused(f"the largest batch: {short} runs out of memory at 2 requests at a time")
        if short is not None:
            break
        size *= 2
    return size


def _fits(contestant: Contestant, requests: Sequence[Request], batch: int, device: "Device") -> bool:
    try:
        Lane(contestant=contestant, requests=requests, batch=batch, device=device).call(0)
    except Exception as error:
        if not out_of_memory(error):
            raise
        return False
    finally:
        device.release()
    return True
