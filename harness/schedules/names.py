"""Schedules by name: `parse` checks a specification, `build` makes the object.

A specification is a string, "sqrt", "sqrt@2000", "cosine-squared(s=0.001)@1000", "shifted(of=cosine-squared(s=0),scale=0.1)",
or a mapping, `{name: cosine-squared@1000, s: 0.001}`. "@T" asks for the discretised form with T steps; every closed form
then also takes `max_beta`, the cap on its betas.
"""

import inspect
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.design import Grain
from harness.errors import GridError, UnknownName
from harness.schedules import closed_form, composed, content, discretised, mutual_information
from harness.schedules.base import Schedule
from harness.schedules.closed_form import ClosedForm
from harness.schedules.composed import Composed, InRange, bears
from harness.schedules.discretised import Discretised
from harness.schedules.mutual_information import Informative, Mixing, MutualInformation

CURVES: dict[str, type[ClosedForm]] = {
    "linear-beta": closed_form.LinearBeta,
    "quadratic-beta": closed_form.QuadraticBeta,
    "linear-alpha-bar": closed_form.LinearAlphaBar,
    "power": closed_form.Power,
    "logarithmic": closed_form.Logarithmic,
    "log-linear": closed_form.LogLinear,
    "cosine-squared": closed_form.CosineSquared,
    "cosine-squared-unnormalised": closed_form.CosineSquaredUnnormalised,
    "truncated-cosine-squared": closed_form.TruncatedCosineSquared,
    "cosine-plain": closed_form.CosinePlain,
    "one-minus-cosine": closed_form.OneMinusCosine,
    "sqrt": closed_form.Sqrt,
    "geometric": closed_form.Geometric,
    "geometric-sigma": closed_form.GeometricSigma,
    "power-sigma": closed_form.PowerSigma,
    "sigmoid": closed_form.Sigmoid,
    "mutual-information": MutualInformation,
}
CHANGES: dict[str, type[Composed]] = {
    "between": composed.Between,
    "shifted": composed.Shifted,
    "noise-rescaled": composed.NoiseRescaled,
    "in-range": InRange,
}
CONTENT: dict[str, type[content.Spindle]] = {
    "spindle": content.Spindle,
    "spindle-log-frequency": content.SpindleLogFrequency,
}
BETAS: dict[str, Callable[..., Float[Tensor, "T"]]] = {
    "linear-beta-rescaled": discretised.linear_beta_rescaled,
    "linear-beta-fixed": discretised.linear_beta_fixed,
    "linear-beta-ramp": discretised.linear_beta_ramp,
    "truncated-linear-beta": discretised.truncated_linear_beta,
    "piecewise-linear-beta": discretised.piecewise_linear_beta,
}
LEVELS: dict[str, Callable[..., Float[Tensor, "T_plus_1"]]] = {
    "linear-alpha-bar-fixed": discretised.linear_alpha_bar_fixed,
    "mutual-information": mutual_information.exact_levels,
    "mutual-information-interpolated": mutual_information.interpolated_levels,
}
TABLE_ONLY = (BETAS.keys() | LEVELS.keys()) - CURVES.keys()
NEEDS_KERNEL = frozenset({"mutual-information", "mutual-information-interpolated"})
AMBIGUOUS = {
    "linear": "beta, alpha-bar and total noise can all be linear in time",
    "cosine": "papers mean the cosine squared, the plain cosine, or one minus it",
}
_FORM = re.compile(r"(?P<name>[\w-]+)\s*(?:\((?P<parameters>.*)\))?\s*(?:@(?P<steps>\d+))?")


@dataclass(frozen=True, slots=True)
class SchedulePlan:
    """A checked specification.

    Attributes:
        name: name of the curve.
        parameters: (name, value) of every parameter, defaults included; `of` holds the plan of the other schedule.
        steps: T of the discretised form; `None` for the closed form, or where `of` is discretised.
    """

    name: str
    parameters: tuple[tuple[str, "float | int | SchedulePlan"], ...] = ()
    steps: int | None = None

    @property
    def key(self) -> str:
        """The specification with every parameter written out: what keys and digests hold."""
        return self._written([(n, v.key if isinstance(v, SchedulePlan) else _number(v)) for n, v in self.parameters])

    @property
    def specification(self) -> str:
        """The specification as short as it can be, without parameters at their defaults."""
        usual = defaults(self.name)
        shown = [(n, v) for n, v in self.parameters if n not in usual or usual[n] != v]
        return self._written([(n, v.specification if isinstance(v, SchedulePlan) else _number(v)) for n, v in shown])

    @property
    def needs_kernel(self) -> bool:
        """Whether `build` needs a kernel and the corpus unigram, which then belong in the key too."""
        return self.name in NEEDS_KERNEL or any(isinstance(v, SchedulePlan) and v.needs_kernel for _, v in self.parameters)

    @property
    def grain(self) -> Grain:
        """What alpha-bar depends on beside time; see `Schedule`."""
        grain: Grain = getattr(maker(self.name), "grain", "sequence")
        return grain

    @property
    def has_steps(self) -> bool:
        """Whether it is a discretised form, or changes one."""
        return self.steps is not None or any(isinstance(v, SchedulePlan) and v.has_steps for _, v in self.parameters)

    def __str__(self) -> str:
        return self.specification

    def _written(self, parameters: list[tuple[str, str]]) -> str:
        inside = ",".join(f"{name}={value}" for name, value in parameters)
        return self.name + (f"({inside})" if inside else "") + (f"@{self.steps}" if self.steps is not None else "")


