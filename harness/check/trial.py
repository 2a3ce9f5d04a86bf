"""All checks on a model, in one family after another, and what is said of them."""

import dataclasses
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness import registry
from harness.check import answers, likelihood, network_calls, training
from harness.check.case import Case, InapplicableError
from harness.construction import design_of
from harness.design import FAMILIES, Design, Family
from harness.errors import GridError, ModelError, told
from harness.report.escape import visible

# in order; their names are what the user reads
CHECKS: tuple[Callable[[Case], None], ...] = (
    training.trains_within_its_budget, training.learns_the_same_for_the_same_seed, training.follows_its_schedule,
    training.learns_the_same_for_any_sampling_keys,
    answers.answers_every_request_in_order, answers.keeps_to_the_longest_answer, answers.tells_how_its_texts_ended,
    answers.gives_the_ids_of_its_texts, answers.repeats_itself_for_the_same_seed, answers.depends_on_the_seed,
    answers.depends_on_the_condition, answers.does_not_depend_on_order_or_batch, answers.draws_different_candidates,
    network_calls.counts_its_network_calls, network_calls.follows_the_number_of_steps,
    likelihood.gives_a_likelihood_as_its_design_says, likelihood.gives_each_example_its_own_likelihood,
    training.survives_saving_and_loading,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """How one check ended.

    Attributes:
        message: what is wrong, or why it was skipped.
    """

    family: Family
    check: str
    status: Literal["passed", "failed", "skipped"]
    message: str = ""


def conformance(
    model: str, *, family: str | None = None, size: Mapping[str, Any] | None = None, device: str = "cpu"
) -> list[Finding]:
    """Try a model in one family or in all that its design names.

    Args:
        model: registered name, or `file.py:Name`.
        family: "ucg", "a2t" or "t2t".
        size: keys for the constructor.
        device: torch device name on which it is trained and asked.

    Raises:
        GridError: no such model, no design, or a family that the design does not name.
    """
    model_class = registry.resolve("models", model).load()
    try:
        design = design_of(model_class, size or {})
    except AttributeError as error:
        raise GridError(f"{model} has no design = Design(...): {error}") from error
    except (TypeError, ValueError) as error:
        raise GridError(f"{model} refuses its options {dict(size or {})}: {error}") from error
    if not isinstance(design, Design):
        raise GridError(f"{model}: `design` is a {type(design).__name__}; expected design = Design(...).")
    if family is not None and family not in design.families:
        raise GridError(f"{model}: family {family!r} is none of {', '.join(design.families)}.")
    chosen = [name for name in FAMILIES if name in design.families and family in (None, name)]
    return [finding for name in chosen for finding in _of_family(model_class, design, name, size or {}, device)]


def as_records(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """Findings as plain objects."""
    return [dataclasses.asdict(finding) for finding in findings]


def as_text(findings: Sequence[Finding]) -> str:
    """One line for each check, and the sum."""
    lines = [
        f"{item.status:8}{item.family}  {item.check}" + (f": {visible(item.message)}" if item.message else "")
        for item in findings
    ]
    count = Counter(finding.status for finding in findings)
    return "\n".join([*lines, ", ".join(f"{count[status]} {status}" for status in ("passed", "failed", "skipped"))]) + "\n"


def _of_family(model_class: Any, design: Design, family: Family, size: Mapping[str, Any], device: str) -> Iterator[Finding]:
    with tempfile.TemporaryDirectory(prefix="harness-check-") as folder:
        case = Case(model_class, design, family, size, Path(folder), device)
        for check in CHECKS:
            finding = _finding(check, case)
            yield finding
            if finding.status == "failed" and "fitted" not in vars(case):
                return


def _finding(check: Callable[[Case], None], case: Case) -> Finding:
    name = check.__name__.replace("_", " ")
    try:
        check(case)
    except InapplicableError as reason:
        return Finding(case.family, name, "skipped", str(reason))
    except Exception as error:
        return Finding(case.family, name, "failed", str(error) if isinstance(error, ModelError) else told(error))
    return Finding(case.family, name, "passed")
