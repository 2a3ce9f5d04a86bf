"""A change to a production function must turn its golden kinds red."""

import signal
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import pytest
from golden_cases import HERE, Case, cases_in, computed, differences, kinds
from golden_mutation import Function, Mutant, applied, called, mutants
from golden_quirks import QUIRKS, Quirk

PATIENCE = 20.0
"""Processor seconds after which a changed case counts as red."""
TRIED = 6
"""Changes per function before the quick test gives up on it."""
UNSEEN = {
    "harness.decoding:minimum_bayes_risk": "both cases choose their first candidate by a wide margin; test_sentence.py sees more",
    "baselines.parts.spaces:EmbeddingSpace.__init__": "its number is the seed of a table that every case replaces",
    "harness.schedules.names:SchedulePlan.needs_kernel": "a truth value, whose sign changes nothing",
    "harness.schedules.discretised:refuse": "refuses bad tables; names the first bad step",
    "harness.schedules.discretised:at_least_one": "refuses empty tables",
    "harness.schedules.names:SchedulePlan.specification": "words a specification",
    "harness.schedules.names:_checked": "refuses bad specifications; makes a schedule with a stand-in kernel and drops it",
    "harness.schedules.composed:Composed.__init__": "its number is the cap of a changed table, which is not tabulated again",
    "baselines.parts.chains:NearestNeighbour._curve": "information itself, of which only ratios are used: a sign cancels",
    "baselines.engine:Diffusion._first_pass": "no case trains with self-conditioning; test_self_conditioning.py does",
    "baselines.engine:Diffusion.looked_at": "no case samples with a content schedule; test_diffusion_bert.py does",
    "baselines.enumeration:arrived": "says which step is the first, of which no objective on tokens asks",
    "baselines.parts.blocks:block_numbers": "its number names a prefix, which no case has; test_bd3_lm.py does",
    "baselines.parts.replacing:MaskAndReplace.even": "no case keeps so much that it matters; test_replacing.py sees it",
    "baselines.parts.scores:_is_absorbing": "chooses between two ways that agree in every case; test_scores.py tells them apart",
    "baselines.parts.scores:bounded": "no case lies at either end; test_scores.py does",
    "baselines.parts.timesteps:_count": "refuses bad respacings",
    "baselines.parts.timesteps:LossSecondMoment.probabilities": "divides by a sum that is 1 in every case with a full history",
}
"""Functions whose changes no golden number can see, with the reason."""
LEVELS = "decides the levels of nearest-neighbour noise, which no case states"
FACTOR = "tables use ratios only, and where the curve itself is stated s = 0: a factor cancels"
RARE = "moves a probability by one in a million, which is below the tolerance; test_replacing.py sees it"
EDGE = "the limit lies beyond every level of the cases"
UNSEEN_CHANGES = {
    "baselines.engine:Diffusion.advance.<locals>.ask": {
        "select(denoise, rows)(x_t[rows], told[rows], prompt.given[rows], before)": "no case asks about some of the rows",
    },
    "baselines.engine:Diffusion.reading": {"self.denoiser.reading(canvas.source)": "no stub network reads a source"},
    "baselines.parts.categorical:Unmasking.mode": {
        "self.reveal * best.exp()": "at the last step everything is revealed, so any positive number will do",
    },
    "baselines.parts.chains:DiscretisedGaussian.__init__": {"1 / states": "its prior, from which no case draws"},
    "baselines.parts.chains:NearestNeighbour.__init__": {"1 / states": "its prior, from which no case draws"},
    "baselines.parts.chains:MaskAndUniform.__init__": {
        "1 - betas": "cases ask for levels by step, and the kernel finds the step by its level, whatever that is",
    },
    "baselines.parts.chains:NearestNeighbour.place": {
        "torch.arange(1, self.steps + 1, dtype=torch.float64) / self.steps": LEVELS,
        "1 - 0.5 / self.steps": LEVELS,
        "0.5 / self.steps": LEVELS,
        "goals * removed(self._curve, torch.tensor([100000.0]).double())": LEVELS,
        "powers(found) * found.min()": LEVELS,
        "1 - removed(self._curve, taken)": LEVELS,
    },
    "baselines.parts.chains:joint_information": {"pair * (_log(pair) - _log(independent))": LEVELS},
    "baselines.parts.clocks:Chain.place": {"self.steps - 1": "no case has a share of 1"},
    "baselines.parts.clocks:Continuum.__init__": {"1 - first": "every case begins at t = 0; test_mdlm.py sees it"},
    "baselines.parts.clocks:Continuum.network_time": {"1000 * t[:, 0]": "no stub network listens; test_md4.py sees it"},
    "baselines.parts.clocks:Continuum.place": {"share * self.span": "every case begins at t = 0; test_mdlm.py sees it"},
    "baselines.parts.conditioning:side_by_side": {
        "len(source) - len(target)": "where a case cuts a row, the source is longer until the row fits",
    },
    "baselines.parts.replacing:MaskAndReplace.between": {"alpha_s + there": RARE},
    "baselines.parts.replacing:MaskAndReplace.log_marginal": {"1 - alpha[..., None] - even": RARE},
    "baselines.parts.replacing:MaskAndReplace.log_transition": {"1 - kept - moved": RARE},
    "baselines.parts.replacing:MaskAndReplace.surprise": {"alpha_t + even": RARE},
    "baselines.parts.objectives:end_to_end.<locals>.objective": {
        "error(step) + prior_error(step)": "nothing is left at the end of any case's chain; test_objectives.py sees it",
    },
    "baselines.parts.objectives:noise_error": {
        "step.clean - step.estimate.x0_hat": "no case with predicted noise ends at the data; test_objectives.py sees it",
    },
    "baselines.parts.remasking:evenly.<locals>.quota": {
        "longer * (each + 1)": "no case has two longer steps of more than one token; test_remasking.py sees it",
        "each + 1": "no case has two longer steps of more than one token; test_remasking.py sees it",
    },
    "baselines.parts.timesteps:ImportanceTimes.__init__": {"-math.inf": "refuses schedules without masks at the first time"},
    "baselines.parts.timesteps:LossAware.by_loss": {
        "len(weights) - 1": "every chain has two steps or more; test_timesteps.py sees it",
        "squares + cls.UNDER_ROOT": "moves losses in the tenth digit where there are any; test_timesteps.py sees it",
    },
    "baselines.parts.timesteps:respaced": {"size + (part < longer)": "every case's chain divides into equal parts"},
    "baselines.parts.timesteps:strided": {"T + 1": "no case has a stride of T or T - 1"},
    "harness.schedules.closed_form:CosinePlain.curve": {
        "quarter_wave(t, self.s) / math.cos(self.s / (1 + self.s) * math.pi / 2)": FACTOR,
        "self.s / (1 + self.s) * math.pi": FACTOR,
    },
    "harness.schedules.closed_form:CosineSquared.curve": {
        "quarter_wave(t, self.s) / math.cos(self.s / (1 + self.s) * math.pi / 2)": FACTOR,
        "self.s / (1 + self.s) * math.pi": FACTOR,
    },
    "harness.schedules.closed_form:GeometricSigma.curve": {
        "self.sigma_min ** (1 - t) * self.sigma_max ** t": "the largest sigma is 1 in every case",
    },
    "harness.schedules.composed:Shifted.change": {"1 / (1 + math.exp(-self.limit))": EDGE, "1 + math.exp(-self.limit)": EDGE},
    "harness.schedules.content:Spindle._beside_average": {"own * counted": "no case has padding; test_content.py sees it"},
    "harness.schedules.mutual_information:matrix_curve": {
        "(joint * torch.log(torch.where(joint > 0, joint / independent.clamp(min=1e-300), 1.0))).sum((-2, -1))":
            "information itself, of which only ratios are used: a sign cancels",
    },
    "harness.schedules.mutual_information:unigram_law": {
        "counts.to(torch.float64) / counts.sum()": "the unigram of every case sums to 1",
    },
}  # fmt: skip
"""Changed operators and signs that no golden number can see: function -> expression -> reason."""
SHARE_SEEN = 0.85
"""Share of all changes that golden numbers see; most of the rest are limits that no case reaches."""


