"""What every denoiser gives back, whatever its network predicts: an estimate of x0."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from baselines.parts.conditioning import Canvas, Source
from baselines.parts.spaces import DrawSource

Told = Float[Tensor, "B ..."]
"""What a network is told about time, one value per row or per position."""


class Estimate:
    """A denoiser's answer.

    Args:
        x0_hat: estimate of x0 in the kernel's terms: vectors "B L S", or log-probabilities over tokens "B L V".
        raw: the network's own output.
    """

    def __init__(self, x0_hat: Tensor, raw: Tensor) -> None:
        self._x0_hat, self._raw = x0_hat, raw

    @property
    def x0_hat(self) -> Tensor:
        """See the class."""
        return self._x0_hat

    @property
    def raw(self) -> Tensor:
        """See the class."""
        return self._raw

    def at(self, chosen: Bool[Tensor, "B L"]) -> Float[Tensor, "M W"]:
        """The estimate of x0 at some positions, in their order."""
        return self.x0_hat[chosen]


class Readout(Estimate):
    """Log-probabilities over tokens that are read off hidden states only where they are looked at.

    Args:
        hidden: last hidden states.
        head: makes logits of hidden states.
        normalised: makes log-probabilities of logits.
    """

    def __init__(
        self, hidden: Float[Tensor, "B L D"], head: Callable[[Tensor], Tensor], normalised: Callable[[Tensor], Tensor]
    ) -> None:
        self.hidden, self.head, self.normalised = hidden, head, normalised
        self._whole: tuple[Tensor, Tensor] | None = None

    @property
    def x0_hat(self) -> Tensor:
        """See `Estimate`."""
        return self._read()[0]

    @property
    def raw(self) -> Tensor:
        """See `Estimate`."""
        return self._read()[1]

    def _read(self) -> tuple[Tensor, Tensor]:
        if self._whole is None:
            logits = self.head(self.hidden)
            self._whole = self.normalised(logits), logits
        return self._whole

    def at(self, chosen: Bool[Tensor, "B L"]) -> Float[Tensor, "M W"]:
        """See `Estimate`."""
        return self.normalised(self.head(self.hidden[chosen]))


class Changed(Estimate):
    """An estimate whose x0_hat is changed position by position, where it is looked at.

    Args:
        estimate: what is changed.
        change: from an x0_hat, whole or at some positions, to another.
    """

    def __init__(self, estimate: Estimate, change: Callable[[Tensor], Tensor]) -> None:
        self.estimate, self.change = estimate, change

    @property
    def x0_hat(self) -> Tensor:
        """See `Estimate`."""
        return self.change(self.estimate.x0_hat)

    @property
    def raw(self) -> Tensor:
        """See `Estimate`."""
        return self.estimate.raw

    def at(self, chosen: Bool[Tensor, "B L"]) -> Float[Tensor, "M W"]:
        """See `Estimate`."""
        return self.change(self.estimate.at(chosen))


class Deferred(Estimate):
    """An estimate that is made when a reverse step looks at it, for no more rows than it looks at.

    Args:
        ask: makes the estimate of some rows, or of all (`None`).
        splits: whether rows may be asked for by themselves.
    """

    def __init__(self, ask: Callable[[Int[Tensor, " C"] | None], Estimate], *, splits: bool = True) -> None:
        self.ask, self.splits = ask, splits
        self.known: Estimate | None = None

    def _all(self) -> Estimate:
        if self.known is None:
            self.known = self.ask(None)
        return self.known

    @property
    def x0_hat(self) -> Tensor:
        """See `Estimate`."""
        return self._all().x0_hat

    @property
    def raw(self) -> Tensor:
        """See `Estimate`."""
        return self._all().raw

    def at(self, chosen: Bool[Tensor, "B L"]) -> Float[Tensor, "M W"]:
        """See `Estimate`."""
        rows = chosen.any(-1)
        if self.known is not None or not self.splits or bool(rows.all()):
            return self._all().at(chosen)
        return self.ask(rows.nonzero()[:, 0]).at(chosen[rows])


@runtime_checkable
class Denoiser(Protocol):
    """A network behind the field's one signature; guidance wraps it without changing the signature."""

    def __call__(
        self, x_t: Tensor, time: Float[Tensor, "B ..."], given: Bool[Tensor, "B L"], previous: Estimate | None
    ) -> Estimate:
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

    def __call__(
        self, x_t: Tensor, time: Float[Tensor, "B ..."], given: Bool[Tensor, "B L"], previous: Estimate | None
    ) -> Estimate:
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

    def __call__(
        self, x_t: Tensor, time: Float[Tensor, "B ..."], given: Bool[Tensor, "B L"], previous: Estimate | None
    ) -> Estimate:
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

    def __call__(
        self, x_t: Tensor, time: Float[Tensor, "B ..."], given: Bool[Tensor, "B L"], previous: Estimate | None
    ) -> Estimate:
        """Estimate x0, tempered."""
        return Changed(self.denoiser(x_t, time, given, previous), lambda x0_hat: (x0_hat / self.temperature).log_softmax(-1))

    def select(self, rows: Int[Tensor, " C"]) -> "Tempered":
        """For some rows."""
        return Tempered(select(self.denoiser, rows), self.temperature)


