"""Whether a latency pass deserves trust: a steady machine, nobody else on it, the length asked for, the system scored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from harness.contracts import Generation
from harness.latency.devices import Device, Known
from harness.latency.timings import Timings
from harness.tracking.rows import GREYED

DRIFT = 0.03
DIFFERING = 0.1  # of texts: rounding at another batch size turns a draw now and then
_RUNS = 5


@dataclass
class Watch:
    """Looks at a device between timed blocks.

    Attributes:
        device: what is watched.
        looks: milliseconds of the canary kernel, one list for each stretch of the pass.
        others: whoever else was seen on the device.
        states: what the device told at the start of every stretch and at the end.
    """

    device: Device
    looks: list[list[float]] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    states: list[Mapping[str, Known]] = field(default_factory=list)

    def begin(self, runs: int = _RUNS) -> None:
        """A new stretch, with some looks at once."""
        self.states.append(self.device.state())
        self.looks.append([])
        for _ in range(runs):
            self.look()

    def look(self) -> None:
        """Run the canary kernel, the fastest of three, and see who else is there."""
        assert self.device.canary is not None
        self.looks[-1].append(min(self.device.stopwatch(self.device.canary).nanoseconds for _ in range(3)) / 1e6)
        found = self.device.others()
        if found is not None:
            self.others.append(found)

    @property
    def drift(self) -> float:
        """By how much the canary kernel is slower in the slowest stretch than in the fastest; medians of stretches."""
        paces = [float(np.median(stretch)) for stretch in self.looks if stretch]
        return max(paces) / min(paces) - 1.0 if paces and min(paces) > 0 else 0.0

    @property
    def complaints(self) -> tuple[str, ...]:
        """Why what was timed meanwhile is not to be relied on."""
        return (
            *((f"unstable: the canary kernel drifted by {self.drift:.0%}",) if self.drift > DRIFT else ()),
            *((f"not alone: {self.others[0]}",) if self.others else ()),
        )


@dataclass(frozen=True, slots=True)
class Again:
    """Texts that were scored, and asked once more while being timed.

    Attributes:
        asked, differing: how many, and of how many the text is another.
    """

    asked: int
    differing: int

    @classmethod
    def of(cls, answers: Mapping[str, Generation], scored: Mapping[str, Sequence[str]] | None) -> "Again":
        """Compare what both have."""
        both = [(answer.texts, tuple(scored[name])) for name, answer in answers.items() if scored and name in scored]
        return cls(len(both), sum(timed != first for timed, first in both))

    @property
    def flags(self) -> tuple[str, ...]:
        """That some differ, where they do."""
        return (f"asked again, {self.differing} of {self.asked} texts differ from those scored",) if self.differing else ()

    @property
    def complaints(self) -> tuple[str, ...]:
        """That speed and quality are not from the same system, where too many differ."""
        if self.differing <= DIFFERING * self.asked:
            return ()
        return (f"speed and quality not from the same system: {self.differing} of {self.asked} texts differ",)


def greyed(watch: Watch, again: Again, candidate: Sequence[Timings]) -> tuple[str, ...]:
    """All reasons for which the values of a pass are shown greyed, as flags."""
    short = sum(timings.short for timings in candidate)
    told = (f"{short} answers have another length than the fixed one",) if short else ()
    return tuple(GREYED + reason for reason in (*watch.complaints, *again.complaints, *told))
