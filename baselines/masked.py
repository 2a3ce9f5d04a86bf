"""What systems share whose noise is a mask and whose estimate names tokens: the bound, conditions, guidance."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from baselines.adapter import merged
from baselines.discrete import DiscreteAdapter, pinned_source
from baselines.engine import Diffusion, Objective, Times
from baselines.networks.sizes import width_for
from baselines.networks.token_denoiser import TokenDenoiser
from baselines.parts.categorical import Absorbing
from baselines.parts.clocks import Chain, Clock, Continuum, Grid
from baselines.parts.conditioning import Canvas, Layout
from baselines.parts.denoisers import Denoiser
from baselines.parts.guidance import ConditionDropout, Guided
from baselines.parts.objectives_discrete import Term, bound_term, masked_bound, times
from baselines.parts.samplers import Reverse
from baselines.parts.spaces import DiscreteSpace
from baselines.parts.timesteps import ContinuousTimes, StratifiedTimes
from baselines.training import Draws, Optimisation
from harness.contracts import TaskView
from harness.schedules.base import Schedule


class MaskedAdapter(DiscreteAdapter):
    """Text by filling masks, in continuous time; on a schedule with steps, in those. A source stands before its target, unmasked.

    Attributes:
        defaults: size keys with their defaults.
        first_time: the earliest time that is trained on.
    """

    defaults: ClassVar[Mapping[str, Any]]
    first_time: ClassVar[float] = 1e-3
    sampling_keys: ClassVar[tuple[str, ...]] = ("guidance",)

    @classmethod
    def checked(cls, size: Mapping[str, Any]) -> dict[str, Any]:
        """Size keys with their defaults.

        Raises:
            ValueError: an unknown key, or a `guidance` that is no weight.
        """
        keys = merged(size, cls.defaults)
        gamma = keys["guidance"]
        if gamma is not None and (type(gamma) not in (int, float) or gamma < 0):
            raise ValueError(f"guidance {gamma!r}, expected null (unguided) or a weight from 0 on (1 = as trained)")
        return keys

    @property
    def keys(self) -> dict[str, Any]:
        """This model's size keys with their defaults."""
        return self.checked(self.size)

    @property
    def optimisation(self) -> Optimisation:
        """AdamW; the last weights are kept, which the falling rate averages, as runs here are short."""
        keys = self.keys
        return Optimisation(learning_rate=keys["learning_rate"], batch=keys["batch"]).at_width(keys["width"])

    @staticmethod
    def make_layout(task: TaskView) -> Layout:
        """The target alone, or behind its source."""
        return pinned_source(task)

    @classmethod
    def kernel_for(cls, task: TaskView, **size: Any) -> Absorbing:
        """The kernel, which mutual-information schedules are solved for."""
        return Absorbing(len(task.tokenizer))

    @classmethod
    def network_of(cls, task: TaskView, keys: Mapping[str, Any]) -> nn.Module:
        """The denoiser: a transformer that is not told the time, unless a system says otherwise."""
        tokens = len(task.tokenizer)
        return TokenDenoiser(
            states=tokens + 1, vocabulary=tokens, length=cls.make_layout(task).length, width=keys["width"],
            layers=keys["layers"], heads=keys["heads"], timed=False,
        )  # fmt: skip

    @classmethod
    def size_for(cls, parameters: int, task: TaskView, **size: Any) -> dict[str, Any]:
        """Width that meets a parameter target."""
        keys = cls.checked(size)
        width = width_for(parameters, lambda width: cls.network_of(task, keys | {"width": width}), multiple=4 * keys["heads"])
        return {"width": width}

    @abstractmethod
    def grid(self, steps: int) -> Grid:
        """Where the sampler stands in continuous time."""

    @abstractmethod
    def reverse(self) -> Reverse:
        """The reverse step."""

    def times(self) -> Times:
        """Where continuous time is trained."""
        return ContinuousTimes(self.first_time)

    def build(self, schedule: Schedule, task: TaskView, **size: Any) -> Diffusion:
        """Put the parts together."""
        keys, kernel = self.checked(size), self.kernel_for(task)
        chain = schedule.steps
        clock: Clock = Continuum(self.first_time, self.grid) if chain is None else Chain(chain)
        objective: Objective = masked_bound(kernel, schedule) if chain is None else times(chain, bound_term(kernel))
        dropped = keys["condition_dropout"] if task.family != "ucg" else 0.0
        denoiser = self.network_of(task, keys)
        assert isinstance(denoiser, Denoiser)
        return Diffusion(
            space=DiscreteSpace(len(task.tokenizer)), kernel=kernel, schedule=schedule, denoiser=denoiser, objective=objective,
            times=self.times() if chain is None else StratifiedTimes(chain), reverse=self.reverse(), clock=clock,
            time_input=clock.network_time, hide=ConditionDropout(dropped, kernel.mask) if dropped else None,
        )  # fmt: skip

    @property
    def bound_term(self) -> Term:
        """See `DiscreteAdapter`."""
        kernel = self.kernel
        assert isinstance(kernel, Absorbing)
        return masked_bound(kernel, self.diffusion.schedule) if self.diffusion.clock.steps is None else bound_term(kernel)

    def beginning(self, canvas: Canvas, draws: Sequence[Draws]) -> Float[Tensor, "B #K"]:
        """A reverse step from nothing but masks, which is what samplers begin with, to what a schedule keeps at t = 1."""
        return self.opening(canvas, draws[0])[:, None]

    def sampling_denoiser(self, denoiser: Denoiser) -> Denoiser:
        """Guided, where a weight is given."""
        gamma = self.keys["guidance"]
        assert isinstance(self.kernel, Absorbing)
        return denoiser if gamma is None else Guided(denoiser, float(gamma), self.kernel.mask)
