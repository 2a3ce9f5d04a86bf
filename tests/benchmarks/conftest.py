"""Reports of benchmarks: each line is printed, and with `BENCH_WRITE=1` written to results/benchmarks/."""

import os
import platform
import statistics
import time
from pathlib import Path

import pytest

RESULTS = Path(__file__).parents[2] / "results" / "benchmarks"


def pace():
    """Millions of additions per second in a plain Python loop, the median of five: tells a slow host from slow code."""
    found = []
    for _ in range(5):
        start, total = time.perf_counter(), 0
        for number in range(1_000_000):
            total += number
        found.append(1.0 / (time.perf_counter() - start))
    return statistics.median(found)


@pytest.fixture(scope="module")
def report(request):
    """Call it with a line of what was measured."""
    title = request.module.__doc__.strip()
    lines, before, load = [], pace(), os.getloadavg()[0]

    def add(line):
        print(line)
        lines.append(f"- {line}\n")

    yield add
    about = (
        f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores; load average {load:.1f} before and "
        f"{os.getloadavg()[0]:.1f} after; a plain Python loop made {before:.1f} million additions per second before and "
        f"{pace():.1f} after."
    )
    name = request.module.__name__.rpartition(".")[2].removeprefix("bench_")
    if os.environ.get("BENCH_WRITE") == "1" and lines:
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / f"{name}.md").write_text(f"# {title}\n\n{about}\n\n{''.join(lines)}", encoding="utf-8")
