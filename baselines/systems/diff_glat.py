"""DiffGLAT-style text-to-text (reconstructed): few parallel steps from the model's own guess, taught by glancing.

Qian, Wang, Liu and Zhou 2024 (Diffusion Glancing Transformer), arXiv:2212.10240. No code is public and of the paper only the
abstract was read, so this is no reproduction: what is measured of it says nothing about the paper's numbers.

Fact, from the abstract: a discrete process interpolates the data's law, of many modes, along the decoding steps; residual
glancing makes the model learn the modes that remain, layer after layer; decoding is fast.
From the parent, GLAT (Qian et al. 2021, arXiv:2008.07905), in public copies of its code; the ends of the ratio from memory:
    a first pass without gradient                       -> GlancingDiffusion.guess
    floor(ratio (length - correct)) tokens revealed     -> glancing.to_reveal, glancing.glanced
    cross-entropy of what is not revealed, alone        -> supervised_error
    ratio, from 0.5 down to 0.3 in training             -> ratio_at
This harness's inference, none of it the paper's:
    y_t: the reference where the schedule says so, the guess elsewhere; glancing counts what it has wrong
                                                        -> GlancingDiffusion.step
    before each layer, glancing at what the last one still has wrong; layers share the head, the loss is their mean
                                                        -> layered_denoiser.LayeredDenoiser, supervised_error
    half of training at t = 1, half of it glanced at    -> StartOften, GLANCING
    the sampler, from an unknown canvas, as many positions in every step of the native schedule  -> glancing.guess_and_write

GLAT predicts a length: what it counts, reveals and is held to are the same positions, none of them padding. Here canvases have
one length and padding is written like tokens, so it is counted, revealed and learnt like them: were text alone revealed, what
is hidden would be padding. How much is revealed tells how wrong the guess was, and an unknown canvas, where sampling begins,
that it was right, as guesses at short texts are: so half of the examples are not glanced at. Places are written at random, as
they are hidden in training: after short trainings the surest first would be padding, since unsure draws are made anew until
they are. Where 100 texts should have 19 +- 6 words, in 48 places, after 1,000 updates and 32 steps, these have 18 +- 6; with
the surest first 5 +- 3; with glancing at all examples 9 +- 4; with text alone revealed as well, 94 are empty. After long
trainings the surest first are right far more often (results/discrete/learn.md): `remasking: low-confidence`.

Given the guess, y_t is a Markov chain: of what shows the reference at s, a share 1 - alpha_t / alpha_s shows the guess at t. It
is absorbing noise whose mask says what was guessed: a guessed token is a state of its own, so that the network can tell it from
the reference. At t = 1 nothing is guessed yet, and the network reads masks, on any schedule. GLAT decides by argmax, which from
an unknown canvas is one text for all requests with a source; here tokens are drawn, always, and `guess: argmax` decides.

The first step guesses everything. Every step writes until as many tokens stand as alpha_s says, the last one the most probable.
Steps in which none is due ask nothing, so S steps are at most S calls, and at most one more than positions. A schedule with
steps makes a chain of those; on a closed form time is continuous, for any S. There is no bound: the guess is no fixed law.
GLAT's decoder reads a copy of the source, here masks; its passes share their dropout, here is none. Its weight decay and label
smoothing, and distilled data, are left out. Losses are means over all positions, revealed ones 0. The network is told no time.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from baselines.adapter import DiffusionAdapter
from baselines.engine import Diffusion, TrainingDraws
from baselines.networks.layered_denoiser import Layered, LayeredDenoiser, Positions
from baselines.networks.source_denoiser import Reading
from baselines.parts.categorical import Absorbing
from baselines.parts.clocks import Chain, Clock, Continuum, Time, even_grid
from baselines.parts.complete import Complete
from baselines.parts.conditioning import Canvas, Layout, SourceBeside
from baselines.parts.denoisers import Denoiser
from baselines.parts.estimates import PIECE, Estimate
from baselines.parts.glancing import glanced, guess_and_write
from baselines.parts.objectives_discrete import token_error
from baselines.parts.remasking import Confidence, picked, probability
from baselines.parts.spaces import DiscreteSpace, DrawSource
from baselines.parts.steps import Step
from baselines.parts.timesteps import stratified
from harness.contracts import TaskView
from harness.design import Design
from harness.schedules.base import Schedule

DEFAULTS = {
    "width": 128, "layers": 3, "heads": 4, "batch": 16, "learning_rate": 3e-3, "guess": "draw", "remasking": "random",
}  # fmt: skip
ORDERS: dict[str, Confidence | None] = {"random": None, "low-confidence": probability}
RATIOS = 0.5, 0.3  # glancing ratio at the beginning and at the end of training
START = 0.5  # share of training at t = 1
GLANCING = 0.5  # share of training examples that are glanced at

Ids = Int[Tensor, "B L"]


def ratio_at(progress: float) -> float:
    """Share of the wrong positions whose number is revealed, falling in a line over training."""
    return RATIOS[0] + (RATIOS[1] - RATIOS[0]) * progress


def supervised_error(step: Step) -> Float[Tensor, "B L"]:
    """Cross-entropy of what is not revealed, as a mean over layers."""
    assert isinstance(step.estimate, Layered)
    errors = [torch.where(held, token_error(replace(step, estimate=layer)), 0.0) for layer, held in step.estimate.layers]
    return torch.stack(errors).mean(0)


class StartOften:
    """Times of which a share, beside its own, is t = 1, and the others lie one in each of equal parts of time; weight 1."""

    def __init__(self, clock: Clock, share: float) -> None:
        self.clock, self.share = clock, share

    def sample(self, batch: int, generator: torch.Generator) -> tuple[Tensor, Float[Tensor, " B"]]:
        """Places and weights."""
        draws = torch.rand(batch, generator=generator, device=generator.device, dtype=torch.float64)
        return self.clock.place((stratified(draws) / (1 - self.share)).clamp(max=1.0)), torch.ones_like(draws)

    def observe(self, place: Tensor, loss: Float[Tensor, " B"]) -> None:
        """Nothing is learnt."""


class GlancingDiffusion(Diffusion):
    """A diffusion whose noise is its network's guess, and whose training reveals a part of what is wrong.

    States are the tokens, the mask, and the tokens again, guessed.

    Args:
        mode: whether the guess is the most probable tokens instead of a draw.
        parts: see `Diffusion`.
    """

    def __init__(self, mode: bool, **parts: Any) -> None:
        super().__init__(**parts)
        assert isinstance(self.kernel, Absorbing)
        self.mode, self.mask = mode, self.kernel.mask

    def step(self, canvas: Canvas, t: Time, s: Time, draws: DrawSource, alpha_t: Tensor | None = None) -> Step:
        """See `Diffusion`; x_t is what the first layer sees, with what glancing has revealed."""
        network, source = self.denoiser, canvas.source
        assert isinstance(draws, TrainingDraws)
        assert isinstance(network, LayeredDenoiser)
        assert source is not None
        kept, ids, length = self.alpha(t, canvas) if alpha_t is None else alpha_t, canvas.ids, canvas.ids.shape[1]
        memory, places = network.encode(source), draws.uniform("glance", length, len(network.decoder.blocks))
        hidden = self.kernel.corrupt(ids, kept, self.kernel.noise(draws, "corrupt", length)) == self.mask
        y_t = torch.where(hidden, self.guess(Reading(network, memory, source.present), canvas, draws), ids)
        some, ratio = (draws.uniform("glancing") < GLANCING)[:, None], ratio_at(draws.progress)
        hidden = hidden & ~(some & glanced(ids, y_t, torch.ones_like(hidden), hidden, ratio, places[..., 0]))
        seen = torch.where(hidden, torch.where(t == 1, self.mask, y_t + self.mask + 1), ids)

        def reveal(layer: int, before: Estimate, unseen: Positions) -> Positions:
            return some & glanced(ids, before.x0_hat.argmax(-1), unseen, unseen, ratio, places[..., layer])

        found = network.layered(seen, self.time_input(t), memory, source.present, ids=ids, hidden=hidden, reveal=reveal)
        return Step(
            ids=ids, given=canvas.given, clean=ids, x0=ids, x_t=seen, estimate=found, t=t, alpha_t=kept,
            alpha_s=self.alpha(s, canvas), alpha_T=self.schedule.alpha_bar(torch.ones_like(t), ids), first=s == 0,
        )  # fmt: skip

    @torch.no_grad()
    def guess(self, denoiser: Denoiser, canvas: Canvas, draws: DrawSource) -> Ids:
        """What the network answers to an unknown canvas."""
        told = self.time_input(torch.ones(len(canvas.ids), 1, dtype=torch.float64, device=canvas.ids.device))
        law = denoiser(torch.full_like(canvas.ids, self.mask), told, canvas.given, None).x0_hat
        uniform = draws.uniform("guess", canvas.ids.shape[1]).flatten()
        return picked(torch.split(law.flatten(0, 1), PIECE), uniform, probability, mode=self.mode)[0].view_as(canvas.ids)


class DiffGLAT(DiffusionAdapter):
    """Text-to-text in few parallel steps, from its own guess; see the module for what of it is the paper's.

    Args:
        schedule: any schedule of grain "sequence"; one with steps is trained and sampled in those.
        task: tokenizer and canvas.
        width, layers, heads: of encoder and decoder, each.
        batch: examples per update.
        learning_rate: its plateau, at width 128.
        guess: how tokens are taken before the last step, in training and sampling: "draw" or "argmax".
        remasking: which places stay guesses: "random" ones, or those of "low-confidence".
    """

    design = Design(
        name="diff-glat", version=3, kind="diffusion", families=("t2t", "a2t"), space="discrete",
        kernel="absorbing, into its own guess", schedule="linear-alpha-bar", grains=("sequence",), predicts="x0",
        conditioning="source in an encoder", last_step="argmax", unmasking="exact-count", temperature=True,
        loss_mask="what does not show the reference, padding included", reconstructed=True, paper="2212.10240",
    )  # fmt: skip

    defaults: ClassVar[Mapping[str, Any]] = DEFAULTS
    choices: ClassVar[Mapping[str, Collection[str]]] = {"guess": ("draw", "argmax"), "remasking": ORDERS}
    sampling_keys: ClassVar[tuple[str, ...]] = ("remasking",)

    @classmethod
    def design_for(cls, **size: Any) -> Design:
        """Design of these keys: what decides by argmax knows no temperature."""
        keys = cls.checked(size)
        unmasking = cls.design.unmasking if keys["remasking"] == "random" else keys["remasking"]
        return replace(cls.design, temperature=keys["guess"] == "draw", unmasking=unmasking)

    @staticmethod
    def make_layout(task: TaskView) -> Layout:
        """The target on the canvas, its source beside it."""
        return SourceBeside(source=task.max_source_tokens, target=task.max_tokens)

    @classmethod
    def kernel_for(cls, task: TaskView, **size: Any) -> Absorbing:
        """The kernel, which mutual-information schedules are solved for."""
        return Absorbing(len(task.tokenizer))

    @classmethod
    def network_of(cls, task: TaskView, keys: Mapping[str, Any]) -> LayeredDenoiser:
        """The denoiser."""
        tokens = len(task.tokenizer)
        return LayeredDenoiser(
            states=2 * tokens + 1, vocabulary=tokens, length=task.max_tokens, width=keys["width"], layers=keys["layers"],
            heads=keys["heads"], timed=False,
        )  # fmt: skip

    def build(self, schedule: Schedule, task: TaskView, **size: Any) -> Diffusion:
        """Put the parts together."""
        keys = self.checked(size)
        clock: Clock = Continuum(0.0, even_grid) if schedule.steps is None else Chain(schedule.steps)
        mode, confidence = keys["guess"] == "argmax", ORDERS[keys["remasking"]]
        return GlancingDiffusion(
            mode, space=DiscreteSpace(len(task.tokenizer)), kernel=self.kernel_for(task), schedule=Complete(schedule),
            denoiser=self.network_of(task, keys), objective=supervised_error, times=StartOften(clock, START),
            reverse=partial(guess_and_write, mode=mode, confidence=confidence), clock=clock, time_input=clock.network_time,
        )  # fmt: skip
