"""Conformance of an adapter: does a model keep the contract of `TextModel`? Tried on texts that are generated on the spot."""

import dataclasses
import math
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from harness import registry
from harness.construction import construct, design_of
from harness.contracts import (
    Budget,
    Content,
    Example,
    FitContext,
    FitReport,
    Generation,
    Likelihood,
    Request,
    Sampling,
    TaskView,
    TextModel,
    stream_seed,
)  # fmt: skip
from harness.design import FAMILIES, Design, Family
from harness.errors import GridError, ModelError
from harness.report.escape import visible

if TYPE_CHECKING:
    from torch import nn

_ADJECTIVES = ("small", "red", "old", "quiet", "round", "bright")
_NOUNS = ("fox", "lamp", "river", "stone", "bird", "house")
_VERBS = ("sees", "holds", "finds", "likes")
_TRAIN, _TEST = 256, 12
_CANVAS = 8
_POSITIONS = 64 * _CANVAS * 20
_STEPS = 4


class InapplicableError(Exception):
    """A check that means nothing for this model."""


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
    except (AttributeError, TypeError, ValueError) as error:
        raise GridError(f"{model}: options {dict(size or {})} give no design = Design(...): {error}") from error
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
            if finding.status == "failed" and check is trains_within_its_budget:
                return


def _finding(check: "Callable[[Case], None]", case: "Case") -> Finding:
    name = check.__name__.replace("_", " ")
    try:
        check(case)
    except InapplicableError as reason:
        return Finding(case.family, name, "skipped", str(reason))
    except Exception as error:
        said = str(error) if isinstance(error, ModelError) else f"{type(error).__name__}: {error}"
        return Finding(case.family, name, "failed", said)
    return Finding(case.family, name, "passed")


# --- the tiny task ---------------------------------------------------------------------------------------------------
def examples(family: Family, count: int, seed: int) -> list[Example]:
    """Sentences of six words; A2T says three of them, T2T turns them around."""
    draw = random.Random(seed)
    return [_example(family, f"{seed}-{index}", draw) for index in range(count)]


def _example(family: Family, name: str, draw: random.Random) -> Example:
    first, second = draw.choice(_NOUNS), draw.choice(_NOUNS)
    text = f"the {draw.choice(_ADJECTIVES)} {first} {draw.choice(_VERBS)} the {second}"
    control = Content((("subject", first), ("object", second))) if family == "a2t" else None
    source = " ".join(reversed(text.split())) if family == "t2t" else None
    return Example(id=name, target=text, control=control, source=source)


def view_of(family: Family, train: Sequence[Example]) -> TaskView:
    """The tokenised view of the tiny task."""
    from harness.tokenizer import EOS, PAD, Tokenizer

    conditions = [example.condition for example in train if example.condition is not None]
    tokenizer = Tokenizer.train("words", [*(example.target for example in train), *conditions])
    count: Counter[int] = Counter()
    for example in train:
        ids = [*tokenizer.encode(example.target), EOS]
        count.update([*ids, *[PAD] * (_CANVAS - len(ids))])
    longest = max((len(tokenizer.encode(condition)) + 1 for condition in conditions), default=0)
    return TaskView(
        name="conformance", family=family, tokenizer=tokenizer, max_tokens=_CANVAS, max_source_tokens=longest,
        unigram=tuple(count[index] for index in range(len(tokenizer))),
    )  # fmt: skip


