"""The device that models stand on, as a latency pass sees it: its clock, its state, its counters, and who else uses it.

What a device or its driver does not tell is `None` or absent, never 0.
"""

import ctypes
import os
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from harness.latency.canary_kernel import CanaryKernel
from harness.latency.stopwatch import CudaStopwatch, Stopwatch
from harness.runner.hardware import processor

OTHERS = 0.25  # CPUs: what daemons and the driver's display take stays below
_LEAST_SECONDS = 0.5  # the kernel counts in hundredths of a second
_STEAL = 7  # place of stolen time in a line of /proc/stat; idle and waiting are 3 and 4
_IDLE = (3, 4)

Known = str | float | int | None


@dataclass
class Device:
    """A device of which nothing is known but its clock; what a CPU or a GPU tells is added by subclasses.

    Attributes:
        name: torch device.
        stopwatch: how work on it is timed.
        canary: the fixed piece of work by which its pace is watched.
    """

    name: str = "cpu"
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    canary: Callable[[], object] | None = None

    def __post_init__(self) -> None:
        self.canary = self.canary or CanaryKernel(self.name)

    @property
    def description(self) -> str:
        """What the hardware calls itself."""
        return processor() or platform.machine()

    def state(self) -> Mapping[str, Known]:
        """Clocks, temperature, power and the like, as they are now."""
        return {}

    def others(self) -> str | None:
        """Who else has used the device since the last call, in words; `None` where nobody was seen or nothing can be."""
        return None

    def joules(self) -> float | None:
        """An energy counter that only grows."""
        return None

    def release(self) -> None:
        """Give back memory that is kept for later."""

    def forget_peak(self) -> None:
        """Begin to look for the most memory used."""

    def peak_mib(self) -> Mapping[str, float]:
        """Since `forget_peak`: "working" above what was held then, and what else the device tells, in MiB."""
        return {}

    def idle_watts(self, seconds: float) -> float | None:
        """Power while nothing is asked of the device."""
        begun, before = time.perf_counter(), self.joules()
        if before is None:
            return None
        time.sleep(seconds)
        after = self.joules()
        return None if after is None else (after - before) / (time.perf_counter() - begun)


@dataclass
class Cpu(Device):
    """The CPUs that this process may use, as Linux tells of them.

    Attributes:
        proc, energy: folders of the kernel's files.
        clock: seconds that only grow.
    """

    proc: Path = Path("/proc")
    energy: Path = Path("/sys/class/powercap")
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        super().__post_init__()
        self._seen = self._look()
        self._held = 0.0
        self._counters: dict[Path, tuple[int, int]] = {}

    # --- others ------------------------------------------------------------------------------------------------------
    def others(self) -> str | None:
        """Time of our CPUs that went to other processes, or to other machines on the same host, above a quarter of a CPU."""
        now, then = self._look(), self._seen
        if now is None or then is None or now[0] - then[0] < _LEAST_SECONDS:
            return None
        self._seen = now
        taken = (now[1] - then[1] - (now[2] - then[2])) / (now[0] - then[0])
        return f"others took {taken:.1f} of {len(_own_cpus())} CPUs" if taken > OTHERS else None

    def _look(self) -> tuple[float, float, float] | None:
        """Seconds: on the clock, of our CPUs at work for anybody, of this process."""
        try:
            lines = (self.proc / "stat").read_text().splitlines()
        except OSError:
            return None
        counts = {line.split()[0]: list(map(int, line.split()[1:])) for line in lines if line.startswith("cpu")}
        ours = [counts[name] for name in (f"cpu{index}" for index in _own_cpus()) if name in counts]
        busy = sum(sum(row[: _STEAL + 1]) - sum(row[place] for place in _IDLE) for row in ours)
        return (self.clock(), busy / os.sysconf("SC_CLK_TCK"), sum(os.times()[:4])) if ours else None

    def state(self) -> Mapping[str, Known]:
        """Load average and clock."""
        found: dict[str, Known] = {"load": round(os.getloadavg()[0], 2)} if hasattr(os, "getloadavg") else {}
        lines = _lines(self.proc / "cpuinfo")
        clocks = [float(line.partition(":")[2]) for line in lines if line.startswith("cpu MHz")]
        return {**found, "mhz": round(sum(clocks) / len(clocks))} if clocks else found

    # --- memory ------------------------------------------------------------------------------------------------------
    def forget_peak(self) -> None:
        """Give back what is free, and tell the kernel to forget the most memory that this process had."""
        with suppress(AttributeError, OSError):
            ctypes.CDLL(None).malloc_trim(0)  # glibc keeps freed memory, which would hide what is used again
        try:
            (self.proc / "self" / "clear_refs").write_text("5")
        except OSError:
            return
        self._held = self._resident("VmRSS") or 0.0

    def peak_mib(self) -> Mapping[str, float]:
        """Most resident memory of the process above what it held."""
        most = self._resident("VmHWM")
        return {} if most is None or not self._held else {"working": max(0.0, most - self._held)}

    def _resident(self, name: str) -> float | None:
        found = [line for line in _lines(self.proc / "self" / "status") if line.startswith(f"{name}:")]
        return int(found[0].split()[1]) / 1024 if found else None

    # --- energy ------------------------------------------------------------------------------------------------------
    def joules(self) -> float | None:
        """Energy of all processor packages; counters that begin anew at their end are added up."""
        total = 0
        for folder in sorted(self.energy.glob("intel-rapl:?")):
            try:
                now, end = (int((folder / name).read_text()) for name in ("energy_uj", "max_energy_range_uj"))
            except (OSError, ValueError):
                return None
            last, turns = self._counters.get(folder, (now, 0))
            self._counters[folder] = now, turns + end * (now < last)
            total += now + self._counters[folder][1]
        return total / 1e6 if self._counters else None


def _own_cpus() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def device_of(name: str) -> Device:
    """The device of a torch name."""
    if not name.startswith("cuda"):
        return Cpu(name)
    from harness.latency.cuda import Cuda

    return Cuda(name, CudaStopwatch())
