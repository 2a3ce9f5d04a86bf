"""What systems share whose noise is any token, in continuous time: the bound, the end of sampling."""

from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from baselines.engine import Diffusion
from baselines.guided import GuidedAdapter
from baselines.networks.token_denoiser import TokenDenoiser
from baselines.parts.categorical import Uniform
from baselines.parts.clocks import Continuum, Grid, uniform_grid
from baselines.parts.objectives_discrete import Term, uniform_bound, uniform_divergence, where_written
from baselines.parts.samplers import Reverse
from baselines.parts.samplers_discrete import renewed, renewed_then_mode
from baselines.parts.spaces import DiscreteSpace
from baselines.parts.steps import Step
from baselines.parts.timesteps import ContinuousTimes
from harness.contracts import TaskView
from harness.design import Design
from harness.schedules.base import Schedule
from harness.tokenizer import PAD

FIRST_TIME = 1e-3  # that is trained on
LAST_TIME = 1e-5  # that samplers come to in equal pieces
LAST_STEPS: dict[str, str] = {
    "ancestral": "sample",
    "greedy": "argmax of the estimate",
    "none": f"none: what is noise at t = {LAST_TIME} stays",
}


class UniformAdapter(GuidedAdapter):
    """Text by replacing tokens, any of them at any step, in continuous time. A condition that is left out is padding."""

    choices: ClassVar[Mapping[str, Collection[str]]] = {"last_step": LAST_STEPS}
    sampling_keys: ClassVar[tuple[str, ...]] = ("guidance", "last_step")

    @classmethod
    def design_for(cls, **size: Any) -> Design:
        """The design with the last step that is asked for."""
        return replace(super().design_for(**size), last_step=LAST_STEPS[cls.checked(size)["last_step"]])

    @classmethod
    def kernel_for(cls, task: TaskView, **size: Any) -> Uniform:
        """The kernel, which mutual-information schedules are solved for."""
        return Uniform(len(task.tokenizer))

    @classmethod
    def network_of(cls, task: TaskView, keys: Mapping[str, Any]) -> TokenDenoiser:
        """The denoiser; it must be told the time, because x_t does not show how much of it is noise."""
        tokens = len(task.tokenizer)
        return TokenDenoiser(
            states=tokens, vocabulary=tokens, length=cls.make_layout(task).length, width=keys["width"], layers=keys["layers"],
            heads=keys["heads"],
        )  # fmt: skip

    @classmethod
    def left_out(cls, task: TaskView) -> int:
        """See `GuidedAdapter`: padding."""
        return PAD

    @abstractmethod
    def build(self, schedule: Schedule, task: TaskView, **size: Any) -> Diffusion:
        """Put the parts together."""

    def parts(self, schedule: Schedule, task: TaskView, size: Mapping[str, Any]) -> dict[str, Any]:
        """What `Diffusion` is put together from.

        Raises:
            ValueError: a schedule with steps.
        """
        if schedule.steps is not None:
            raise ValueError(
                f"schedule {schedule.specification} has {schedule.steps} steps; {self.design.name} is trained in continuous time "
                f"and needs a closed form without steps, such as {self.design.schedule}"
            )
        keys = self.checked(size)
        clock = Continuum(FIRST_TIME, self.grid)
        return {
            "space": DiscreteSpace(len(task.tokenizer)), "kernel": self.kernel_for(task), "schedule": schedule,
            "denoiser": self.network_of(task, keys), "objective": where_written(uniform_bound(schedule)),
            "times": ContinuousTimes(FIRST_TIME), "clock": clock, "time_input": clock.network_time,
            "reverse": self.reverse(), "hide": self.condition_dropout(task, keys),
        }  # fmt: skip

    def grid(self, steps: int) -> Grid:
        """Equal pieces of time; then, if there is a last step, one move to the data, which counts as no step."""
        grid = uniform_grid(steps, last=LAST_TIME)
        return grid[:-1] if self.keys["last_step"] == "none" else grid

    def reverse(self) -> Reverse:
        """Ancestral, but perhaps for the last step."""
        return renewed_then_mode if self.keys["last_step"] == "greedy" else renewed

    @property
    def bound_term(self) -> Term:
        """See `DiscreteAdapter`."""
        return where_written(uniform_bound(self.diffusion.schedule, sums=torch.float64))

    @property
    def step_term(self) -> Term:
        """See `DiscreteAdapter`."""
        return where_written(_step_cost)

    @staticmethod
    def precise(step: Step) -> Step:
        """The step as it is: its terms need no table in float64, they add up in it."""
        return step


def _step_cost(step: Step) -> Float[Tensor, "B L"]:
    return uniform_divergence(step.x_t, step.ids, step.estimate.x0_hat, step.alpha_t, step.alpha_s)
