"""Is the likelihood of the declared kind, of the texts that were given, one value for each?"""

import math
from collections.abc import Sequence
from typing import get_args

from harness.check.case import CANVAS, Case, InapplicableError, require
from harness.contracts import Likelihood
from harness.errors import ModelError

_TOLERANCE = 1e-3  # relative: other batches add up in another order
_DEVIATIONS = 6


def gives_a_likelihood_as_its_design_says(case: Case) -> None:
    """One finite value per example, none negative, of the declared kind; tokens and bytes are those of the targets."""
    found, declared = case.likelihood, case.design.likelihood_on(case.grain)
    there = f" on schedules of grain {case.grain!r}" if case.design.scored_grains is not None else ""
    if found is None:
        require(declared is None, f"likelihood is None; the design says {declared!r}{there}.")
        raise InapplicableError(f"has no likelihood{there}")
    require(found.kind == declared, f"likelihood of kind {found.kind!r}; the design says {declared!r}{there}.")
    require(found.kind in get_args(Likelihood.__annotations__["kind"]), f"unknown kind {found.kind!r}.")
    _require_one_for_each(len(case.test), found)
    _require_numbers("a likelihood is", found.nats)
    _require_numbers("a Monte-Carlo error is", found.mc_errors or ())
    require(any(found.nats), f"all {len(found.nats)} likelihoods are 0 nats; expected -log p(target): no model is that sure.")
    _require_sizes(case, found)


def _require_one_for_each(examples: int, found: Likelihood) -> None:
    counted = {name: getattr(found, name) for name in ("nats", "tokens", "bytes", "mc_errors")}
    wrong = next((name for name, values in counted.items() if values is not None and len(values) != examples), None)
    require(wrong is None, f"{len(counted[wrong]) if wrong else 0} {wrong} for {examples} examples; expected one for each.")


def _require_numbers(what: str, values: Sequence[float]) -> None:
    wrong = next((value for value in values if not math.isfinite(value) or value < 0), None)
    require(wrong is None, f"{what} {wrong} nats; expected a finite number, 0 or more.")


def _require_sizes(case: Case, found: Likelihood) -> None:
    sizes = tuple(len(example.target.encode()) for example in case.test)
    require(tuple(found.bytes) == sizes, "bytes are not the UTF-8 bytes of the targets.")
    require(all(tokens >= 1 for tokens in found.tokens), "tokens must count EOS, so that none is 0.")
    if case.speaks_the_tasks_tokens:
        scored = tuple(min(len(case.view.tokenizer.encode(example.target)) + 1, CANVAS) for example in case.test)
        require(
            tuple(found.tokens) == scored,
            f"tokens are {tuple(found.tokens)}; expected {scored}, those of the targets: EOS counts, padding does not.",
        )


def gives_each_example_its_own_likelihood(case: Case) -> None:
    """Reversed examples get reversed values, a part of them the same values."""
    whole = case.likelihood
    if whole is None:
        raise InapplicableError("has no likelihood")
    _require_one_for_each(len(case.test), whole)
    places = range(len(case.test))
    for what, chosen in (("in reversed order", places[::-1]), ("3 to 6 by themselves", places[3:7])):
        found = case.model.likelihood([case.test[place] for place in chosen])
        if found is None:
            raise ModelError(f"likelihood is None with examples {what}; expected values for them as for all.")
        _require_one_for_each(len(chosen), found)
        for index, place in enumerate(chosen):
            _require_same(case.test[place].target, what, (whole, place), (found, index))


def _require_same(target: str, what: str, before: tuple[Likelihood, int], after: tuple[Likelihood, int]) -> None:
    first, second = (found.nats[place] for found, place in (before, after))
    noise = math.hypot(*(found.mc_errors[place] if found.mc_errors else 0.0 for found, place in (before, after)))
    require(
        math.isclose(first, second, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE + _DEVIATIONS * noise),
        f"{target!r} has {first:.6g} nats among all examples and {second:.6g} with examples {what}; expected the same. "
        "Give values in the order of the examples, each from its own example.",
    )
