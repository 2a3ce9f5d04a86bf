"""SEDD: score entropy discrete diffusion, which learns ratios of probabilities instead of the clean token.

Lou, Meng and Ermon 2024, arXiv:2310.16834.

    dp/dt = sigma'(t) Q p, absorbing and uniform Q (section 3.3)   -> categorical.Absorbing, Uniform; Mixing.generator
    log-linear and geometric noise                                 -> schedules "log-linear", "geometric"
    denoising score entropy with its constant (theorem 3.4)        -> scores.score_entropy
    the bound (theorem 3.6)                                        -> scores.score_bound
    absorbing scores divided by (exp(sigma) - 1) V, as released    -> scores.log_scores
    the log-score of x_t is 0                                      -> scores.OwnZero; a mask has no output
    Euler steps (section 4.1)                                      -> scores.EulerSteps
    Tweedie tau-leaping (theorem 4.2), the last denoising step     -> scores.analytic_step
    prompts and infilling by known tokens (section 4.2)            -> engine: given positions are pinned

The paper recommends the analytic sampler (Tweedie tau-leaping), the released configuration has Euler's: analytic is the default
here. The geometric noise begins at 1e-5 in the paper and at 1e-4 in the released configuration, which is followed. Tokens are
drawn by inversion in float64, not by the released race in float32, which cuts off rare tokens (Zheng et al. 2025,
arXiv:2409.02908). The network is told 100 log(sigma / 1e-5) where the released one embeds sigma itself, since the sinusoids here
want values over hundreds of units. Times are drawn from equal parts of [1e-3, 1], one each; the released code draws them
independently. With a condition, source and target share the canvas and the source is pinned, in training too. The network is
this harness's transformer with an output that begins at 0, without dropout and weight average; trained in bfloat16, the loss of
its outputs is float32 all the same.

A sampler asked for `steps` steps goes from 1 to 1e-5 in those and then removes what noise is left, so the network is called
steps + 1 times for uniform noise, and for absorbing noise as often as one of these moves begins with a mask left in the text. A
temperature, which paper and code do not have, is one of the tokens that masks become; uniform noise has none.

The bound is the integral over [1e-3, 1]; what lies beyond is added as one reverse step at either end, by the law of single tokens
that the scores amount to: normalised, they are p(x_0 | x_t) for masks, and under uniform noise the law of x_t itself given
the other positions, which differs from that of x_0 by no more than the noise there is.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from baselines.discrete import DiscreteAdapter, pinned_source
from baselines.engine import Diffusion
from baselines.networks.token_denoiser import TokenDenoiser
from baselines.parts.categorical import Absorbing, Mixing, Uniform
from baselines.parts.clocks import Continuum, Grid, Time, uniform_grid
from baselines.parts.conditioning import Layout
from baselines.parts.denoisers import Tempered
from baselines.parts.estimates import Estimate
from baselines.parts.objectives_discrete import Term
from baselines.parts.scores import LEAST, EulerSteps, OwnZero, TemperedScores, analytic_step, score_bound
from baselines.parts.spaces import DiscreteSpace
from baselines.parts.timesteps import ContinuousTimes
from harness.contracts import TaskView
from harness.design import Design
from harness.schedules.base import Schedule
from harness.schedules.quantities import total_noise

DEFAULTS = {
    "kernel": "absorbing", "sampler": "analytic", "width": 128, "layers": 4, "heads": 4, "batch": 16, "learning_rate": 3e-3,
}  # fmt: skip
KERNELS: dict[str, type[Absorbing] | type[Uniform]] = {"absorbing": Absorbing, "uniform": Uniform}
SAMPLERS = ("analytic", "euler")
FIRST_TIME, LAST_TIME = 1e-3, 1e-5  # the earliest that is trained on, the last that a sampler stands at
QUIET = 1e-5  # total noise at which the network is told 0
LOWEST_SNR = 2e-9  # what geometric noise ends at; where nothing is kept the scores of uniform noise say nothing


class ScoreNetwork(TokenDenoiser):
    """A `TokenDenoiser` whose raw output is log-scores, but for the scale of absorbing ones; it begins at 0."""

    def initialise_own(self, generator: torch.Generator) -> None:
        """The head is 0, as released."""
        self.head.weight.data.zero_()

    def forward(
        self, x_t: Int[Tensor, "B L"], time: Float[Tensor, " B"], given: Bool[Tensor, "B L"], previous: Estimate | None
    ) -> Estimate:
        """Estimate x0; where x_t is always a token, its own log-score is 0."""
        estimate = super().forward(x_t, time, given, previous)
        if self.embedding.num_embeddings > self.head.out_features:
            return estimate
        return OwnZero(estimate, x_t)


class SEDD(DiscreteAdapter):
    """Text by diffusion over token ids, with learnt ratios of probabilities.

    Args:
        schedule: any schedule of grain "sequence" in closed form.
        task: tokenizer and canvas.
        kernel: "absorbing" or "uniform".
        sampler: "analytic" or "euler".
        width, layers, heads: of the transformer.
        batch: examples per update.
        learning_rate: its plateau, at width 128.
    """

    design = Design(
        name="sedd", kind="diffusion", families=("ucg", "a2t", "t2t"), space="discrete", kernel="absorbing",
        schedule="log-linear", grains=("sequence",), closed_form=True, predicts="p_t(y) / p_t(x_t)",
        conditioning="source in sequence, pinned", last_step="sample", unmasking="independent", temperature=True,
        time_input="100 log(sigma / 1e-5)", loss_mask="masks, weighted by the rate of the noise", likelihood="bound",
        paper="2310.16834",
    )  # fmt: skip
    defaults: ClassVar[Mapping[str, Any]] = DEFAULTS
    choices: ClassVar[Mapping[str, Collection[str]]] = {"kernel": KERNELS, "sampler": SAMPLERS}
    sampling_keys: ClassVar[tuple[str, ...]] = ("sampler",)
    tempered: ClassVar[type[Tempered]] = TemperedScores

    @classmethod
    def design_for(cls, **size: Any) -> Design:
        """Design of a kernel's variant."""
        if cls.checked(size)["kernel"] == "absorbing":
            return cls.design
        return replace(
            cls.design, name="sedd-uniform", kernel="uniform", schedule="geometric", unmasking=None, temperature=False,
            loss_mask="all positions, weighted by the rate of the noise", snr_range=(LOWEST_SNR, None),
        )  # fmt: skip

    @staticmethod
    def make_layout(task: TaskView) -> Layout:
        """The target alone, or behind its source."""
        return pinned_source(task)

    @classmethod
    def kernel_for(cls, task: TaskView, **size: Any) -> Mixing:
        """The kernel, which mutual-information schedules are solved for."""
        return KERNELS[cls.checked(size)["kernel"]](len(task.tokenizer))

    @classmethod
    def network_of(cls, task: TaskView, keys: Mapping[str, Any]) -> ScoreNetwork:
        """The network of these keys."""
        return ScoreNetwork(
            states=cls.kernel_for(task, **keys).states, vocabulary=len(task.tokenizer), length=cls.make_layout(task).length,
            width=keys["width"], layers=keys["layers"], heads=keys["heads"],
        )  # fmt: skip

    def build(self, schedule: Schedule, task: TaskView, **size: Any) -> Diffusion:
        """Put the parts together.

        Raises:
            ValueError: a schedule with steps.
        """
        keys = self.checked(size)
        kernel = self.kernel_for(task, **size)

        def time_input(t: Time) -> Float[Tensor, " B"]:
            return told(schedule.alpha_bar(t)[:, 0])

        return Diffusion(
            space=DiscreteSpace(len(task.tokenizer)), kernel=kernel, schedule=schedule, denoiser=self.network_of(task, keys),
            objective=score_bound(kernel, schedule), times=ContinuousTimes(FIRST_TIME),
            reverse=analytic_step if keys["sampler"] == "analytic" else EulerSteps(schedule),
            clock=Continuum(FIRST_TIME, grid), time_input=time_input,
        )  # fmt: skip

    @property
    def bound_term(self) -> Term:
        """See `DiscreteAdapter`."""
        assert isinstance(self.kernel, Mixing)
        return score_bound(self.kernel, self.diffusion.schedule)


def grid(steps: int) -> Grid:
    """Where a sampler stands: in equal pieces from 1 to 1e-5, then at the data."""
    return uniform_grid(steps, last=LAST_TIME)


def told(alpha: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """What the network is told: 100 log(sigma / 1e-5), 0 below that noise and at most 1,484."""
    return 100 * torch.log(total_noise(alpha.clamp_min(LEAST)) / QUIET).clamp_min(0)
