"""Diffusion-NAT: non-autoregressive text-to-text by absorbing diffusion in an encoder-decoder that prompts itself.

Zhou, Li, Zhao and Wen 2023, arXiv:2305.04044; two systems, the paper's and the released code's.

    q(x_t | x_0), absorbing                            -> categorical.Absorbing                            (paper)
    q(x_t | x_0), mask and replace                     -> replacing.MaskAndReplace                         (code)
    p(x_s | x_t), the mean of q(x_s | x_t, x_0)        -> samplers_discrete.reveal_and_draw; replacing.rewrite_first  (code)
    cross-entropy of all positions, padding too        -> objectives_discrete.token_error
    self-prompt in half of the training examples       -> engine.Diffusion, self_conditioning
    self-prompt before the source, in the encoder      -> prompted_denoiser.PromptedDenoiser
    iterative self-prompting when sampling             -> SelfPrompted, `turns`
    the 15 most probable tokens only, when sampling    -> truncation.TopK, `top_k`
    fewer steps than the chain has                     -> clocks.Chain

A step asks the network `turns` + 1 times: without a prompt, and then with the most probable tokens of its last estimate as the
prompt. Encoder and decoder run each time, but the encoder without a prompt once per text. S steps are S (`turns` + 1) calls in
the code's system; the paper's asks nothing in steps that reveal nothing. Positions are counted in decoder and encoder, and
there as often as they are read: a source of N positions once, and N + L in every turn.

Where paper and code disagree: the paper's noise masks only, with a chance that grows by 1 / T in each of T steps, 2,000 in the
code, and its sampler may leave out steps; the code replaces one token in a million by any other, visits all steps, and learns at
all positions. Leaving out steps is open to both here, and both learn at all positions. The code draws in float32 and spreads the
replaced share over V + 1 states where this harness has V tokens. The released average of weights, of decay 0.75, spans four
updates and is left out. Both are not told the time.

The network begins as a pretrained BART: a checkpoint, or a small local one. In the local one prompt tokens carry the embedding
of their target's place, because rotary attention alone would not tell them from the source, and the output head is a matrix of
its own, where BART's is its embedding; a checkpoint keeps it so. Sources end with EOS as BART's do, but begin without <s>. The
learning rate falls with the width of the network, also of a checkpoint: 5e-4 for bart-base; the released scripts have 5e-5.

The paper's system has a bound where `top_k` is off (with it, tokens of the target can get no probability at all): of the law
that the sampler follows, prompts included, so that `turns` and `top_k` are no sampling keys there. The code's sampler begins
with masks only, where its noise leaves some tokens, so its bound is infinite, and none is given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Literal

from jaxtyping import Bool, Int
from torch import Tensor, nn

from baselines.adapter import merged
from baselines.discrete import DiscreteAdapter
from baselines.engine import Diffusion
from baselines.local_bart import LocalBart
from baselines.networks.prompted_denoiser import PromptedDenoiser, PromptedPretrained
from baselines.parts.categorical import Absorbing, CategoricalKernel
from baselines.parts.clocks import Chain
from baselines.parts.complete import Complete
from baselines.parts.conditioning import Canvas, Layout, SourceBeside
from baselines.parts.denoisers import Denoiser, Told, select
from baselines.parts.estimates import Estimate
from baselines.parts.objectives_discrete import token_error
from baselines.parts.replacing import MaskAndReplace, rewrite_first
from baselines.parts.samplers import Reverse
from baselines.parts.samplers_discrete import reveal_and_draw
from baselines.parts.spaces import DiscreteSpace
from baselines.parts.timesteps import UniformTimes
from baselines.parts.truncation import TopK
from baselines.pretraining import PLM_KEYS, BeginsWithPLM, denoiser_of, in_its_tokens, size_with
from harness.contracts import Example, Likelihood, TaskView
from harness.design import Design
from harness.schedules.base import Schedule

DEFAULTS = {
    "turns": 2, "top_k": 15, "width": 128, "layers": 3, "heads": 4, "chain": 2000, "batch": 16, "learning_rate": 3e-3, **PLM_KEYS,
}  # fmt: skip
PROMPTED = 0.5  # share of training examples that hear a self-prompt
REPLACED = 1e-6  # share of tokens that the code's noise replaces in the end


class SelfPrompted:
    """Estimates anew from its own estimate, a number of times.

    Args:
        denoiser: what is wrapped.
        turns: how often an estimate becomes the prompt of the next one.
    """

    def __init__(self, denoiser: Denoiser, turns: int) -> None:
        self.denoiser, self.turns = denoiser, turns

    def __call__(self, x_t: Tensor, time: Told, given: Bool[Tensor, "B L"], previous: Estimate | None) -> Estimate:
        """Estimate x0; the estimate of an earlier step is not looked at."""
        estimate = self.denoiser(x_t, time, given, None)
        for _ in range(self.turns):
            estimate = self.denoiser(x_t, time, given, estimate)
        return estimate

    def select(self, rows: Int[Tensor, " C"]) -> "SelfPrompted":
        """For some rows."""
        return SelfPrompted(select(self.denoiser, rows), self.turns)


class SelfPromptedDiffusion(Diffusion):
    """Diffusion whose network prompts itself wherever it is not being trained.

    Args:
        turns: see `SelfPrompted`.
        parts: see `Diffusion`.
    """

    def __init__(self, turns: int, **parts: Any) -> None:
        super().__init__(**parts, self_conditioning=PROMPTED)
        self.turns = turns

    def reading(self, canvas: Canvas) -> Denoiser:
        """See `Diffusion`."""
        denoiser = super().reading(canvas)
        return denoiser if self.training else SelfPrompted(denoiser, self.turns)


class DiffusionNAT(BeginsWithPLM, DiscreteAdapter):
    """Text-to-text by unmasking, with self-prompts, as the paper has it.

    Args:
        schedule: any schedule of grain "sequence".
        task: tokenizer and canvas.
        turns: self-prompts in each step of sampling.
        top_k: tokens of each position that can be sampled; `None` = all.
        width, layers, heads: of encoder and decoder, each.
        chain: training steps T for schedules that do not bring their own.
        batch: examples per update.
        learning_rate: its plateau, at width 128.
        plm: what it begins with: "local" (a BART pretrained on the task's texts), a folder, a hub name, or `None` (nothing).
        plm_sha256, plm_tokens: content of a checkpoint; budget of the local model, `None` = the system's own.
    """

    defaults: ClassVar[Mapping[str, Any]] = DEFAULTS
    local_model: ClassVar[str] = "local-bart"
    undo: ClassVar[Reverse] = staticmethod(reveal_and_draw)
    design: Design = Design(
        name="diffusion-nat", kind="diffusion", families=("t2t", "a2t"), space="discrete", kernel="absorbing",
        schedule="linear-alpha-bar", grains=("sequence",), chain=2000, predicts="x0",
        conditioning="source in an encoder, self-prompt before it", posterior="mixture", last_step="sample",
        unmasking="independent", temperature=True, paper="2305.04044", sampler_version=3,
    )  # fmt: skip

    @classmethod
    def design_for(cls, **size: Any) -> Design:
        """Design of these keys, with the chain's length; the absorbing system has a bound where nothing is truncated.

        From version 2 on checkpoints read a source in the same places wherever they hear no prompt, and learn at the rate of
        their own width.
        """
        keys = cls.checked(size)
        bound: Literal["bound"] | None = "bound" if keys["top_k"] is None and cls.design.kernel == "absorbing" else None
        named = in_its_tokens(replace(cls.design, likelihood=bound, chain=keys["chain"]), size)
        return named if named.tokenizer == cls.design.tokenizer else replace(named, version=2)

    @staticmethod
    def make_layout(task: TaskView) -> Layout:
        """The target on the canvas, its source beside it."""
        return SourceBeside(source=task.max_source_tokens, target=task.max_tokens)

    @classmethod
    def checked(cls, size: Mapping[str, Any]) -> dict[str, Any]:
        """Size keys with their defaults; `top_k` and `plm` may be `None`.

        Raises:
            ValueError: an unknown key or a value that is not of its kind.
        """
        return merged(size, cls.defaults, absent=("top_k", "plm"))

    @classmethod
    def kernel_for(cls, task: TaskView, **size: Any) -> CategoricalKernel:
        """The kernel, which mutual-information schedules are solved for."""
        return Absorbing(len(task.tokenizer))

    @classmethod
    def network_of(cls, task: TaskView, keys: Mapping[str, Any]) -> nn.Module:
        """The denoiser."""
        tokens = len(task.tokenizer)
        local = partial(
            PromptedDenoiser, states=tokens + 1, vocabulary=tokens, length=task.max_tokens, width=keys["width"],
            layers=keys["layers"], heads=keys["heads"], timed=False,
        )  # fmt: skip
        return denoiser_of(keys["plm"], task, local, PromptedPretrained, sha256=keys.get("plm_sha256"))

    @classmethod
    def size_for(cls, parameters: int, task: TaskView, **size: Any) -> dict[str, Any]:
        """Width that meets a parameter target."""
        shared = {"layers": cls.checked(size)["layers"], **size}
        return size_with(LocalBart, parameters, task, shared)

    def build(self, schedule: Schedule, task: TaskView, **size: Any) -> Diffusion:
        """Put the parts together."""
        keys = self.checked(size)
        clock = Chain(schedule.steps or keys["chain"])
        return SelfPromptedDiffusion(
            keys["turns"], space=DiscreteSpace(len(task.tokenizer)), kernel=self.kernel_for(task),
            schedule=self.process(schedule),
            denoiser=self.network_of(task, keys), objective=token_error, times=UniformTimes(clock.steps),
            reverse=self.undo, clock=clock, time_input=clock.network_time,
        )  # fmt: skip

    @staticmethod
    def process(schedule: Schedule) -> Schedule:
        """The schedule, from the data to nothing but masks: what the sampler begins with."""
        return Complete(schedule)

    def sampling_denoiser(self, denoiser: Denoiser) -> Denoiser:
        """Truncated, where `top_k` is given."""
        most = self.keys["top_k"]
        return denoiser if most is None else TopK(denoiser, most)

    def likelihood(self, examples: Sequence[Example]) -> Likelihood | None:
        """A bound where nothing is truncated; see the module."""
        return None if self.design.likelihood is None else super().likelihood(examples)


class DiffusionNATCode(DiffusionNAT):
    """Text-to-text by unmasking and replacing, with self-prompts, as the released code has it; keys are those of the paper's."""

    design: Design = replace(
        DiffusionNAT.design, name="diffusion-nat-code", kernel="mask and replace", schedule="linear-alpha-bar-fixed@2000",
        unmasking=None,
    )  # fmt: skip
    sampling_keys: ClassVar[tuple[str, ...]] = ("turns", "top_k")
    undo: ClassVar[Reverse] = staticmethod(rewrite_first)

    @staticmethod
    def process(schedule: Schedule) -> Schedule:
        """The schedule as it is."""
        return schedule

    @classmethod
    def kernel_for(cls, task: TaskView, **size: Any) -> MaskAndReplace:
        """See `DiffusionNAT`."""
        return MaskAndReplace(len(task.tokenizer), REPLACED)
