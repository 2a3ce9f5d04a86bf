"""Are `network_calls` and `steps_used` what happened, seen by hooks on every torch module?"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from harness.check.case import STEPS, Case, InapplicableError, require
from harness.contracts import Generation

_FEWER = STEPS // 2
_COUNT = "Count every forward evaluation of the network, guidance included, and nothing else."


@dataclass
class Calls:
    """Forward calls of modules, by how many other modules' calls they lie in.

    Attributes:
        levels: depth -> module -> calls.
        depth: of what is called next.
    """

    levels: defaultdict[int, Counter[nn.Module]] = field(default_factory=lambda: defaultdict(Counter))
    depth: int = 0

    def enter(self, module: nn.Module, arguments: Any) -> None:
        """A forward begins."""
        self.levels[self.depth][module] += 1
        self.depth += 1

    def leave(self, module: nn.Module, arguments: Any, result: Any) -> None:
        """A forward ends."""
        self.depth -= 1

    @property
    def network(self) -> int:
        """Calls of the network: of the largest module at the first level where one is called again; 0 where none is.

        What is called once may be an encoder, or a module whose forward is the whole sampling loop: the network lies beside
        or within it. What lies within the network may be called more often than the network is.
        """
        for _, level in sorted(self.levels.items()):
            repeated = [(_size(module), count) for module, count in level.items() if count > 1 and any(_size(module))]
            if repeated:
                return max(repeated)[1]
        return 0


def _size(module: nn.Module) -> tuple[int, int]:
    """Parameters that are trained, so that no frozen encoder is taken for the network; and all of them."""
    parameters = list(module.parameters())
    return sum(parameter.numel() for parameter in parameters if parameter.requires_grad), sum(map(Tensor.numel, parameters))


@contextmanager
def _watched() -> Iterator[Calls]:
    calls = Calls()
    handles = [register_module_forward_pre_hook(calls.enter), register_module_forward_hook(calls.leave, always_call=True)]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def counts_its_network_calls(case: Case) -> None:
    """`network_calls` is what hooks see; a writer token by token that they cannot see makes one call for each token."""
    given, seen = _answer(case, STEPS)
    if case.design.kind == "floor" and not given.network_calls:
        raise InapplicableError("a floor without network")
    require(
        given.network_calls > 0,
        f"network_calls is {given.network_calls}; expected a whole number from 1 on, how often the network was asked. {_COUNT}",
    )
    if seen:
        _require_calls(given, range(seen, seen + 1), f"hooks saw {seen} forward calls of the network")
    elif case.design.kind == "autoregressive" and given.ids is not None:
        written = len(given.ids[0])
        _require_calls(given, range(written, written + 2), f"{written} tokens were written; reading a condition may be one more")
    else:
        raise InapplicableError(f"says {given.network_calls} calls; the network is not called as a torch module")


def _require_calls(given: Generation, expected: range, evidence: str) -> None:
    require(
        given.network_calls in expected,
        f"network_calls is {given.network_calls}; expected {' or '.join(map(str, expected))}: {evidence}. {_COUNT}",
    )


def follows_the_number_of_steps(case: Case) -> None:
    """Fewer steps are asked for: `steps_used` and `network_calls` follow, and so does what hooks see."""
    if case.design.kind != "diffusion":
        raise InapplicableError("has no steps")
    chain = case.table or case.design.chain or STEPS
    (many, seen_in_many), (few, seen_in_few) = _answer(case, STEPS), _answer(case, _FEWER)
    for given, steps in ((many, STEPS), (few, _FEWER)):
        expected = min(steps, chain)
        require(
            given.steps_used == expected,
            f"steps_used is {given.steps_used} where {steps} were asked for; expected {expected}. Visit Sampling.steps steps.",
        )
    if chain > _FEWER:
        _require_fewer(few.network_calls, many.network_calls, "network_calls says")
        _require_fewer(seen_in_few, seen_in_many, "hooks saw")


def _require_fewer(few: int, many: int, who: str) -> None:
    require(
        few < many or not many,
        f"{who} {few} calls in {_FEWER} steps and {many} in {STEPS}; expected fewer in fewer steps. Visit Sampling.steps steps.",
    )


def _answer(case: Case, steps: int) -> tuple[Generation, int]:
    """The answer to one request, and the calls of the network that hooks see."""
    with _watched() as calls:
        (given,) = case.generate(case.requests()[:1], steps=steps, fixed_length=case.design.kind != "floor")
    return given, calls.network
