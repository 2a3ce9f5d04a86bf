"""Duo: uniform noise as the argmax of Gaussian noise, which gives training a curriculum.

Sahoo, Deschenaux, Gokaslan, Wang, Chiu and Kuleshov 2025 (The Diffusion Duality), arXiv:2506.10892.

    w_t, Gaussian around one-hot x_0; x_t its argmax     -> gaussian, CurriculumDiffusion.soft_loss
    the operator T from its amplitude to alpha           -> kept_by_argmax
    tempered softmax of w_t, read as mixed embeddings    -> gaussian, TokenDenoiser
    bound of the discrete process, Rao-Blackwellised     -> objectives_discrete.uniform_gap, uniform_bound
    ancestral sampling; greedy tail                      -> samplers_discrete.renewed, renewed_then_mode

The process, its bound and its sampler are those of uniform noise in continuous time; the bound is always evaluated on tokens. In
the first part of training (`curriculum`) the network reads softmax(w_t / tau) in place of tokens, and its estimate is held to
the same integrand at x_t = argmax w_t; that is no bound. gamma, the negative log signal-to-noise ratio of w_t, is
uniform. The released configuration lets tau fall from 0.1 to 0.01; the released scripts of its runs keep it at 0.001 for the
first half, with gamma in [-3.5, -1.75] for 30,522 tokens, and are followed. How much of x_0 an argmax keeps depends on the
number of tokens, so here gamma runs where alpha runs as it does there, from 0.94 to 0.05: for 30,522 tokens that is the same
range. T is integrated whenever it is needed, and differentiated in closed form; the released code looks both up in a table. The
network is told the time at which the schedule keeps as much.

What the bound has beside its integral, guidance and what stands for a condition that is left out (padding) are those of `udlm`.
The network is this harness's transformer, without dropout, and its last weights are kept where the release averages them. Not
built: distillation, the released nucleus filter, and the softmax over the most probable tokens alone in the curriculum.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from baselines.engine import Diffusion, TrainingDraws
from baselines.parts.categorical import CategoricalKernel
from baselines.parts.conditioning import Canvas
from baselines.parts.objectives import per_example, placed
from baselines.parts.objectives_discrete import uniform_gap
from baselines.parts.timesteps import ContinuousTimes
from baselines.uniform import LAST_STEPS, UniformAdapter
from harness.contracts import TaskView
from harness.design import Design
from harness.schedules.base import Schedule

DEFAULTS = {
    "width": 128, "layers": 4, "heads": 4, "batch": 16, "learning_rate": 3e-3, "condition_dropout": 0.1, "guidance": None,
    "last_step": "ancestral", "curriculum": 0.5,
}  # fmt: skip
TEMPERATURE = 1e-3
KEPT = (0.94171, 0.04868)  # signal at the ends of the curriculum: at gamma = -3.5 and -1.75 with 30,522 tokens
FAR, NODES = 10.0, 801  # the integral over a standard normal runs from -FAR to FAR

Gamma = Float[Tensor, " B"]


class Duo(UniformAdapter):
    """Text by replacing tokens, trained on blurred tokens first and by a continuous bound then.

    Args:
        schedule: any schedule of grain "sequence" in closed form.
        task: tokenizer and canvas.
        width, layers, heads: of the transformer.
        batch: examples per update.
        learning_rate: its plateau, at width 128.
        condition_dropout: share of training examples whose condition is left out.
        guidance: weight gamma of the condition in classifier-free guidance; `None` = unguided.
        last_step: how noise that is left at the end of sampling is removed, in one more evaluation of the network:
            "ancestral" draws from the reverse law, "greedy" takes the most probable token of the estimate; "none" leaves it.
        curriculum: share of training that reads blurred tokens; 0 = none.
    """

    design = Design(
        name="duo", kind="diffusion", families=("ucg", "a2t", "t2t"), space="discrete", kernel="uniform",
        schedule="log-linear(eps=0.001)", grains=("sequence",), closed_form=True, predicts="x0",
        conditioning="source in sequence, pinned",
        posterior="joint", last_step=LAST_STEPS["ancestral"], temperature=True, time_input="1000 t", likelihood="bound",
        paper="2506.10892", sampler_version=2,
    )  # fmt: skip
    defaults: ClassVar[Mapping[str, Any]] = DEFAULTS

    def build(self, schedule: Schedule, task: TaskView, **size: Any) -> Diffusion:
        """Put the parts together."""
        return CurriculumDiffusion(self.checked(size)["curriculum"], **self.parts(schedule, task, size))


class CurriculumDiffusion(Diffusion):
    """A diffusion model whose training begins on soft tokens.

    Args:
        share: of training, at its beginning.
        parts: see `Diffusion`.
    """

    def __init__(self, share: float, **parts: Any) -> None:
        super().__init__(**parts)
        self.share = share
        assert isinstance(self.kernel, CategoricalKernel)
        self.tokens = self.kernel.states
        self.ends = tuple(gamma_of(kept, self.tokens) for kept in KEPT)

    def loss(self, canvas: Canvas, draws: TrainingDraws) -> Float[Tensor, " B"]:
        """See `Diffusion`."""
        soft = self.training and draws.progress < self.share
        return self.soft_loss(canvas, draws) if soft else super().loss(canvas, draws)

    def soft_loss(self, canvas: Canvas, draws: TrainingDraws) -> Float[Tensor, " B"]:
        """The integrand of the bound at an argmax, of an estimate that was made from the softmax; nats per position."""
        share, _ = draws.once("time", partial(ContinuousTimes(0.0).sample, draws.batch))
        low, high = self.ends
        gamma = low + (high - low) * share
        alpha, slope = kept_by_argmax(gamma, self.tokens)
        noise = draws.normal("corrupt", canvas.ids.shape[1], self.tokens)
        x_t, seen = gaussian(canvas.ids, gamma, noise)
        x_t = self.pin(x_t, canvas)
        shown = x_t if self.hide is None else self.hide(x_t, canvas, draws)
        seen[canvas.given] = one_hot(shown[canvas.given], self.tokens).to(seen.dtype)
        told = self.time_input(time_of(self.schedule, alpha)[:, None])
        estimate = self.reading(canvas)(seen, told, canvas.given, None)
        places = ~canvas.given
        kept, change = (values[:, None].expand(places.shape)[places] for values in (alpha, (high - low) * slope))
        gap = uniform_gap(x_t[places], canvas.ids[places], estimate.at(places), kept) * change
        return per_example(placed(places, gap))


def gaussian(
    ids: Int[Tensor, "B L"], gamma: Gamma, noise: Float[Tensor, "B L V"]
) -> tuple[Int[Tensor, "B L"], Float[Tensor, "B L V"]]:
    """w_t = amplitude x_0 + deviation noise, with squares that add up to 1: its argmax, and the softmax of w_t / TEMPERATURE."""
    amplitude, deviation = (torch.sigmoid(sign * gamma).sqrt()[:, None, None].to(noise.dtype) for sign in (-1, 1))
    w_t = (deviation * noise).scatter_add_(-1, ids[..., None], amplitude.expand(*ids.shape, 1))
    return w_t.argmax(-1), w_t.div_(TEMPERATURE).softmax(-1)


def kept_by_argmax(gamma: Gamma, tokens: int) -> tuple[Gamma, Gamma]:
    """Signal that argmax w_t keeps of x_0, and minus its derivative by gamma.

    With rho = exp(-gamma / 2) the amplitude of w_t over its deviation, x_0 is the largest of V entries with probability
    P = E[Phi(z + rho) ** (V - 1)] for a standard normal z, and P = alpha + (1 - alpha) / V: the operator T of the paper.
    """
    z = torch.linspace(-FAR, FAR, NODES, dtype=torch.float64, device=gamma.device)
    rho = torch.exp(-gamma.double() / 2)[:, None]
    density = _normal(z) * (2 * FAR / (NODES - 1))
    below = torch.special.log_ndtr(z + rho)
    largest = (density * torch.exp((tokens - 1) * below)).sum(-1)
    by_rho = (density * (tokens - 1) * torch.exp((tokens - 2) * below) * _normal(z + rho)).sum(-1)
    scale = tokens / (tokens - 1)
    return (tokens * largest - 1) / (tokens - 1), scale * by_rho * rho[:, 0] / 2


def _normal(z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    return torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)


def gamma_of(kept: float, tokens: int) -> float:
    """The gamma at which an argmax keeps so much of x_0, by bisection."""
    low, high = -12.0, 12.0
    for _ in range(60):
        middle = (low + high) / 2
        more = kept_by_argmax(torch.tensor([middle]), tokens)[0].item() > kept
        low, high = (middle, high) if more else (low, middle)
    return (low + high) / 2


def time_of(schedule: Schedule, kept: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """The time at which a schedule keeps so much, by bisection; 1 where it always keeps more."""
    low, high = torch.zeros_like(kept), torch.ones_like(kept)
    for _ in range(50):
        middle = (low + high) / 2
        more = schedule.alpha_bar(middle[:, None])[:, 0] > kept
        low, high = torch.where(more, middle, low), torch.where(more, high, middle)
    return (low + high) / 2
