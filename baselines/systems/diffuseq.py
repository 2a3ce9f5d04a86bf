"""DiffuSeq: Diffusion-LM made to rewrite a source that shares the canvas and stays clean.

Gong, Li, Feng, Wu and Kong 2023, arXiv:2210.08933.

    [x ; y] on one canvas                      -> conditioning.SourceThenTarget
    partial noising, equation 1                -> engine.Diffusion.alpha (1 where the token is given)
    L_VLB simplified, equation 2, as released  -> objectives.end_to_end over all positions
    importance sampling of t, section 3.2      -> timesteps.LossSecondMoment
    anchoring of the source at every step      -> engine.Diffusion.sample
    all T steps, each of variance beta_t       -> samplers.ancestral with gaussian.step_variance
    fewer steps, without noise                 -> samplers.ddim, eta = 0, to the level of the next step visited
    fewer steps, as released                   -> OneDown, sampler "released-ddim"

The released DDIM visits T - 1, T - 1 - gap, ... but takes every state to the level one step down, not to that of the next step
visited, so the network sees states that are noisier than it is told; it ends at step (T - 1) mod gap. The default mends both.
Paper and code disagree on the loss mask (target only, against all positions) and on the source's embedding noise; this follows
the code: everything counts, and the source keeps the noise of the embedding step in training.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Int
from torch import Tensor

from baselines.engine import Diffusion, Times
from baselines.parts.calls import Calls
from baselines.parts.clocks import Chain
from baselines.parts.conditioning import Canvas, Layout, SourceThenTarget
from baselines.parts.denoisers import Denoiser
from baselines.parts.estimates import Deferred, Estimate
from baselines.parts.gaussian import Variance, posterior_variance, step_variance
from baselines.parts.samplers import Reverse, Timed, ancestral, ddim
from baselines.parts.timesteps import LossSecondMoment, Visited, evenly, from_the_end
from baselines.systems.diffusion_lm import DEFAULTS, DiffusionLM
from harness.contracts import TaskView
from harness.design import Design
from harness.errors import ModelError


class OneDown(Diffusion):
    """Ends every reverse step one step down the chain, however many are skipped before the next one."""

    def advance(
        self, x_t: Tensor, prompt: Canvas, t: float, s: float, noise: Tensor, denoise: Denoiser, previous: Estimate | None,
        reverse: Reverse | Timed, calls: Calls | None = None,
    ) -> tuple[Tensor, Deferred]:  # fmt: skip
        """See `Diffusion`; s is what the loop would have, and is not heard."""
        assert isinstance(self.clock, Chain)
        _, below = self.clock.interval(self.clock.index(torch.tensor([t], dtype=torch.float64)))
        return super().advance(x_t, prompt, t, below.item(), noise, denoise, previous, reverse, calls)


def whole_strides(T: int, count: int) -> Int[Tensor, " K"]:
    """T - 1, T - 1 - gap, ... with gap = T // count, ascending: what the released DDIM visits.

    Raises:
        ModelError: those are not `count` steps.
    """
    visited, gap = from_the_end(T, T // count), T // count
    if len(visited) != count:
        raise ModelError(
            f"released-ddim cannot visit {count} of {T} steps: {len(visited)} are {gap} apart. Ask for a divisor of {T}, or for "
            "another sampler."
        )
    return visited


@dataclass(frozen=True, slots=True)
class Sampler:
    """How a trained network is walked back.

    Attributes:
        variance: of reverse steps that draw.
        skipping: the reverse step where steps are skipped; where none is, it is `ancestral`.
        described: `Design.variance`.
        engine: the loops.
        visited: which of T steps are visited, given how many.
    """

    variance: Variance
    skipping: Reverse
    described: str
    engine: type[Diffusion] = Diffusion
    visited: Visited = evenly


NATIVE = "beta at all T steps, 0 at fewer (DDIM)"
SAMPLERS = {
    "native": Sampler(step_variance, ddim, NATIVE),
    "ancestral": Sampler(posterior_variance, ancestral, "posterior"),
    "released-ddim": Sampler(step_variance, ddim, f"{NATIVE[:-1]}, one step down the chain as released)", OneDown, whole_strides),
}


class DiffuSeq(DiffusionLM):
    """Text from text, or from a control's canonical text, on one canvas; sizes as in Diffusion-LM.

    Args:
        sampler: "native" (ancestral with variance beta at all T steps, else DDIM to the level of the next step visited),
            "ancestral" (with the posterior's variance, which is right where steps are skipped) or "released-ddim" (native at
            all T steps; else the released strided DDIM, see the module).
    """

    design = Design(
        name="diffuseq", kind="diffusion", families=("a2t", "t2t"), space="embedding, learned", kernel="Gaussian, target only",
        schedule="sqrt@2000", grains=("sequence",), chain=2000, predicts="x0", conditioning="source in sequence, pinned",
        posterior="plug-in", last_step="mean, then argmax of the tied head", variance=NATIVE,
        clamping=True, time_input="1000 i / T", loss_mask="all positions, source and padding included", paper="2210.08933",
        version=2,
    )  # fmt: skip
    defaults: ClassVar[Mapping[str, Any]] = {**DEFAULTS, "sampler": "native"}
    choices: ClassVar[Mapping[str, Collection[str]]] = {"sampler": SAMPLERS}
    sampling_keys: ClassVar[tuple[str, ...]] = ("clamp_below", "sampler")

    @classmethod
    def design_for(cls, **size: Any) -> Design:
        """Design of the variant that these keys name."""
        return replace(super().design_for(**size), variance=SAMPLERS[cls.checked(size)["sampler"]].described)

    @property
    def sampler(self) -> Sampler:
        """See the class."""
        return SAMPLERS[self.keys["sampler"]]

    def engine(self) -> type[Diffusion]:
        """The two loops."""
        return self.sampler.engine

    def variance(self) -> Variance:
        """Of reverse steps that draw."""
        return self.sampler.variance

    @staticmethod
    def make_layout(task: TaskView) -> Layout:
        """Source, end, separator, target."""
        return SourceThenTarget(source=task.max_source_tokens, target=task.max_tokens)

    def reverse_for(self, steps: int) -> Reverse:
        """Variance beta_t is right for neighbouring steps only; where steps are skipped the native sampler adds no noise."""
        return ancestral if steps == self.diffusion.clock.steps else self.sampler.skipping

    def visited(self) -> Visited:
        """As the sampler says."""
        return self.sampler.visited

    def times(self, chain: int) -> Times:
        """Steps with large losses more often."""
        return LossSecondMoment(chain)