# --- guidance --------------------------------------------------------------------------------------------------------
class Guided:
    """Discrete classifier-free guidance: estimates move away from those that are made without the condition.

    Log-probabilities gamma log p(x_0 | x_t, y) + (1 - gamma) log p(x_0 | x_t), normalised (Schiff et al. 2024,
    arXiv:2412.10193, section 3.1; Nie et al. 2025, LLaDA, arXiv:2502.09992, appendix A.2, with gamma = 1 + w). Two evaluations
    a step.

    Args:
        denoiser: what is wrapped.
        gamma: weight of the condition; 1 = as trained with it, 0 = without it.
        null: what stands at given positions where the condition is left out.
    """

    def __init__(self, denoiser: Denoiser, gamma: float, null: int) -> None:
        self.denoiser, self.gamma, self.null = denoiser, gamma, null

    def __call__(self, x_t: Tensor, time: Told, given: Bool[Tensor, "B L"], previous: Estimate | None) -> Estimate:
        """Estimate x0, guided."""
        conditional = self.denoiser(x_t, time, given, previous)
        return Mixed(conditional, self.denoiser(x_t.masked_fill(given, self.null), time, given, previous), self.gamma)

    def select(self, rows: Int[Tensor, " C"]) -> "Guided":
        """For some rows."""
        return Guided(select(self.denoiser, rows), self.gamma, self.null)


class Mixed(Estimate):
    """Log-probabilities of two estimates, mixed with weights gamma and 1 - gamma and normalised.

    Args:
        first: the estimate of weight gamma.
        second: the estimate of weight 1 - gamma.
    """

    def __init__(self, first: Estimate, second: Estimate, gamma: float) -> None:
        self.first, self.second, self.gamma = first, second, gamma

    @property
    def x0_hat(self) -> Tensor:
        """See `Estimate`."""
        return self._mixed(self.first.x0_hat, self.second.x0_hat)

    @property
    def raw(self) -> Tensor:
        """That of the first."""
        return self.first.raw

    def at(self, chosen: Bool[Tensor, "B L"]) -> Float[Tensor, "M W"]:
        """See `Estimate`."""
        return self._mixed(self.first.at(chosen), self.second.at(chosen))

    def _mixed(self, first: Tensor, second: Tensor) -> Tensor:
        return (self.gamma * first + (1 - self.gamma) * second).log_softmax(-1)


class ConditionDropout:
    """Leaves the condition out of what the network sees, in some rows of a training batch.

    Ho and Salimans 2022 (classifier-free diffusion guidance, arXiv:2207.12598), algorithm 1.

    Args:
        rate: share of rows.
        null: what stands at given positions of those rows.
    """

    def __init__(self, rate: float, null: int) -> None:
        self.rate, self.null = rate, null

    def __call__(self, x_t: Tensor, canvas: Canvas, draws: DrawSource) -> Tensor:
        """States as the network sees them."""
        dropped = draws.uniform("condition")[:, None] < self.rate
        return x_t.masked_fill(canvas.given & dropped, self.null)


# --- sources that are read beside the canvas -------------------------------------------------------------------------
@runtime_checkable
class Reader(Protocol):
    """A network that reads a source beside the canvas before it estimates."""

    def reading(self, source: Source) -> Denoiser:
        """The denoiser of canvases with these sources; what can be computed of them once is."""
        ...


@runtime_checkable
class ByRow(Protocol):
    """A denoiser that knows something of each row of its batch."""

    def select(self, rows: Int[Tensor, " C"]) -> Denoiser:
        """The denoiser of some of the rows."""
        ...


def select(denoiser: Denoiser, rows: Int[Tensor, " C"]) -> Denoiser:
    """A denoiser for some rows of its batch."""
    return denoiser.select(rows) if isinstance(denoiser, ByRow) else denoiser


# --- what a network costs --------------------------------------------------------------------------------------------
class Calls:
    """Forward evaluations seen so far, and the positions that went through, row by row of a batch.

    Args:
        rows: rows of the batch.

    Attributes:
        asked: the rows that the next evaluation is for; `None` = all.
    """

    def __init__(self, rows: int) -> None:
        self.count, self.positions = [0] * rows, [0] * rows
        self.asked: list[int] | None = None

    def note(self, positions: int) -> None:
        """One more evaluation, of so many positions in every row that was asked for."""
        for row in range(len(self.count)) if self.asked is None else self.asked:
            self.count[row] += 1
            self.positions[row] += positions


@contextmanager
def among(calls: Calls | None, rows: Int[Tensor, " C"] | None) -> Iterator[None]:
    """Evaluations inside are for these rows of a batch; `None` = for all."""
    if calls is not None:
        calls.asked = None if rows is None else rows.tolist()
    yield
    if calls is not None:
        calls.asked = None


@contextmanager
def counted(network: nn.Module, rows: int) -> Iterator[Calls]:
    """Count the forward evaluations of a network on a batch of rows, whatever calls it.

    Positions are counted per row: the second dimension of the first argument, added over calls.
    """
    calls = Calls(rows)

    def note(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        calls.note(arguments[0].shape[1])

    handle = network.register_forward_pre_hook(note)
    try:
        yield calls
    finally:
        handle.remove()