class Case:
    """One model in one family, trained when the first check asks for it."""

    def __init__(
        self, model_class: Any, design: Design, family: Family, size: Mapping[str, Any], folder: Path, device: str
    ) -> None:
        self.model_class, self.design, self.family, self.size, self.folder = model_class, design, family, size, folder
        self.device = device
        self.train, self.test = examples(family, _TRAIN, 1), examples(family, _TEST, 2)
        self.budget = Budget(tokens=_POSITIONS)

    @cached_property
    def view(self) -> TaskView:
        """What the model may know."""
        return view_of(self.family, self.train)

    @cached_property
    def fitted(self) -> tuple[TextModel, FitReport]:
        """The trained model and what it reported."""
        model = construct(self.model_class, self.design.schedule, self.view, self.size)
        checkpoints = self.folder / "checkpoints"
        checkpoints.mkdir()
        context = FitContext(seed=1, device=self.device, folder=checkpoints)
        return model, model.fit(self.train[32:], self.train[:32], self.budget, context)

    @property
    def model(self) -> TextModel:
        """The trained model."""
        return self.fitted[0]

    def requests(self, *, seed: int = 3, candidates: int = 1) -> list[Request]:
        """One for each test example."""
        return [
            Request(
                id=example.id, seed=stream_seed(seed, example.id), max_tokens=_CANVAS, source=example.source,
                control=example.control, n=candidates,
            )
            for example in self.test
        ]  # fmt: skip

    def settings(self, **changes: Any) -> Sampling:
        """Few steps for models that have any."""
        return Sampling(steps=_STEPS if self.design.kind == "diffusion" else None, **changes)

    def generate(self, requests: Sequence[Request], **changes: Any) -> list[Generation]:
        """Answers to requests."""
        return self.model.generate(requests, self.settings(**changes))

    def texts(self, requests: Sequence[Request], **changes: Any) -> dict[str, tuple[str, ...]]:
        """Request -> its texts."""
        return {generation.id: generation.texts for generation in self.generate(requests, **changes)}


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ModelError(message)


# --- the checks, in order; their names are what the user reads ---------------------------------------------------------
def trains_within_its_budget(case: Case) -> None:
    """`fit` returns a report that keeps to the budget."""
    report = case.fitted[1]
    _require(isinstance(report, FitReport), f"fit returned {type(report).__name__}; expected FitReport.")
    _require(0 <= report.tokens <= case.budget.tokens, f"fit used {report.tokens} positions of a budget of {case.budget.tokens}.")
    if case.design.kind != "floor":
        _require(report.tokens > 0 and report.parameters > 0, "fit reports no tokens or no parameters; both are columns.")


def answers_every_request_in_order(case: Case) -> None:
    """As many generations as requests, with their ids, each with `n` texts."""
    for candidates in (1, 2):
        requests = case.requests(candidates=candidates)
        given = case.generate(requests)
        _require(len(given) == len(requests), f"{len(given)} generations for {len(requests)} requests.")
        _require([item.id for item in given] == [item.id for item in requests], "ids are not those of the requests, in order.")
        wrong = next((item for item in given if len(item.texts) != candidates), None)
        _require(wrong is None, f"{len(wrong.texts) if wrong else 0} texts where a request asked for {candidates}.")
        _require(all(isinstance(text, str) for item in given for text in item.texts), "a text is not a str.")


def keeps_to_the_longest_answer(case: Case) -> None:
    """No more than `max_tokens` ids; exactly that many with `fixed_length`."""
    given = [item for item in case.generate(case.requests()) if item.ids is not None]
    if not given:
        raise InapplicableError("gives no token ids")
    longest = max(len(ids) for item in given for ids in item.ids or ())
    _require(longest <= _CANVAS, f"{longest} tokens where max_tokens is {_CANVAS}.")
    if case.design.kind != "floor":
        lengths = {len(ids) for item in case.generate(case.requests(), fixed_length=True) for ids in item.ids or ()}
        _require(lengths == {_CANVAS}, f"fixed_length asks for {_CANVAS} tokens, EOS ignored; lengths given: {sorted(lengths)}.")


def repeats_itself_for_the_same_seed(case: Case) -> None:
    """The same requests give the same texts, whatever was generated before."""
    first = case.texts(case.requests())
    case.texts(case.requests(seed=4))
    _require(first == case.texts(case.requests()), "the same requests gave other texts: noise must depend on Request.seed alone.")


def depends_on_the_seed(case: Case) -> None:
    """Other seeds, other texts."""
    if case.design.kind == "floor":
        raise InapplicableError("floors may be deterministic")
    first, second = case.texts(case.requests()), case.texts(case.requests(seed=4))
    _require(first != second, "other seeds gave the same texts to every request: Request.seed is ignored.")


def does_not_depend_on_order_or_batch(case: Case) -> None:
    """Reversed requests, single requests and small batches give the same texts."""
    requests = case.requests()
    expected = case.texts(requests)
    _require(case.texts(requests[::-1]) == expected, "requests in another order gave other texts.")
    _require(case.texts(requests, micro_batch=1) == expected, "micro_batch=1 gave other texts.")
    _require(case.texts(requests[:1])[requests[0].id] == expected[requests[0].id], "a request alone gave another text.")


