"""Reports of benchmarks: each line is printed, and with `BENCH_WRITE=1` written to results/benchmarks/.

`BENCH_NOTE` is a remark on the machine that is written too, such as what ran beside the benchmark.
"""

import os
import platform
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

RESULTS = Path(__file__).parents[2] / "results" / "benchmarks"


def pace():
    """Speed of a plain Python loop, on the clock and of the processor: tells a slow host from slow code."""
    found = timed(_additions, 5)
    return f"{1.0 / found.wall:.1f} million additions per second ({1.0 / found.processor:.1f} per second of the processor)"


def _additions():
    total = 0
    for number in range(1_000_000):
        total += number


@dataclass(frozen=True)
class Timing:
    """Median seconds of a call on the clock, and of the processor in all threads of this process."""

    wall: float
    processor: float


def timed(call, repetitions):
    """Medians of several calls."""
    found = []
    for _ in range(repetitions):
        start, busy = time.perf_counter(), time.process_time()
        call()
        found.append((time.perf_counter() - start, time.process_time() - busy))
    return Timing(*map(statistics.median, zip(*found, strict=True)))


@pytest.fixture(scope="module")
def measure(report):
    """Call it with what is measured, how, and the seconds it may take: reports the medians of some calls."""

    def add(what, call, *, seconds=None, repetitions=5):
        found = timed(call, repetitions)
        wanted = f"; wanted: at most {seconds:g} s" if seconds else ""
        times = f"{found.processor:.2f} s of the processor, {found.wall:.2f} s on the clock"
        report(f"{what}: {times} ({repetitions} {'runs, medians' if repetitions > 1 else 'run'}){wanted}")

    return add


@pytest.fixture(scope="module")
def report(request):
    """Call it with a line of what was measured."""
    title = request.module.__doc__.strip()
    lines, before, load = [], pace(), os.getloadavg()[0]

    def add(line):
        print(line)
        lines.append(f"- {line}\n")

    yield add
    data = " and `HARNESS_DATA`" if "HARNESS_DATA" in os.environ else ""
    about = (
        f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, OMP_NUM_THREADS "
        f"{os.environ.get('OMP_NUM_THREADS', 'not set')}; load average {load:.1f} before and {os.getloadavg()[0]:.1f} after; a "
        f"plain Python loop made {before} before and {pace()} after. {os.environ.get('BENCH_NOTE', '')}".rstrip()
        + f"\n\nMade by the command of `make bench` for {request.path.name} alone, with `BENCH_WRITE=1`{data}."
    )
    name = request.module.__name__.rpartition(".")[2].removeprefix("bench_")
    if os.environ.get("BENCH_WRITE") == "1" and lines:
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / f"{name}.md").write_text(f"# {title}\n\n{about}\n\n{''.join(lines)}", encoding="utf-8")
