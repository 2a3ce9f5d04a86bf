import io
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from rich.console import Console

from harness.display import Lines, Tally, duration, picture, watching


@dataclass
class Event:
    """What the runner says of a stage."""

    title: str
    key: str
    status: str
    cells: tuple[str, ...] = ("gpt on world",)
    message: str | None = None
    seconds: float | None = None


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_a_tally_counts_and_tells_the_time_left(clock):
    tally = Tally({"a": 10.0, "b": 10.0, "c": 20.0, "d": 5.0}, clock)
    tally(Event("tokenize", "d", "cached"))
    assert tally.left is None
    tally(Event("fit", "a", "started"))
    clock.now = 30.0
    tally(Event("fit", "a", "done", seconds=30.0))
    assert tally.left == pytest.approx(90.0)
    tally(Event("fit", "b", "started"))
    assert tally.line == "2 of 4 stages: 1 done, 1 cached, 1 running, 0 failed"
    tally(Event("fit", "b", "failed", message="no"))
    tally(Event("generate", "c", "blocked"))
    assert (tally.left, tally.over, tally.running) == (0.0, 4, {})


def test_the_time_left_is_corrected_kind_by_kind_and_shared_by_what_runs(clock):
    kinds = {"a": "score", "b": "score", "c": "fit", "d": "fit"}
    tally = Tally({"a": 1.0, "b": 1.0, "c": 100.0, "d": 100.0}, clock, kinds)
    tally(Event("score", "a", "done", seconds=50.0))
    assert tally.left == pytest.approx(50.0 + 200.0)
    for key in "cd":
        tally(Event("fit", key, "started"))
    clock.now = 40.0
    assert tally.left == pytest.approx((50.0 + 60.0 + 60.0) / 2)
    clock.now = 500.0
    assert tally.left == pytest.approx(25.0)


def test_a_retried_stage_runs_again(clock):
    tally = Tally({"a": 1.0}, clock)
    for status in ("started", "retried", "started", "done"):
        tally(Event("fit", "a", status))
    assert tally.line == "1 of 1 stages: 1 done, 0 cached, 0 running, 0 failed"


def drawn(tally):
    console = Console(file=io.StringIO(), width=140, force_terminal=False)
    console.print(picture(tally))
    return console.file.getvalue()


def test_the_picture_shows_counts_what_runs_and_what_failed_and_no_markup_takes_effect(clock):
    tally = Tally(dict.fromkeys("abc", 1.0), clock)
    tally(Event("fit", "a", "started"))
    tally(Event("fit", "b", "failed", message="[red]boom[/red]\x1b[31m"))
    clock.now = 75.0
    text = drawn(tally)
    assert "1/3 stages" in text
    assert "1 running" in text
    assert "fit gpt on world  1 min 15 s" in text
    assert "[red]boom[/red]\\x1b[31m" in text


def test_many_running_stages_are_cut(clock):
    tally = Tally({str(index): 1.0 for index in range(20)}, clock)
    for index in range(20):
        tally(Event("fit", str(index), "started"))
    assert "and 12 more" in drawn(tally)


def test_plain_lines_for_what_is_no_terminal(clock):
    console = Console(file=io.StringIO(), width=20)
    lines = Lines(Tally(dict.fromkeys("abcd", 1.0), clock), console)
    for key in "ab":
        lines(Event("fit", key, "cached"))
    lines(Event("generate", "c", "started"))
    clock.now = 2.0
    lines(Event("generate", "c", "done", seconds=2.0))
    lines(Event("score", "d", "failed", message="bad [b]"))
    assert console.file.getvalue().splitlines() == [
        "2 of 4 stages are in the store already.",
        "[3/4] done generate gpt on world in 2.0 s; about 2.0 s left",
        "[4/4] failed score gpt on world: bad [b]",
    ]


def test_watching_a_plan_prints_lines_into_a_file():
    from harness.runner.stage import Stage

    stage = Stage.make("select", {})
    console = Console(file=io.StringIO())
    with watching(SimpleNamespace(stages={stage.key: stage}), console) as listener:
        listener(Event("select", stage.key, "done", seconds=1.0))
    assert "[1/1] done select" in console.file.getvalue()


def test_watching_a_plan_draws_in_a_terminal():
    from harness.runner.stage import Stage

    stage = Stage.make("select", {})
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with watching(SimpleNamespace(stages={stage.key: stage}), console) as listener:
        listener(Event("select", stage.key, "done", seconds=1.0))
    assert "1/1 stages" in console.file.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "?"), (0, "0 s"), (3.21, "3.2 s"), (42, "42 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text