def _number(value: float | int) -> str:
    return repr(value).removesuffix(".0")


def known_names() -> list[str]:
    """Every schedule by name, sorted."""
    return sorted({*CURVES, *CHANGES, *CONTENT, *BETAS, *LEVELS})


def maker(name: str) -> Callable[..., Any]:
    """The class or function behind a name."""
    makers: dict[str, Callable[..., Any]] = {**LEVELS, **BETAS, **CONTENT, **CHANGES, **CURVES}
    return makers[name]


def defaults(name: str) -> dict[str, float | int]:
    """Numeric parameters of a schedule with their defaults."""
    signature = inspect.signature(maker(name)).parameters.values()
    return {p.name: p.default for p in signature if p.kind is p.KEYWORD_ONLY}


# --- parse -----------------------------------------------------------------------------------------------------------
def parse(specification: str | Mapping[str, Any] | SchedulePlan) -> SchedulePlan:
    """Check a specification completely, without needing a kernel.

    Raises:
        UnknownName: no such schedule or parameter; the message holds near matches.
        GridError: malformed, out of range, or a table that does not exist at this number of steps.
    """
    if isinstance(specification, SchedulePlan):
        return specification
    if isinstance(specification, str):
        return _checked(_read(specification, {}))
    given = dict(specification)
    if not isinstance(given.get("name"), str):
        raise GridError(f"schedule {given}: `name` is missing; write {{name: cosine-squared, s: 0.008}}.")
    return _checked(_read(given.pop("name"), given))


def _read(text: str, extra: dict[str, Any]) -> SchedulePlan:
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise GridError(f"schedule {text!r} cannot be read; write name, name@T, or name(parameter=value,...)@T.")
    name, steps = match["name"], int(match["steps"]) if match["steps"] else None
    if name in AMBIGUOUS:
        raise GridError(f"schedule {name!r} says too little: {AMBIGUOUS[name]}. Known: {', '.join(known_names())}.")
    if name not in known_names():
        raise UnknownName("schedule", name, known_names())
    given = _pairs(match["parameters"] or "", text) | extra
    return SchedulePlan(name, _parameters(name, steps, given, text), steps)


def _pairs(inside: str, text: str) -> dict[str, str]:
    parts, depth = [""], 0
    for letter in inside:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    pairs = [part.partition("=") for part in parts if part.strip()]
    if depth or any(not equals for _, equals, _ in pairs):
        raise GridError(f"schedule {text!r}: parameters are written parameter=value, separated by commas.")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _parameters(
    name: str, steps: int | None, given: Mapping[str, Any], text: str
) -> tuple[tuple[str, float | int | SchedulePlan], ...]:
    usual = defaults(name)
    allowed = [
        *(["of"] if name in CHANGES else []),
        *usual,
        *(["max_beta"] if steps and name in (CURVES | CHANGES).keys() - LEVELS.keys() else []),
    ]
    for wrong in set(given) - set(allowed):
        raise UnknownName(f"parameter of schedule {name!r}", wrong, allowed)
    if name in CHANGES and "of" not in given:
        raise GridError(f"schedule {text!r} changes another one; name it: {name}(of=sqrt).")
    found: dict[str, float | int | SchedulePlan] = dict(usual)
    for parameter, value in given.items():
        wanted = int if isinstance(usual.get(parameter), int) else float
        found[parameter] = parse(value) if parameter == "of" else _as_number(parameter, value, wanted, text)
    return tuple((parameter, found[parameter]) for parameter in allowed if parameter in found)


def _as_number(parameter: str, value: Any, wanted: type[int] | type[float], text: str) -> float | int:
    try:
        number = wanted(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or math.isnan(number):
        raise GridError(f"schedule {text!r}: {parameter} is {value!r}, but must be a number.")
    return number


@lru_cache(maxsize=1024)
def _checked(plan: SchedulePlan) -> SchedulePlan:
    if plan.name in TABLE_ONLY and plan.steps is None:
        raise GridError(f"schedule {plan.name!r} is defined as a table only; write {plan.name}@T, such as {plan.name}@1000.")
    mask = Mixing(torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64))
    try:
        _make(plan, mask, torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.float64))
    except ValueError as error:
        raise GridError(f"schedule {plan.specification!r}: {error}") from error
    return plan


