"""What every denoiser gives back, whatever its network predicts: an estimate of x0."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Estimate:
    """A denoiser's answer.

    Attributes:
        x0_hat: estimate of x0 in the kernel's terms: vectors "B L S", or log-probabilities over tokens "B L V".
        raw: the network's own output.
    """

    x0_hat: Tensor
    raw: Tensor


@runtime_checkable
class Denoiser(Protocol):
    """A network behind the field's one signature; guidance wraps it without changing the signature."""

    def __call__(self, x_t: Tensor, time: Float[Tensor, " B"], given: Bool[Tensor, "B L"], previous: Estimate | None) -> Estimate:
        """Estimate x0.

        Args:
            x_t: noisy states.
            time: what the design says the network is told about time.
            given: positions that are pinned.
            previous: the last estimate, for self-conditioning.
        """
        ...


class Clamped:
    """Snaps every estimate to the nearest embedding: the clamping trick (Diffusion-LM, section 4.4).

    Args:
        denoiser: what is wrapped.
        snap: nearest embedding of every position.
    """

    def __init__(self, denoiser: Denoiser, snap: Callable[[Tensor], Tensor]) -> None:
        self.denoiser, self.snap = denoiser, snap

    def __call__(self, x_t: Tensor, time: Float[Tensor, " B"], given: Bool[Tensor, "B L"], previous: Estimate | None) -> Estimate:
        """Estimate x0, clamped."""
        estimate = self.denoiser(x_t, time, given, previous)
        return Estimate(self.snap(estimate.x0_hat), estimate.raw)


class ClampedBelow(Clamped):
    """Snaps late estimates only: those of rows whose time lies below a limit.

    Args:
        denoiser: what is wrapped.
        snap: nearest embedding of every position.
        limit: in the network's time; 0 clamps nothing.
    """

    def __init__(self, denoiser: Denoiser, snap: Callable[[Tensor], Tensor], limit: float) -> None:
        super().__init__(denoiser, snap)
        self.limit = limit

    def __call__(self, x_t: Tensor, time: Float[Tensor, " B"], given: Bool[Tensor, "B L"], previous: Estimate | None) -> Estimate:
        """Estimate x0, clamped where it is late; nothing is snapped where no row is."""
        estimate, late = self.denoiser(x_t, time, given, previous), time < self.limit
        if not bool(late.any()):
            return estimate
        return Estimate(torch.where(late[:, None, None], self.snap(estimate.x0_hat), estimate.x0_hat), estimate.raw)


class Tempered:
    """Sharpens (below 1) or flattens (above 1) estimates that are log-probabilities over tokens.

    Args:
        denoiser: what is wrapped.
        temperature: log-probabilities are divided by it and normalised again.
    """

    def __init__(self, denoiser: Denoiser, temperature: float) -> None:
        self.denoiser, self.temperature = denoiser, temperature

    def __call__(self, x_t: Tensor, time: Float[Tensor, " B"], given: Bool[Tensor, "B L"], previous: Estimate | None) -> Estimate:
        """Estimate x0, tempered."""
        estimate = self.denoiser(x_t, time, given, previous)
        return Estimate((estimate.x0_hat / self.temperature).log_softmax(-1), estimate.raw)


@dataclass(slots=True)
class Calls:
    """Forward evaluations seen so far, and the rows and positions that went through."""

    count: int = 0
    positions: int = 0


@contextmanager
def counted(network: nn.Module) -> Iterator[Calls]:
    """Count the forward evaluations of a network, whatever calls it.

    Positions are counted per request: the second dimension of the first argument, added over calls.
    """
    calls = Calls()

    def note(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        calls.count += 1
        calls.positions += arguments[0].shape[1]

    handle = network.register_forward_pre_hook(note)
    try:
        yield calls
    finally:
        handle.remove()
