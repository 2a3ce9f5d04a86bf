"""The two loops of the field, once: corrupt and compare (loss), start from noise and walk back (sample)."""

from collections.abc import Callable
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from baselines.parts.conditioning import Canvas
from baselines.parts.denoisers import Denoiser, Estimate
from baselines.parts.kernels import Kernel
from baselines.parts.objectives import per_example
from baselines.parts.randomness import Noise
from baselines.parts.samplers import Reverse
from baselines.parts.spaces import DrawSource, TokenSpace
from baselines.parts.steps import Step
from harness.schedules.base import Schedule

PRIOR_DRAW = 0  # counter of the draw from the prior; the k-th reverse step draws at k

Objective = Callable[[Step], Float[Tensor, "B L"]]
TimeInput = Callable[[Int[Tensor, " B"]], Float[Tensor, " B"]]


@runtime_checkable
class Times(Protocol):
    """Which steps of the chain a batch is trained on."""

    def sample(self, batch: int, generator: torch.Generator) -> tuple[Int[Tensor, " B"], Float[Tensor, " B"]]:
        """Steps 0..T-1 and the weight of each loss."""
        ...

    def observe(self, index: Int[Tensor, " B"], loss: Float[Tensor, " B"]) -> None:
        """Hear of losses; uniform samplers do nothing."""
        ...


@runtime_checkable
class TrainingDraws(DrawSource, Protocol):
    """What the loss needs of `training.Draws`."""

    @property
    def batch(self) -> int:
        """Examples of the whole batch."""
        ...

    def once(self, name: str, draw: Callable[[torch.Generator], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """This micro-batch's rows of whole-batch tensors that are drawn once for all micro-batches."""
        ...


class Diffusion(nn.Module):
    """A diffusion text model, put together from its parts.

    Args:
        chain: number of steps T of the training chain. Step i, counted from 0, leads from t = i / T to t = (i + 1) / T.
        time_input: what the network is told at step i.
        embed: makes x0 from clean states and noise; `None` where x0 is the clean state.
    """

    def __init__(
        self, *, space: TokenSpace, kernel: Kernel, schedule: Schedule, denoiser: Denoiser, objective: Objective, times: Times,
        reverse: Reverse, chain: int, time_input: TimeInput,
        embed: Callable[[Tensor, Float[Tensor, "B #L"], DrawSource], Tensor] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if schedule.steps is not None and schedule.steps != chain:
            raise ValueError(f"schedule {schedule.specification} has {schedule.steps} steps, the chain has {chain}")
        self.space, self.kernel, self.schedule, self.denoiser = space, kernel, schedule, denoiser
        self.objective, self.times, self.reverse = objective, times, reverse
        self.chain, self.time_input, self.embed = chain, time_input, embed

    def level(self, completed: Int[Tensor, " B"], ids: Int[Tensor, "B L"]) -> Float[Tensor, "B #L"]:
        """Signal that the schedule keeps after a number of completed steps, 0..T."""
        return self.schedule.alpha_bar((completed.to(torch.float64) / self.chain)[:, None], ids)

    def alpha(self, completed: Int[Tensor, " B"], canvas: Canvas) -> Float[Tensor, "B L"]:
        """The same where tokens are to be written, and 1 where they are given."""
        return torch.where(canvas.given, 1.0, self.level(completed, canvas.ids))

    def loss(self, canvas: Canvas, draws: TrainingDraws) -> Float[Tensor, " B"]:
        """Training loss of each example, in nats per position."""
        index, weight = draws.once("time", partial(self.times.sample, draws.batch))
        step = self.step(canvas, index, draws)
        loss = per_example(self.objective(step))
        if self.training:
            self.times.observe(index, loss.detach())
            self.schedule.observe((index / self.chain)[:, None], loss.detach()[:, None])
        return loss * weight

    def step(self, canvas: Canvas, index: Int[Tensor, " B"], draws: DrawSource) -> Step:
        """Corrupt a batch at given steps of the chain and let the network estimate it."""
        ones = torch.ones_like(index)
        alpha_t, alpha_s = self.alpha(index + 1, canvas), self.alpha(index, canvas)
        clean = self.space.encode(canvas.ids)
        x0 = clean if self.embed is None else self.embed(clean, self.level(ones, canvas.ids), draws)
        x_t = self.kernel.corrupt(x0, alpha_t, self.kernel.noise(draws, "corrupt", canvas.ids.shape[1]))
        estimate = self.denoiser(x_t, self.time_input(index), canvas.given, None)
        return Step(
            ids=canvas.ids, given=canvas.given, clean=clean, x0=x0, x_t=x_t, estimate=estimate, alpha_t=alpha_t,
            alpha_s=alpha_s, alpha_T=self.level(ones * self.chain, canvas.ids), first=(index == 0)[:, None],
        )  # fmt: skip

    @torch.no_grad()
    def sample(
        self, prompt: Canvas, noise: Noise, visited: Int[Tensor, " K"], denoiser: Denoiser | None = None,
        reverse: Reverse | None = None,
    ) -> Int[Tensor, "B L"]:  # fmt: skip
        """Walk from noise to tokens.

        Args:
            prompt: the canvas with its given tokens.
            noise: one stream per request.
            visited: steps of the chain, ascending, as `timesteps.spaced` gives them; they are walked backwards to the data.
            denoiser: the trained one, wrapped (clamping, guidance); `None` = as trained.
            reverse: another reverse step; `None` = the system's own.
        """
        positions = prompt.ids.shape[1]
        denoise, undo, estimate = denoiser or self.denoiser, reverse or self.reverse, None
        x = self.pin(self.kernel.prior(self.kernel.noise(noise, PRIOR_DRAW, positions)), prompt)
        steps = visited.tolist()[::-1]
        for number, (step, after) in enumerate(zip(steps, [*steps[1:], -1], strict=True), start=1):
            step_noise = self.kernel.noise(noise, number, positions)
            x, estimate = self.advance(x, prompt, step, after + 1, step_noise, denoise, estimate, undo)
        return torch.where(prompt.given, prompt.ids, self.space.decode(x))

    def advance(
        self, x_t: Tensor, prompt: Canvas, step: int, left: int, noise: Tensor, denoise: Denoiser, previous: Estimate | None,
        reverse: Reverse,
    ) -> tuple[Tensor, Estimate]:  # fmt: skip
        """Undo the steps of the chain from `step` down until `left` are left (0 is the data); given positions come out clean."""
        index, s = (torch.full((len(x_t),), number, device=prompt.ids.device) for number in (step, left))
        estimate = denoise(x_t, self.time_input(index), prompt.given, previous)
        alpha_t, alpha_s = self.alpha(index + 1, prompt), self.alpha(s, prompt)
        x_s = reverse(self.kernel, x_t, estimate, alpha_t, alpha_s, noise=noise, final=left == 0)
        return self.pin(x_s, prompt), estimate

    def pin(self, x: Tensor, prompt: Canvas) -> Tensor:
        """Put the clean states of the given tokens in their places."""
        clean = self.space.encode(prompt.ids)
        given = prompt.given.view(prompt.given.shape + (1,) * (x.dim() - prompt.given.dim()))
        return torch.where(given, clean.to(x.dtype), x)
