"""What a user sees while a grid runs: a live picture in a terminal, one line per finished stage elsewhere."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harness.report.escape import visible

if TYPE_CHECKING:
    from harness.runner.execute import Listener, StageEvent
    from harness.runner.planned import Plan

OVER = ("cached", "done", "failed", "blocked")
_MOST_RUNNING = 8
_MOST_FAILURES = 5
_STYLES = {"done": "green", "cached": "cyan", "failed": "red", "blocked": "yellow", "running": "bold"}


class Tally:
    """Where a run stands.

    Args:
        weights: stage key -> estimated seconds, for all stages of the plan.
        clock: seconds that only grow.
        kinds: stage key -> kind; what one kind takes says nothing of another. Without them all are of one kind.
    """

    def __init__(
        self, weights: Mapping[str, float], clock: Callable[[], float] = time.monotonic, kinds: Mapping[str, str] | None = None
    ) -> None:
        self.weights, self.clock, self.kinds = dict(weights), clock, kinds or {}
        self.started = clock()
        self.count: Counter[str] = Counter()
        self.running: dict[str, tuple[StageEvent, float]] = {}
        self.failures: list[StageEvent] = []
        self.notices: list[StageEvent] = []
        self._ahead = defaultdict[str, float](float)
        for key, weight in self.weights.items():
            self._ahead[self._kind(key)] += weight
        self._worked, self._spent = defaultdict[str, float](float), defaultdict[str, float](float)

    def _kind(self, key: str) -> str:
        return self.kinds.get(key, "")

    def __call__(self, event: "StageEvent") -> None:
        """Hear of a stage."""
        if event.status == "started":
            self.running[event.key] = (event, self.clock())
        if event.status == "retried":
            self.running.pop(event.key, None)
            self.notices.append(event)
        if event.status in OVER:
            self._over(event)

    def _over(self, event: "StageEvent") -> None:
        self.running.pop(event.key, None)
        self.count[event.status] += 1
        weight, kind = self.weights.get(event.key, 0.0), self._kind(event.key)
        self._ahead[kind] -= weight
        if event.status == "done" and event.seconds is not None:
            self._worked[kind] += weight
            self._spent[kind] += event.seconds
        if event.status == "failed":
            self.failures.append(event)

    @property
    def total(self) -> int:
        """Stages of the plan."""
        return len(self.weights)

    @property
    def over(self) -> int:
        """Stages about which nothing more will be heard."""
        return sum(self.count.values())

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self.clock() - self.started

    @property
    def left(self) -> float | None:
        """Seconds left: for each kind the estimate, corrected by what was seen of it; `None` before the first stage is done."""
        if self.over >= self.total:
            return 0.0
        if not self._worked:
            return None
        begun = defaultdict[str, float](float)
        for key, (_, since) in self.running.items():
            begun[self._kind(key)] += min(self.clock() - since, self.weights.get(key, 0.0) * self._slowness(self._kind(key)))
        seconds = sum(weight * self._slowness(kind) - begun[kind] for kind, weight in self._ahead.items())
        return max(seconds, 0.0) / max(1, len(self.running))

    def _slowness(self, kind: str) -> float:
        """Seconds taken over seconds estimated."""
        return self._spent[kind] / self._worked[kind] if self._worked[kind] > 0 else 1.0

    @property
    def line(self) -> str:
        """`12 of 54 stages: 10 done, 2 cached, 1 running, 0 failed`."""
        parts = [f"{self.count['done']} done", f"{self.count['cached']} cached", f"{len(self.running)} running"]
        parts += [f"{self.count['failed']} failed"] + ([f"{self.count['blocked']} blocked"] if self.count["blocked"] else [])
        return f"{self.over} of {self.total} stages: {', '.join(parts)}"


def duration(seconds: float | None) -> str:
    """`4 s`, `3 min 20 s`, `2 h 05 min`; a question mark where it is not known."""
    if seconds is None:
        return "?"
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 or seconds == 0 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def named(event: "StageEvent") -> str:
    """What a stage is and for whom."""
    first, more = event.cells[:1], len(event.cells) - 1
    return visible(" ".join([event.title, *first, *([f"and {more} more"] if more > 0 else [])]))


@contextmanager
def watching(plan: "Plan", console: Console | None = None) -> "Iterator[Listener]":
    """Show a run while the block runs.

    Args:
        plan: what will run.
        console: where to; the standard output by default.

    Yields:
        What the runner calls with every event.
    """
    console = console or Console()
    tally = Tally(weights_of(plan), kinds={key: stage.kind for key, stage in plan.stages.items()})
    if not console.is_terminal:
        yield Lines(tally, console)
        return
    with Live(get_renderable=lambda: picture(tally), console=console, refresh_per_second=4, transient=False):
        yield tally


def weights_of(plan: "Plan") -> dict[str, float]:
    """Stage key -> estimated seconds."""
    from harness.runner.estimates import estimate

    return {key: estimate([stage]).seconds for key, stage in plan.stages.items()}


class Lines:
    """One line for each finished stage; cached ones are counted together."""

    def __init__(self, tally: Tally, console: Console) -> None:
        self.tally, self.console = tally, console

    def __call__(self, event: "StageEvent") -> None:
        """Hear of a stage and print what is worth a line."""
        if event.status != "cached" and self.tally.count["cached"] and self.tally.over == self.tally.count["cached"]:
            self._say_once(f"{self.tally.count['cached']} of {self.tally.total} stages are in the store already.")
        self.tally(event)
        if event.status in ("done", "failed", "blocked", "retried"):
            width = len(str(self.tally.total))
            spent = f" in {duration(event.seconds)}" if event.seconds is not None else ""
            said = f": {visible(event.message)}" if event.message else ""
            left = f"; about {duration(self.tally.left)} left" if self.tally.left else ""
            self._print(f"[{self.tally.over:{width}}/{self.tally.total}] {event.status} {named(event)}{spent}{said}{left}")

    def _say_once(self, text: str) -> None:
        if not self.tally.running:
            self._print(text)

    def _print(self, text: str) -> None:
        self.console.print(Text(text), soft_wrap=True)


def picture(tally: Tally) -> Group:
    """The live picture: bar, counts, what runs, what failed."""
    head = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=max(1, tally.total), completed=tally.over, width=30)
    head.add_row(bar, _counts(tally), Text(f"{duration(tally.elapsed)} spent, about {duration(tally.left)} left"))
    return Group(head, *_running(tally), *_failures(tally))


def _counts(tally: Tally) -> Text:
    text = Text(f"{tally.over}/{tally.total} stages ")
    for status in ("done", "running", "failed", "cached", "blocked"):
        number = len(tally.running) if status == "running" else tally.count[status]
        if number or status in ("done", "running", "failed", "cached"):
            text.append(f" {number} {status}", style=_STYLES[status] if number else "dim")
    return text


def _running(tally: Tally) -> list[Text]:
    now = tally.clock()
    listed = list(tally.running.values())
    lines = [Text(f"  {named(event)}  {duration(now - since)}", no_wrap=True) for event, since in listed[:_MOST_RUNNING]]
    return lines + ([Text(f"  and {len(listed) - _MOST_RUNNING} more", style="dim")] if len(listed) > _MOST_RUNNING else [])


def _failures(tally: Tally) -> list[Text]:
    said = [(event, "red") for event in tally.failures[-_MOST_FAILURES:]] + [(event, "yellow") for event in tally.notices[-2:]]
    return [Text(f"  {event.status}: {named(event)}: {visible(event.message or '')}", style=style) for event, style in said]
