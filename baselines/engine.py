"""The two loops of the field, once: corrupt and compare (loss), start from noise and walk back (sample)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from baselines.parts.conditioning import Canvas
from baselines.parts.denoisers import Denoiser, Estimate
from baselines.parts.kernels import Kernel
from baselines.parts.randomness import Noise
from baselines.parts.spaces import DrawSource, TokenSpace
from harness.schedules.base import Schedule

PRIOR_STEP = 0  # counter of the draw from the prior; the k-th reverse step draws at k + 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """Everything about one training step that an objective may look at; s is the next time towards the data.

    Attributes:
        clean: states of the tokens themselves.
        x0: what was corrupted: `clean`, or `clean` with the noise of the embedding step.
        first: rows whose reverse step ends at the data (s = 0).
        alpha_T: signal kept at t = 1.
    """

    ids: Int[Tensor, "B L"]
    given: Bool[Tensor, "B L"]
    clean: Tensor
    x0: Tensor
    x_t: Tensor
    estimate: Estimate
    alpha_t: Float[Tensor, "B L"]
    alpha_s: Float[Tensor, "B L"]
    alpha_T: Float[Tensor, "B L"]
    first: Bool[Tensor, "B 1"]


Objective = Callable[[Step], Float[Tensor, "B L"]]


class Times(Protocol):
    """Which steps of the chain a batch is trained on."""

    def sample(self, batch: int, generator: torch.Generator) -> tuple[Int[Tensor, " B"], Float[Tensor, " B"]]:
        """Indices 1..T and the weight of each loss."""
        ...

    def observe(self, index: Int[Tensor, " B"], loss: Float[Tensor, " B"]) -> None:
        """Hear of losses; uniform samplers do nothing."""
        ...


class Reverse(Protocol):
    """One reverse step from t to s; the samplers of `baselines.parts.samplers`."""

    def __call__(
        self, kernel: Kernel, x_t: Tensor, estimate: Estimate, alpha_t: Float[Tensor, "B L"], alpha_s: Float[Tensor, "B L"],
        *, noise: Tensor, final: bool,
    ) -> Tensor:  # fmt: skip
        """The state at s; `final` steps end at the data."""
        ...


class TrainingDraws(DrawSource, Protocol):
    """What the loss needs of `training.Draws`."""

    @property
    def batch(self) -> int:
        """Examples of the whole batch."""
        ...

    def generator(self, name: str) -> torch.Generator:
        """Generator of a named stream."""
        ...

    def take(self, whole: Tensor) -> Tensor:
        """This micro-batch's rows of a whole-batch tensor."""
        ...


class Diffusion(nn.Module):
    """A diffusion text model, put together from its parts.

    Args:
        chain: number of steps T of the training chain; time i stands for t = i / T.
        time_scale: the network is told i * time_scale.
        embed: makes x0 from clean states and noise; `None` where x0 is the clean state.
    """

    def __init__(
        self, *, space: TokenSpace, kernel: Kernel, schedule: Schedule, denoiser: Denoiser, objective: Objective, times: Times,
        reverse: Reverse, chain: int, time_scale: float,
        embed: Callable[[Tensor, Float[Tensor, "B L"], DrawSource], Tensor] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if schedule.steps is not None and schedule.steps != chain:
            raise ValueError(f"schedule {schedule.specification} has {schedule.steps} steps, the chain has {chain}")
        self.space, self.kernel, self.schedule, self.denoiser = space, kernel, schedule, denoiser
        self.objective, self.times, self.reverse = objective, times, reverse
        self.chain, self.time_scale, self.embed = chain, time_scale, embed

    def alpha(self, index: Int[Tensor, " B"], canvas: Canvas) -> Float[Tensor, "B L"]:
        """Signal kept at each position at step `index` of the chain: the schedule's, and 1 where the token is given."""
        time = (index.to(torch.float64) / self.chain)[:, None]
        alpha = self.schedule.alpha_bar(time, canvas.ids)
        return torch.where(canvas.given, 1.0, alpha)

    def loss(self, canvas: Canvas, draws: TrainingDraws) -> Float[Tensor, " B"]:
        """Training loss of each example, in nats per position."""
        index, weight = self.times.sample(draws.batch, draws.generator("time"))
        index, weight = draws.take(index), draws.take(weight)
        step = self.step(canvas, index, draws)
        loss = self.objective(step).mean(-1)
        if self.training:
            self.times.observe(index, loss.detach())
            self.schedule.observe((index / self.chain)[:, None], loss.detach()[:, None])
        return loss * weight

    def step(self, canvas: Canvas, index: Int[Tensor, " B"], draws: DrawSource) -> Step:
        """Corrupt a batch at given steps of the chain and let the network estimate it."""
        ones = torch.ones_like(index)
        alpha_t, alpha_s = self.alpha(index, canvas), self.alpha(index - 1, canvas)
        clean = self.space.encode(canvas.ids)
        x0 = clean if self.embed is None else self.embed(clean, self.alpha(ones, canvas), draws)
        x_t = self.kernel.corrupt(x0, alpha_t, self.kernel.noise(draws, "corrupt", canvas.ids.shape[1]))
        estimate = self.denoiser(x_t, index * self.time_scale, canvas.given, None)
        return Step(
            ids=canvas.ids, given=canvas.given, clean=clean, x0=x0, x_t=x_t, estimate=estimate, alpha_t=alpha_t,
            alpha_s=alpha_s, alpha_T=self.alpha(ones * self.chain, canvas), first=(index == 1)[:, None],
        )  # fmt: skip

    @torch.no_grad()
    def sample(self, prompt: Canvas, noise: Noise, visited: Sequence[int]) -> Int[Tensor, "B L"]:
        """Walk from noise to tokens.

        Args:
            prompt: the canvas with its given tokens.
            noise: one stream per request.
            visited: steps of the chain in sampling order, falling; the walk ends at 0, which is not listed.
        """
        rows, positions = prompt.ids.shape
        clean = self.space.encode(prompt.ids)
        x = self.kernel.prior(self.kernel.noise(noise, PRIOR_STEP, positions))
        estimate = None
        for number, (t, s) in enumerate(zip(visited, [*visited[1:], 0], strict=True), start=1):
            x = self._pin(x, clean, prompt.given)
            index = torch.full((rows,), t, device=prompt.ids.device)
            estimate = self.denoiser(x, index * self.time_scale, prompt.given, estimate)
            alpha_t, alpha_s = self.alpha(index, prompt), self.alpha(index * 0 + s, prompt)
            step_noise = self.kernel.noise(noise, number, positions)
            x = self.reverse(self.kernel, x, estimate, alpha_t, alpha_s, noise=step_noise, final=s == 0)
        return torch.where(prompt.given, prompt.ids, self.space.decode(x))

    @staticmethod
    def _pin(x: Tensor, clean: Tensor, given: Bool[Tensor, "B L"]) -> Tensor:
        mask = given if x.dim() == given.dim() else given[..., None]
        return torch.where(mask, clean.to(x.dtype), x)
