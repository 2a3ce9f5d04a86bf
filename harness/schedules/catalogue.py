"""What `harness list schedules` shows."""

import inspect
from dataclasses import dataclass

import torch

from harness.design import Grain
from harness.schedules.base import Schedule
from harness.schedules.mutual_information import Mixing
from harness.schedules.names import CHANGES, NEEDS_KERNEL, TABLE_ONLY, build, defaults, known_names, maker

EQUAL: dict[frozenset[str], str] = {
    frozenset({"linear-alpha-bar", "log-linear", "mutual-information"}): (
        "one curve for an absorbing kernel: 1 - t removes its information evenly, and log-linear is 1 - t up to eps"
    ),
    frozenset({"linear-beta-rescaled", "linear-beta-fixed"}): "one table at T = 1000",
}
STEPS = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownSchedule:
    """One line of `harness list schedules`.

    Attributes:
        name: what a grid writes.
        equation: alpha-bar, or beta where only betas are defined.
        parameters: name -> default, as text; `of` stands for another schedule.
        grain: what alpha-bar depends on beside time.
        table_only: whether "@T" must be written.
        needs_kernel: whether it is solved for a kernel and the corpus unigram.
        start: alpha-bar at t = 0 with the defaults (changes: of sqrt).
        end: alpha-bar at t = 1, likewise (tables: T = 1000).
        equal: other schedules that are the same curve; empty where there is none.
        equal_because: why they are the same; `None` where there is none.
    """

    name: str
    equation: str
    parameters: tuple[tuple[str, str], ...]
    grain: Grain
    table_only: bool
    needs_kernel: bool
    start: float
    end: float
    equal: tuple[str, ...] = ()
    equal_because: str | None = None


def known_schedules() -> list[KnownSchedule]:
    """Every schedule that a grid can name, sorted by name."""
    return [_line(name) for name in known_names()]


def example(name: str) -> Schedule:
    """The schedule with its defaults: of an absorbing kernel, of sqrt, at 1,000 steps, where it needs one of these."""
    mask = Mixing(torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64))
    return build(example_text(name), kernel=mask, unigram=torch.tensor([3, 2, 1, 0]))


def example_text(name: str) -> str:
    """The shortest specification of a schedule."""
    return name + ("(of=sqrt)" if name in CHANGES else "") + (f"@{STEPS}" if name in TABLE_ONLY else "")


def _line(name: str) -> KnownSchedule:
    schedule = example(name)
    ids = torch.ones(2, 1, dtype=torch.int64)
    start, end = schedule.alpha_bar(torch.tensor([[0.0], [1.0]], dtype=torch.float64), ids).flatten().tolist()
    group = next((group for group in EQUAL if name in group), frozenset[str]())
    return KnownSchedule(
        name=name,
        equation=(inspect.getdoc(maker(name)) or "").splitlines()[0],
        parameters=(*((("of", "a schedule"),) if name in CHANGES else ()), *((n, f"{v:g}") for n, v in defaults(name).items())),
        grain=schedule.grain,
        table_only=name in TABLE_ONLY,
        needs_kernel=name in NEEDS_KERNEL,
        start=start,
        end=end,
        equal=tuple(sorted(group - {name})),
        equal_because=EQUAL.get(group),
    )