def counts_its_network_calls(case: Case) -> None:
    """`network_calls` and `steps_used` are filled, and the calls agree with what hooks on the model's modules count."""
    with _counted(case.model) as count:
        (given,) = case.generate(case.requests()[:1])
    if case.design.kind == "diffusion":
        _require(given.steps_used == _STEPS, f"steps_used is {given.steps_used} where {_STEPS} steps were asked for.")
    if case.design.kind == "floor" and not given.network_calls:
        raise InapplicableError("a floor without network")
    _require(given.network_calls > 0, "network_calls is 0: it is a cost column.")
    seen = sorted(set(count.values()))
    if given.network_calls > max(seen, default=0):
        raise InapplicableError(
            f"says {given.network_calls} calls; hooks saw {seen}: the network is not called as a torch module"
        )
    _require(given.network_calls in seen, f"network_calls is {given.network_calls}; modules were called {seen} times.")


@contextmanager
def _counted(model: TextModel) -> Iterator[Counter[str]]:
    count: Counter[str] = Counter()
    modules = {f"{root}.{name}": module for root, value in _modules(model) for name, module in value.named_modules()}

    def counter(name: str) -> Callable[..., None]:
        return lambda *arguments: count.update([name])

    handles = [module.register_forward_pre_hook(counter(name)) for name, module in modules.items()]
    try:
        yield count
    finally:
        for handle in handles:
            handle.remove()


def _modules(holder: object, path: str = "model", depth: int = 3) -> "Iterator[tuple[str, nn.Module]]":
    """The object where it is a torch module, else the modules among its attributes, and among theirs."""
    from torch import nn

    if isinstance(holder, nn.Module):
        yield path, holder
    elif depth and hasattr(holder, "__dict__") and not isinstance(holder, type):
        for name, value in vars(holder).items():
            yield from _modules(value, f"{path}.{name}", depth - 1)


def gives_a_likelihood_as_its_design_says(case: Case) -> None:
    """One finite, non-negative value per example, of the declared kind."""
    found = case.model.likelihood(case.test)
    declared = case.design.likelihood
    if found is None:
        _require(declared is None, f"likelihood is None; the design says {declared!r}.")
        raise InapplicableError("has no likelihood")
    _require(found.kind == declared, f"likelihood of kind {found.kind!r}; the design says {declared!r}.")
    _require(found.kind in get_args(Likelihood.__annotations__["kind"]), f"unknown kind {found.kind!r}.")
    for name in ("nats", "tokens", "bytes"):
        _require(
            len(getattr(found, name)) == len(case.test), f"{len(getattr(found, name))} {name} for {len(case.test)} examples."
        )
    wrong = next((value for value in found.nats if not math.isfinite(value) or value < 0), None)
    _require(wrong is None, f"a likelihood is {wrong} nats; expected a finite number, 0 or more.")
    sizes = tuple(len(example.target.encode()) for example in case.test)
    _require(tuple(found.bytes) == sizes, "bytes are not the UTF-8 bytes of the targets.")
    _require(all(tokens >= 1 for tokens in found.tokens), "tokens must count EOS, so that none is 0.")


def survives_saving_and_loading(case: Case) -> None:
    """`load` gives a model with the same texts and the same likelihood."""
    folder = case.folder / "saved"
    folder.mkdir()
    case.model.save(folder)
    loaded = case.model_class.load(folder, case.device)
    again = {item.id: item.texts for item in loaded.generate(case.requests(), case.settings())}
    _require(again == case.texts(case.requests()), "the loaded model gave other texts.")
    before, after = case.model.likelihood(case.test), loaded.likelihood(case.test)
    _require((before is None) == (after is None), "the loaded model lost its likelihood, or gained one.")
    if before is not None and after is not None:
        close = all(math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-5) for a, b in zip(before.nats, after.nats, strict=True))
        _require(close, "the loaded model gave other likelihoods.")


CHECKS: tuple[Callable[[Case], None], ...] = (
    trains_within_its_budget, answers_every_request_in_order, keeps_to_the_longest_answer, repeats_itself_for_the_same_seed,
    depends_on_the_seed, does_not_depend_on_order_or_batch, counts_its_network_calls, gives_a_likelihood_as_its_design_says,
    survives_saving_and_loading,
)  # fmt: skip
