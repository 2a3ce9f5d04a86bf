"""Diffusion-LM: Gaussian diffusion over jointly learned word embeddings.

Li, Thickstun, Gulrajani, Liang and Hashimoto 2022, arXiv:2205.14217.

    q(x_0 | w), section 4.2                    -> spaces.noisy_embedding
    q(x_t | x_0)                               -> gaussian.GaussianKernel.corrupt
    L_simple^e2e, equation 2                   -> objectives.end_to_end
    q(x_{t-1} | x_t, x_0), small variance      -> gaussian.GaussianKernel.posterior, gaussian.posterior_variance
    clamping, section 4.4                      -> denoisers.Clamped with spaces.EmbeddingSpace.snap
    argmax p(w | x_0), final rounding          -> spaces.EmbeddingSpace.decode
    sqrt schedule, appendix A, as released     -> schedule "sqrt@2000"

Released code and paper disagree on the reverse step (paper section 4.4: x_{t-1} from the clamped estimate alone; appendix E and
code: the posterior) and on the schedule's normalisation; this follows the code. The network is the harness's shared transformer.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import nn

from baselines.adapter import DiffusionAdapter
from baselines.engine import Diffusion, Times
from baselines.networks.embedding_denoiser import EmbeddingDenoiser
from baselines.networks.sizes import width_for
from baselines.parts.clocks import Chain
from baselines.parts.conditioning import Layout, TargetOnly
from baselines.parts.denoisers import Clamped, ClampedBelow, Denoiser
from baselines.parts.gaussian import GaussianKernel, Variance, posterior_variance
from baselines.parts.objectives import end_to_end
from baselines.parts.samplers import ancestral
from baselines.parts.spaces import EmbeddingSpace, noisy_embedding
from baselines.parts.timesteps import UniformTimes, Visited, evenly, network_time
from baselines.training import Optimisation
from harness.contracts import TaskView
from harness.design import Design
from harness.schedules.base import Schedule

DEFAULTS = {
    "width": 128, "layers": 4, "heads": 4, "embedding": 64, "chain": 2000, "batch": 16, "learning_rate": 2e-3,
    "clamp_below": None,
}  # fmt: skip


class DiffusionLM(DiffusionAdapter):
    """Unconditional text by Gaussian diffusion on embeddings.

    Args:
        schedule: any schedule of grain "sequence".
        task: tokenizer and canvas.
        width, layers, heads: of the transformer.
        embedding: dimension S of the word embeddings (16 on E2E and 128 on ROCStories in the paper).
        chain: training steps T for schedules that do not bring their own.
        batch: examples per update; with few tokens to train on, many small updates learn more than few large ones.
        learning_rate: its plateau, at width 128.
        clamp_below: in sampling, only steps of the chain below this one are clamped, counted from 0; 0 is none, `None` every
            one, as published. The least noisy steps come last, so this is the released codes' late clamping.
    """

    defaults: ClassVar[Mapping[str, Any]] = DEFAULTS

    design = Design(
        name="diffusion-lm", kind="diffusion", families=("ucg",), space="embedding, learned", kernel="Gaussian",
        schedule="sqrt@2000", grains=("sequence",), chain=2000, predicts="x0", posterior="plug-in",
        last_step="mean, then argmax of the tied head", variance="posterior", clamping=True, time_input="1000 i / T",
        paper="2205.14217", version=2,
    )  # fmt: skip
    sampling_keys: ClassVar[tuple[str, ...]] = ("clamp_below",)

    @classmethod
    def design_for(cls, **size: Any) -> Design:
        """Design of the variant that these keys name."""
        keys = cls.checked(size)
        below = keys["clamp_below"]
        return replace(cls.design, chain=keys["chain"], clamping=f"steps below {below}" if below else below is None)

    @classmethod
    def checked(cls, size: Mapping[str, Any]) -> dict[str, Any]:
        """Size keys with their defaults.

        Raises:
            ValueError: an unknown key, or a `clamp_below` that is no number of steps.
        """
        keys = super().checked(size)
        below = keys["clamp_below"]
        if below is not None and (type(below) is not int or below < 0):
            raise ValueError(f"clamp_below {below!r} is none of null (every step is clamped), 0 (none is), or a number of steps")
        return keys

    @staticmethod
    def make_layout(task: TaskView) -> Layout:
        """The target alone."""
        return TargetOnly(task.max_tokens)

    @property
    def optimisation(self) -> Optimisation:
        """AdamW; the weight average rises as (1 + u) / (10 + u) to 0.9999, which the released code has throughout."""
        keys = self.keys
        return Optimisation(learning_rate=keys["learning_rate"], batch=keys["batch"], ema=0.9999).at_width(keys["width"])

    def build(self, schedule: Schedule, task: TaskView, **size: Any) -> Diffusion:
        """Put the parts together."""
        keys = self.checked(size)
        clock = Chain(schedule.steps or keys["chain"], self.visited())
        space = EmbeddingSpace(len(task.tokenizer), keys["embedding"])
        return self.engine()(
            space=space, kernel=GaussianKernel(keys["embedding"], self.variance()), schedule=schedule,
            denoiser=self.network_of(task, keys), objective=end_to_end(space), times=self.times(clock.steps),
            reverse=ancestral, clock=clock, time_input=clock.network_time, embed=noisy_embedding,
        )  # fmt: skip

    def visited(self) -> Visited:
        """Both ends of the chain, and what lies evenly between."""
        return evenly

    def engine(self) -> type[Diffusion]:
        """The two loops."""
        return Diffusion

    def variance(self) -> Variance:
        """Of reverse steps."""
        return posterior_variance

    def times(self, chain: int) -> Times:
        """Uniform."""
        return UniformTimes(chain)

    def sampling_denoiser(self, denoiser: Denoiser) -> Denoiser:
        """Clamped at every step, or at those below `clamp_below`."""
        assert isinstance(self.diffusion.space, EmbeddingSpace)
        snap, below, chain = self.diffusion.space.snap, self.keys["clamp_below"], self.diffusion.clock.steps
        if below is None:
            return Clamped(denoiser, snap)
        assert chain is not None
        return ClampedBelow(denoiser, snap, network_time(torch.tensor(below), chain).item())

    @classmethod
    def network_of(cls, task: TaskView, keys: Mapping[str, Any]) -> EmbeddingDenoiser:
        """The denoiser."""
        length = cls.make_layout(task).length
        return EmbeddingDenoiser(
            space=keys["embedding"], length=length, width=keys["width"], layers=keys["layers"], heads=keys["heads"]
        )

    @classmethod
    def size_for(cls, parameters: int, task: TaskView, **size: Any) -> dict[str, Any]:
        """Width that meets a parameter target, embeddings included."""
        keys = cls.checked(size)

        def trainable(width: int) -> nn.Module:
            embeddings = EmbeddingSpace(len(task.tokenizer), keys["embedding"])
            return nn.ModuleList([embeddings, cls.network_of(task, keys | {"width": width})])

        return {"width": width_for(parameters, trainable, multiple=4 * keys["heads"])}
