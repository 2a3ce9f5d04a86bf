"""Estimates of x0: what denoisers give back, whatever their networks predict; made and read only where they are looked at."""

from collections.abc import Callable, Iterator
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Weighted = tuple[tuple[float, "Estimate"], ...]
PIECE = 512
"""Positions whose laws are read at a time: at 50,000 tokens a piece takes 100 MB."""


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

    @property
    def weighted(self) -> Weighted | None:
        """The estimates that this one mixes, each behind its weight; `None` where it mixes none.

        For reverse steps that mix the laws of x_s which they lead to, and not the estimates of x0.
        """
        return None

    def at(self, chosen: Bool[Tensor, "B L"]) -> Float[Tensor, "M W"]:
        """The estimate of x0 at some positions, in their order."""
        return self.x0_hat[chosen]

    def raw_at(self, chosen: Bool[Tensor, "B L"]) -> Float[Tensor, "M W"]:
        """The network's own output at some positions, in their order."""
        return self.raw[chosen]

    def pieces(self, chosen: Bool[Tensor, "B L"]) -> Iterator[Float[Tensor, "M W"]]:
        """What `at` gives, `PIECE` positions at a time, so that no table of them all is made."""
        for piece in pieces_of(chosen):
            yield self.at(piece)

    def everywhere(self) -> Bool[Tensor, "B L"]:
        """All positions, as what is chosen."""
        return torch.ones_like(self.x0_hat[..., 0], dtype=torch.bool)

    def mode(self) -> Int[Tensor, "B L"]:
        """The most probable token of every position; no table of all is made."""
        everywhere = self.everywhere()
        return torch.cat([law.argmax(-1) for law in self.pieces(everywhere)]).view_as(everywhere)

    def of(self, ids: Int[Tensor, "B L"]) -> Float[Tensor, "B L"]:
        """The log-probability of one token at every position; no table of all is made."""
        laws = zip(self.pieces(torch.ones_like(ids, dtype=torch.bool)), ids.flatten().split(PIECE), strict=True)
        return torch.cat([law.gather(-1, here[:, None]) for law, here in laws]).view_as(ids)


def pieces_of(chosen: Bool[Tensor, "B L"]) -> Iterator[Bool[Tensor, "B L"]]:
    """The chosen positions, `PIECE` at a time, in their order."""
    places = chosen.flatten().nonzero()[:, 0]
    for part in places.split(PIECE):
        piece = torch.zeros_like(chosen)
        piece.view(-1)[part] = True
        yield piece


class Late:
    """Hidden states whose last part is made of every position by itself, and only where they are looked at.

    Args:
        states: what they are made of.
        finish: makes them, of the states of some positions, or of all (`None`).
    """

    def __init__(
        self, states: Float[Tensor, "B L E"], finish: Callable[[Float[Tensor, "... E"], Bool[Tensor, "B L"] | None], Tensor]
    ) -> None:
        self.states, self.finish = states, finish

    @cached_property
    def whole(self) -> Float[Tensor, "B L D"]:
        """At all positions."""
        return self.finish(self.states, None)

    def at(self, chosen: Bool[Tensor, "B L"]) -> Float[Tensor, "M D"]:
        """At some positions, in their order; made anew unless all were made."""
        return self.whole[chosen] if "whole" in self.__dict__ else self.finish(self.states[chosen], chosen)


class Readout(Estimate):
    """Log-probabilities over tokens that are read off hidden states only where they are looked at.

    Args:
        hidden: last hidden states, made or not.
        head: makes logits of hidden states.
        normalised: makes log-probabilities of logits.
    """

    def __init__(
        self, hidden: Float[Tensor, "B L D"] | Late, head: Callable[[Tensor], Tensor], normalised: Callable[[Tensor], Tensor]
    ) -> None:
        self._hidden = hidden if isinstance(hidden, Late) else Late(hidden, lambda states, chosen: states)
        self.head, self.normalised = head, normalised
        self._whole: tuple[Tensor, Tensor] | None = None

    @property
    def hidden(self) -> Float[Tensor, "B L D"]:
        """Last hidden states of all positions."""
        return self._hidden.whole

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
        return self.normalised(self.raw_at(chosen))

    def raw_at(self, chosen: Bool[Tensor, "B L"]) -> Float[Tensor, "M W"]:
        """See `Estimate`."""
        return self.head(self._hidden.at(chosen))

    def everywhere(self) -> Bool[Tensor, "B L"]:
        """See `Estimate`."""
        return torch.ones_like(self._hidden.states[..., 0], dtype=torch.bool)


