"""A change to a production function must turn its golden kinds red."""

import signal
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import pytest
from golden_cases import Case, cases, computed, differences, kinds
from golden_mutation import Function, Mutant, applied, called, mutants
from golden_quirks import QUIRKS, Quirk

PATIENCE = 20.0
"""Processor seconds after which a changed case counts as red."""
TRIED = 6
"""Changes per function before the quick test gives up on it."""
UNSEEN = {
    "harness.decoding:minimum_bayes_risk": "both cases choose their first candidate by a wide margin; test_sentence.py sees more",
    "harness.schedules.discretised:refuse": "refuses bad tables; names the first bad step",
    "harness.schedules.discretised:at_least_one": "refuses empty tables",
    "harness.schedules.names:SchedulePlan.specification": "words a specification",
    "harness.schedules.names:_checked": "refuses bad specifications; makes a schedule with a stand-in kernel and drops it",
    "harness.schedules.composed:Composed.__init__": "its number is the cap of a changed table, which is not tabulated again",
    "baselines.parts.chains:NearestNeighbour._curve": "information itself, of which only ratios are used: a sign cancels",
    "baselines.parts.timesteps:_count": "refuses bad respacings",
    "baselines.parts.timesteps:LossSecondMoment.probabilities": "divides by a sum that is 1 in every case with a full history",
}
"""Functions whose changes no golden number can see, with the reason."""
SHARE_SEEN = 0.85
"""Share of all changes that golden numbers see; most of the rest are limits that no case reaches."""


@cache
def mapped() -> dict[str, list[Case]]:
    """kind -> at most five of its cases, from the first to the last."""
    found: dict[str, list[Case]] = defaultdict(list)
    for case in cases():
        if case.kind in kinds() and QUIRKS.get(case.id, Quirk("", frozenset({"-"}))).fields:
            found[case.kind].append(case)
    return {kind: [some[i] for i in sorted({(len(some) - 1) * part // 4 for part in range(5)})] for kind, some in found.items()}


@cache
def users() -> dict[Function, list[Case]]:
    """Production function -> the cases that run through it, the quickest first."""
    found: dict[Function, list[tuple[float, str, Case]]] = defaultdict(list)
    for case in (case for some in mapped().values() for case in some):
        start = time.perf_counter()
        functions = called(lambda case=case: computed(case))
        for function in functions:
            found[function].append((time.perf_counter() - start, case.id, case))
    return {function: [case for *_, case in sorted(some, key=lambda item: item[:2])] for function, some in found.items()}


def red(case: Case) -> bool:
    """Whether a case fails now."""
    ignored = QUIRKS[case.id].fields if case.id in QUIRKS else frozenset()
    try:
        with at_most(PATIENCE):
            return bool(differences(case.expected, computed(case), case.tolerance, ignored))
    except Exception:
        return True


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise TimeoutError after so much processor time: a change can make a loop endless."""

    def stop(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def seen(mutant: Mutant) -> bool:
    """Whether any case of the function turns red."""
    with applied(mutant):
        return any(red(case) for case in users()[mutant.function])


def spread(some: list[Mutant]) -> list[Mutant]:
    """A few changes from all over a function."""
    return some[:: max(1, len(some) // TRIED)][:TRIED]


@pytest.mark.timeout(900)
def test_every_production_function_is_seen_by_its_kinds() -> None:
    blind = [str(f) for f in users() if mutants(f) and str(f) not in UNSEEN and not any(map(seen, spread(mutants(f))))]
    assert not blind, "\n".join(sorted(blind))


@pytest.mark.timeout(900)
def test_every_mapped_kind_can_turn_red() -> None:
    for kind, some in mapped().items():
        own = [function for function, cases_of in users().items() if any(case in cases_of for case in some)]
        assert own, f"{kind} runs through no production function"
        changes = (change for function in own for change in spread(mutants(function)))
        assert any(_turns(change, some) for change in changes), f"{kind} stays green whatever is changed"


def _turns(mutant: Mutant, some: list[Case]) -> bool:
    with applied(mutant):
        return any(map(red, some))


@pytest.mark.slow
def test_most_changes_are_seen() -> None:
    every = [mutant for function in users() for mutant in mutants(function)]
    missed = [str(mutant) for mutant in every if not seen(mutant)]
    assert len(missed) <= (1 - SHARE_SEEN) * len(every), "\n".join(sorted(missed))


def test_everything_is_green_again_after_a_change() -> None:
    for some in mapped().values():
        assert not red(some[0])