@cache
def mapped() -> dict[str, list[Case]]:
    """kind -> at most five of its cases in this folder, from the first to the last."""
    found: dict[str, list[Case]] = defaultdict(list)
    for case in cases_in(HERE):
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


@pytest.mark.slow
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


@cache
def every_change() -> list[Mutant]:
    """All changes to functions that cases run through, but for the functions named as unseen."""
    return [mutant for function in users() if str(function) not in UNSEEN for mutant in mutants(function)]


@cache
def missed() -> list[Mutant]:
    """The changes that no case sees."""
    return [mutant for mutant in every_change() if not seen(mutant)]


@pytest.mark.slow
def test_every_changed_operator_and_sign_is_seen_or_has_a_reason() -> None:
    unseen = {(str(mutant.function), mutant.place) for mutant in missed() if not mutant.number_only}
    named = {(function, place) for function, places in UNSEEN_CHANGES.items() for place in places}
    assert unseen - named == set()
    assert named - unseen == set(), "seen after all"


@pytest.mark.slow
def test_most_changes_are_seen() -> None:
    assert len(missed()) <= (1 - SHARE_SEEN) * len(every_change()), "\n".join(sorted(map(str, missed())))


def test_everything_is_green_again_after_a_change() -> None:
    for some in mapped().values():
        assert not red(some[0])
