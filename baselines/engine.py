"""The two loops of the field, once: corrupt and compare (loss), start from noise and walk back (sample)."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from baselines.parts.calls import Calls, among
from baselines.parts.clocks import Clock, Grid, Time
from baselines.parts.conditioning import Canvas
from baselines.parts.denoisers import Denoiser, Reader, select
from baselines.parts.estimates import Deferred, Estimate, OfRows
from baselines.parts.kernels import Kernel
from baselines.parts.objectives import per_example
from baselines.parts.randomness import Noise
from baselines.parts.samplers import Timed, Undo
from baselines.parts.self_conditioning import Heard
from baselines.parts.spaces import DrawSource, TokenSpace
from baselines.parts.steps import Step
from harness.schedules.base import Schedule

PRIOR_DRAW = 0  # counter of the draw from the prior; the k-th reverse step draws at k

Objective = Callable[[Step], Float[Tensor, "B L"]]
TimeInput = Callable[[Time], Float[Tensor, "B ..."]]
Hide = Callable[[Tensor, Canvas, DrawSource], Tensor]


@runtime_checkable
class Times(Protocol):
    """Where a batch is trained."""

    def sample(self, batch: int, generator: torch.Generator) -> tuple[Tensor, Float[Tensor, " B"]]:
        """Places of the clock, "B" or "B L", and the weight of each loss."""
        ...

    def observe(self, place: Tensor, loss: Float[Tensor, " B"]) -> None:
        """Hear of losses; uniform samplers do nothing."""
        ...


@runtime_checkable
class TrainingDraws(DrawSource, Protocol):
    """What the loss needs of `training.Draws`."""

    @property
    def batch(self) -> int:
        """Examples of the whole batch."""
        ...

    @property
    def progress(self) -> float:
        """Share of the training's updates that are done; 1 outside training."""
        ...

    def once(self, name: str, draw: Callable[[torch.Generator], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """This micro-batch's rows of whole-batch tensors that are drawn once for all micro-batches."""
        ...


class Diffusion(nn.Module):
    """A diffusion text model, put together from its parts.

    Args:
        clock: how time is counted.
        time_input: what the network is told at time t.
        embed: makes x0 from clean states and noise; `None` where x0 is the clean state.
        hide: what the network sees of states and canvas in training, where it is not to see all; `None` = everything.
        self_conditioning: share of training examples that hear a first estimate of their own before they estimate; `None` = no
            estimate is ever heard.
    """

    def __init__(
        self, *, space: TokenSpace, kernel: Kernel, schedule: Schedule, denoiser: Denoiser, objective: Objective, times: Times,
        reverse: Undo, clock: Clock, time_input: TimeInput,
        embed: Callable[[Tensor, Float[Tensor, "B #L"], DrawSource], Tensor] | None = None, hide: Hide | None = None,
        self_conditioning: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if schedule.steps is not None and schedule.steps != clock.steps:
            counted = f"{clock.steps} steps" if clock.steps else "no steps; take one in closed form, without @T"
            raise ValueError(f"schedule {schedule.specification} has {schedule.steps} steps, the system counts {counted}")
        self.space, self.kernel, self.schedule, self.denoiser = space, kernel, schedule, denoiser
        self.objective, self.times, self.reverse = objective, times, reverse
        self.clock, self.time_input, self.embed, self.hide = clock, time_input, embed, hide
        self.self_conditioning = self_conditioning

    def alpha(self, t: Time, canvas: Canvas) -> Float[Tensor, "B L"]:
        """Signal that the schedule keeps at time t where tokens are to be written, and 1 where they are given."""
        return torch.where(canvas.given, 1.0, self.schedule.alpha_bar(t, canvas.ids))

    def heard(
        self, t: Time, s: Time, kept: Float[Tensor, "B L"], canvas: Canvas
    ) -> tuple[Float[Tensor, "B L"], Float[Tensor, "B L"]]:
        """Signal at t and at s as the reverse step from t to s hears of it.

        Args:
            kept: signal that is kept at t.
        """
        return kept, self.alpha_after(s, canvas)

    def alpha_after(self, s: Time, canvas: Canvas) -> Float[Tensor, "B L"]:
        """Signal kept when a reverse step has come to s: all of it at the data, whatever the schedule says of t = 0."""
        return torch.where(s == 0, 1.0, self.alpha(s, canvas))

    def loss(self, canvas: Canvas, draws: TrainingDraws) -> Float[Tensor, " B"]:
        """Training loss of each example, in nats per position."""
        place, weight = draws.once("time", partial(self.times.sample, draws.batch))
        t, s = self.clock.interval(place)
        loss = per_example(self.objective(self.step(canvas, t, s, draws)))
        if self.training:
            self.times.observe(place, loss.detach())
            self.schedule.observe(t, loss.detach()[:, None].expand_as(t))
        return loss * weight

    def step(self, canvas: Canvas, t: Time, s: Time, draws: DrawSource, alpha_t: Float[Tensor, "B L"] | None = None) -> Step:
        """Corrupt a batch up to time t and let the network estimate it; s is the next time towards the data.

        Args:
            alpha_t: signal kept at time t in place of the schedule's.
        """
        kept = self.alpha(t, canvas) if alpha_t is None else alpha_t
        alpha_t, alpha_s = self.heard(t, s, kept, canvas)
        clean = self.space.encode(canvas.ids)
        x0 = clean if self.embed is None else self.embed(clean, self._first_level(canvas), draws)
        x_t = self.kernel.corrupt(x0, kept, self.kernel.noise(draws, "corrupt", canvas.ids.shape[1]))
        seen = x_t if self.hide is None or not self.training else self.hide(x_t, canvas, draws)
        denoiser, told = self.reading(canvas), self.time_input(t)
        estimate = denoiser(seen, told, canvas.given, self._first_pass(denoiser, seen, told, canvas, draws))
        last = self.schedule.alpha_bar(torch.ones_like(t), canvas.ids)
        return Step(
            ids=canvas.ids, given=canvas.given, clean=clean, x0=x0, x_t=x_t, estimate=estimate, t=t, alpha_t=alpha_t,
            alpha_s=alpha_s, alpha_T=last, first=s == 0,
        )  # fmt: skip

    def _first_pass(self, denoiser: Denoiser, seen: Tensor, told: Tensor, canvas: Canvas, draws: DrawSource) -> Heard | None:
        """The first estimate of a share of training examples, without a gradient (Chen et al. 2022, arXiv:2208.04202)."""
        if self.self_conditioning is None or not self.training:
            return None
        rows = (draws.uniform("self-conditioning") < self.self_conditioning).nonzero()[:, 0]
        if not len(rows):
            return None
        with torch.no_grad():
            return Heard(select(denoiser, rows)(seen[rows], told[rows], canvas.given[rows], None), rows, len(seen))

    def _first_level(self, canvas: Canvas) -> Float[Tensor, "B #L"]:
        assert self.clock.steps is not None
        ones = torch.ones(len(canvas.ids), 1, dtype=torch.float64, device=canvas.ids.device)
        return self.schedule.alpha_bar(ones / self.clock.steps, canvas.ids)

    def reading(self, canvas: Canvas) -> Denoiser:
        """The denoiser, having read the source beside the canvas where there is one."""
        if canvas.source is None:
            return self.denoiser
        if not isinstance(self.denoiser, Reader):
            raise TypeError(f"{type(self.denoiser).__name__} reads no source beside the canvas")
        return self.denoiser.reading(canvas.source)

    @torch.no_grad()
    def sample(
        self, prompt: Canvas, noise: Noise, grid: Grid, denoiser: Denoiser | None = None, reverse: Undo | None = None,
        calls: Calls | None = None,
    ) -> Int[Tensor, "B L"]:  # fmt: skip
        """Walk from noise to tokens.

        Args:
            prompt: the canvas with its given tokens.
            noise: one stream per request.
            grid: times to stand at, from 1 down to 0.
            denoiser: the trained one, wrapped (clamping, guidance); `None` = as trained.
            reverse: another reverse step; `None` = the system's own.
            calls: where network calls are counted by row.
        """
        positions = prompt.ids.shape[1]
        denoise, undo, previous = denoiser or self.reading(prompt), reverse or self.reverse, None
        x = self.pin(self.kernel.prior(self.kernel.noise(noise, PRIOR_DRAW, positions)), prompt)
        for number, (t, s) in enumerate(pairwise(grid.tolist()), start=1):
            step_noise = self.kernel.noise(noise, number, positions)
            x, estimate = self.advance(x, prompt, t, s, step_noise, denoise, previous, undo, calls)
            previous = estimate.known or previous
        return torch.where(prompt.given, prompt.ids, self.space.decode(x))

    def advance(
        self, x_t: Tensor, prompt: Canvas, t: float, s: float, noise: Tensor, denoise: Denoiser, previous: Estimate | None,
        reverse: Undo, calls: Calls | None = None,
    ) -> tuple[Tensor, Deferred]:  # fmt: skip
        """Go from time t to time s (0 is the data); given positions come out clean.

        The network is asked when the reverse step looks at the estimate, for the rows it looks at, or never.
        """
        here, there = (torch.full((len(x_t), 1), time, dtype=torch.float64, device=prompt.ids.device) for time in (t, s))
        told = self.time_input(here)

        def ask(rows: Int[Tensor, " C"] | None) -> Estimate:
            if rows is None:
                with among(calls, None):
                    return denoise(x_t, told, prompt.given, previous)
            before = previous and OfRows(previous, rows)
            with among(calls, rows):
                return select(denoise, rows)(x_t[rows], told[rows], prompt.given[rows], before)

        estimate = Deferred(ask)
        canvas = self.looked_at(prompt, estimate)
        alpha_t, alpha_s = self.heard(here, there, self.alpha(here, canvas), canvas)
        undo = reverse.between(t, s) if isinstance(reverse, Timed) else reverse
        x_s = undo(self.kernel, x_t, estimate, alpha_t, alpha_s, noise=noise, final=s == 0)
        return self.pin(x_s, prompt), estimate

    def looked_at(self, prompt: Canvas, estimate: Estimate) -> Canvas:
        """What a schedule sees in sampling: content schedules, the most probable tokens where the canvas is to be written."""
        if self.schedule.grain != "content":
            return prompt
        return replace(prompt, ids=torch.where(prompt.given, prompt.ids, estimate.mode()))

    def pin(self, x: Tensor, prompt: Canvas) -> Tensor:
        """Put the clean states of the given tokens in their places."""
        clean = self.space.encode(prompt.ids)
        given = prompt.given.view(prompt.given.shape + (1,) * (x.dim() - prompt.given.dim()))
        return torch.where(given, clean.to(x.dtype), x)