# --- build -----------------------------------------------------------------------------------------------------------
def build(
    specification: str | Mapping[str, Any] | SchedulePlan,
    *,
    kernel: Informative | None = None,
    unigram: Float[Tensor, "V"] | Int[Tensor, "V"] | None = None,
) -> Schedule:
    """The schedule that a specification names.

    Args:
        specification: see the module.
        kernel: what mutual-information is solved for.
        unigram: counts or probabilities of the kernel's states in the corpus; of tokens, for schedules that look at tokens.

    Raises:
        GridError: see `parse`; or a kernel or unigram is missing.
    """
    plan = parse(specification)
    if plan.needs_kernel and (kernel is None or unigram is None):
        raise GridError(f"schedule {plan} is solved for a kernel and the corpus unigram; this model gives none.")
    if plan.name in CONTENT and unigram is None:
        raise GridError(f"schedule {plan} weighs tokens by how often they occur in the corpus; this task has no counts of them.")
    schedule = _make(plan, kernel, unigram)
    schedule.specification = plan.specification
    return schedule


def betas_of(specification: str) -> Float[Tensor, "T"]:
    """The betas of a table, also of one that is refused because some lie outside (0, 1].

    Raises:
        GridError: the specification names no table.
    """
    plan = _read(specification, {})
    if plan.name in BETAS and plan.steps is not None:
        return BETAS[plan.name](plan.steps, **dict(plan.parameters))
    table = build(plan)
    if not isinstance(table, Discretised):
        raise GridError(f"schedule {specification!r} is a closed form; write {specification}@T for its betas.")
    return table.betas


def _make(plan: SchedulePlan, kernel: Informative | None, unigram: Tensor | None) -> Schedule:
    given: dict[str, Any] = dict(plan.parameters)
    cap = given.pop("max_beta", None)
    if plan.name in BETAS:
        betas = BETAS[plan.name](plan.steps, **given)
        discretised.refuse(betas, discretised.outside(betas))
        return Discretised(betas)
    if plan.name in LEVELS and plan.steps is not None:
        discretised.at_least_one(plan.steps)
        solved = {"kernel": kernel, "unigram": unigram} if plan.name in NEEDS_KERNEL else {}
        return Discretised.from_levels(LEVELS[plan.name](plan.steps, **solved, **given))
    if plan.name in CONTENT:
        assert unigram is not None
        return CONTENT[plan.name](unigram, plan.steps, **given)
    if plan.name in CHANGES:
        return _change(plan, cap, {**given, "of": _make(given["of"], kernel, unigram)})
    curve = CURVES[plan.name](kernel, unigram) if plan.name in NEEDS_KERNEL else CURVES[plan.name](**given)
    return curve if plan.steps is None else discretised.discretise(curve, plan.steps, cap=cap)


def _change(plan: SchedulePlan, cap: float | None, given: dict[str, Any]) -> Schedule:
    if given["of"].grain == "content":
        raise ValueError("a schedule that looks at tokens cannot be changed by another one; write it by itself.")
    changed = CHANGES[plan.name](**given)
    if isinstance(changed.of, Discretised) and plan.steps:
        raise ValueError("@T stands inside or outside of the parentheses, not both.")
    if isinstance(changed.of, Discretised):
        return changed.on_table()
    return changed if plan.steps is None else discretised.discretise(changed, plan.steps, cap=cap)


def limits_of(snr_range: tuple[float | None, float | None]) -> tuple[float, float]:
    """Both ends of a range of signal-to-noise ratios, 0 and infinity where there is no limit."""
    low, high = snr_range
    return low or 0.0, math.inf if high is None else high


def in_range(schedule: Schedule, snr_range: tuple[float | None, float | None] | None) -> Schedule:
    """The schedule, mapped affinely in log-SNR into what a model can bear where it leaves that.

    Args:
        schedule: any schedule of grain "sequence".
        snr_range: `Design.snr_range`; `None` bears everything.

    Returns:
        the same object where it fits, else one whose specification says `in-range(of=...)`.
    """
    if snr_range is None:
        return schedule
    low, high = limits_of(snr_range)
    if bears(schedule, (low, high)):
        return schedule
    changed = InRange(schedule, snr_low=low, snr_high=high)
    mapped = changed.on_table() if isinstance(schedule, Discretised) else changed
    limits = f"snr_low={_number(low)},snr_high={_number(high)}"
    mapped.specification = f"in-range(of={schedule.specification},{limits})"
    return mapped