class Wrapped(Estimate):
    """An estimate around another one, which it passes on unless a subclass says otherwise.

    Args:
        estimate: what is passed on.
    """

    def __init__(self, estimate: Estimate) -> None:
        self.estimate = estimate

    @property
    def x0_hat(self) -> Tensor:
        """See `Estimate`."""
        return self.estimate.x0_hat

    @property
    def raw(self) -> Tensor:
        """See `Estimate`."""
        return self.estimate.raw

    @property
    def weighted(self) -> Weighted | None:
        """See `Estimate`."""
        return self.estimate.weighted

    def at(self, chosen: Bool[Tensor, "B L"]) -> Float[Tensor, "M W"]:
        """See `Estimate`."""
        return self.estimate.at(chosen)

    def raw_at(self, chosen: Bool[Tensor, "B L"]) -> Float[Tensor, "M W"]:
        """See `Estimate`."""
        return self.estimate.raw_at(chosen)

    def everywhere(self) -> Bool[Tensor, "B L"]:
        """See `Estimate`."""
        return self.estimate.everywhere()


class Changed(Wrapped):
    """An estimate whose x0_hat is changed position by position, where it is looked at.

    Args:
        estimate: what is changed.
        change: from an x0_hat, whole or at some positions, to another.
    """

    def __init__(self, estimate: Estimate, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__(estimate)
        self.change = change

    @property
    def x0_hat(self) -> Tensor:
        """See `Estimate`."""
        return self.change(self.estimate.x0_hat)

    @property
    def weighted(self) -> Weighted | None:
        """See `Estimate`; each is changed by itself."""
        inside = self.estimate.weighted
        return inside and tuple((weight, Changed(estimate, self.change)) for weight, estimate in inside)

    def at(self, chosen: Bool[Tensor, "B L"]) -> Float[Tensor, "M W"]:
        """See `Estimate`."""
        return self.change(self.estimate.at(chosen))


class OfPlaces(Estimate):
    """An estimate, for some positions of its batch: one row of them, in their order.

    Args:
        estimate: for all positions.
        places: which.
    """

    def __init__(self, estimate: Estimate, places: Bool[Tensor, "B L"]) -> None:
        self.estimate, self.places = estimate, places

    @cached_property
    def x0_hat(self) -> Tensor:
        """See `Estimate`."""
        return self.estimate.at(self.places)[None]

    @cached_property
    def raw(self) -> Tensor:
        """See `Estimate`."""
        return self.estimate.raw_at(self.places)[None]


class OfRows(Estimate):
    """An estimate, for some rows of its batch.

    Args:
        estimate: for the whole batch.
        rows: their numbers.
    """

    def __init__(self, estimate: Estimate, rows: Int[Tensor, " C"]) -> None:
        self.estimate, self.rows = estimate, rows

    @property
    def x0_hat(self) -> Tensor:
        """See `Estimate`."""
        return self.estimate.x0_hat[self.rows]

    @property
    def raw(self) -> Tensor:
        """See `Estimate`."""
        return self.estimate.raw[self.rows]


class Deferred(Estimate):
    """An estimate that is made when a reverse step looks at it, for no more rows than it looks at.

    Args:
        ask: makes the estimate of some rows, or of all (`None`).

    Attributes:
        known: the estimate of all rows, once it was read whole. What a step looks at in some places only is not remembered:
            whether all rows are among them depends on the batch, and what later steps are told must not.
    """

    def __init__(self, ask: Callable[[Int[Tensor, " C"] | None], Estimate]) -> None:
        self.ask = ask
        self.known: Estimate | None = None

    def whole(self) -> Estimate:
        """The estimate of all rows."""
        if self.known is None:
            self.known = self.ask(None)
        return self.known

    @property
    def x0_hat(self) -> Tensor:
        """See `Estimate`."""
        return self.whole().x0_hat

    @property
    def raw(self) -> Tensor:
        """See `Estimate`."""
        return self.whole().raw

    @property
    def weighted(self) -> Weighted | None:
        """See `Estimate`."""
        return self.whole().weighted

    def at(self, chosen: Bool[Tensor, "B L"]) -> Float[Tensor, "M W"]:
        """See `Estimate`."""
        estimate, inside = self._of_rows_with(chosen)
        return estimate.at(inside)

    def raw_at(self, chosen: Bool[Tensor, "B L"]) -> Float[Tensor, "M W"]:
        """See `Estimate`."""
        estimate, inside = self._of_rows_with(chosen)
        return estimate.raw_at(inside)

    def pieces(self, chosen: Bool[Tensor, "B L"]) -> Iterator[Float[Tensor, "M W"]]:
        """See `Estimate`."""
        estimate, inside = self._of_rows_with(chosen)
        yield from estimate.pieces(inside)

    def of(self, ids: Int[Tensor, "B L"]) -> Float[Tensor, "B L"]:
        """See `Estimate`."""
        return self.whole().of(ids)

    def everywhere(self) -> Bool[Tensor, "B L"]:
        """See `Estimate`."""
        return self.whole().everywhere()

    def _of_rows_with(self, chosen: Bool[Tensor, "B L"]) -> tuple[Estimate, Bool[Tensor, "C L"]]:
        """The estimate of the rows with chosen positions, and which those are among them."""
        if self.known is not None:
            return self.known, chosen
        rows = chosen.any(-1)
        return (self.ask(None), chosen) if bool(rows.all()) else (self.ask(rows.nonzero()[:, 0]), chosen[rows])
