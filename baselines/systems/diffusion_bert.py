"""DiffusionBERT: absorbing diffusion whose schedule knows how much every token tells, and whose network is not told the time.

He, Sun, Wang, Huang and Qiu 2022, arXiv:2211.15029.

    q(x_t | x_0), spindle, equations 9 to 12       -> schedule "spindle": each token its own level
    beta_t^i = 1 - abar_t^i / abar_{t-1}^i         -> Absorbing.reveal, at the levels of each token
    the same with the base beta 1 / (T - t)        -> through_base: the released code, `diffusion-bert-code`
    p(x_{t-1} | x_t): the estimate in place of x_0 -> Absorbing.posterior, levels of the most probable tokens: engine.looked_at
    KL + lambda_h CE (D3PM, equation 5)            -> objectives_discrete.hybrid
    time-agnostic decoding                         -> pretrained.PretrainedDenoiser, or TokenDenoiser without time
    generation from all masks, T / k steps         -> samplers_discrete.reveal_and_draw, clocks.Chain.grid
    top-K 30 in the paper's BLEU                   -> key `top_k`; off by default, because it trades diversity for quality

Where paper and released code (Hzfinfdu/Diffusion-BERT) part, `diffusion-bert` follows the paper and `diffusion-bert-code` the
code: the spindle's formula, and the reverse step. The code masks each token at its own level, but its reverse step believes that
from s to t every token was masked at the base rate; that is no step of the process that it trains on. In training both tell
p(x_s | x_t) the levels of the true tokens, as released; in sampling they are those of the guesses. Neither follows the code in
that

- one t is drawn for every example, stratified, not one for a batch; padding is written, so its loss counts;
- temperature and top-k act on the estimate of x_0. The code applies both to p(x_s | x_t), the mask among its states, so that a
  low temperature also delays the revealing;
- estimates name tokens, never the mask;
- on a spindle no likelihood is given. The published perplexity tells p(x_s | x_t) the levels of the true tokens, which no sampler
  knows, so it bounds no law of texts. A bound would have the levels of the guesses in p. The paper's formula cuts them at 1 where
  a token tells far less than its sentence: a mask over such a guess goes at once, one over the true token may stay, and then the
  bound is infinite. No level of the released formula is 0 or 1 between the ends at lambda = 0.3: a bound would be finite, but
  none is built here. On schedules that look at no token `diffusion-bert` has the usual bound.

A condition stands before its target, unmasked, and belongs to no average of the spindle. The released conditional code has the
spindle switched off (its log frequencies are 0); the first version of the paper has no such task. lambda_h is that of either
code. The denoiser begins as a pretrained BERT: a checkpoint, with [CLS] and [SEP] around the canvas, or a small local one. Of
the paper's ways to tell the time there is the one it ends with: none. The learning rate falls with the width of the network,
also of a checkpoint: 5e-4 for bert-base, which is the released code's default; its run.sh has 5e-5, the paper 3e-6.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from baselines.adapter import merged
from baselines.discrete import DiscreteAdapter, pinned_source
from baselines.engine import Diffusion
from baselines.local_bert import LocalBert
from baselines.parts.categorical import Absorbing
from baselines.parts.clocks import Chain, Time
from baselines.parts.complete import Complete
from baselines.parts.conditioning import Canvas, Layout
from baselines.parts.denoisers import Denoiser
from baselines.parts.objectives_discrete import hybrid, where_written
from baselines.parts.samplers_discrete import reveal_and_draw
from baselines.parts.spaces import DiscreteSpace
from baselines.parts.timesteps import StratifiedTimes
from baselines.parts.truncation import TopK
from baselines.pretraining import PLM_KEYS, BeginsWithPLM, denoiser_of, in_its_tokens, size_with
from harness.contracts import Example, Likelihood, TaskView
from harness.design import Design
from harness.schedules.base import Schedule
from harness.tokenizer import PAD

DEFAULTS = {
    "width": 128, "layers": 4, "heads": 4, "chain": 2048, "batch": 16, "learning_rate": 3e-3, "top_k": None,
    **PLM_KEYS,
}  # fmt: skip
AUXILIARY, AUXILIARY_CONDITIONAL = 1e-2, 3e-4  # lambda_h: LM1B; QQP and Quasar-T


class TokenLevels(Diffusion):
    """Diffusion whose schedule sees the tokens that are to be written, and padding where others are given."""

    def alpha(self, t: Time, canvas: Canvas) -> Float[Tensor, "B L"]:
        """See `Diffusion`."""
        return super().alpha(t, replace(canvas, ids=canvas.ids.masked_fill(canvas.given, PAD)))


class BaseTransitions(TokenLevels):
    """The same, whose reverse step takes each token to have been masked at the base rate since s."""

    def heard(
        self, t: Time, s: Time, kept: Float[Tensor, "B L"], canvas: Canvas
    ) -> tuple[Float[Tensor, "B L"], Float[Tensor, "B L"]]:
        """See `Diffusion`."""
        alpha_s = self.alpha_after(s, canvas)
        return torch.where(canvas.given, 1.0, through_base(t, s, alpha_s)), alpha_s


def through_base(t: Time, s: Time, alpha_s: Float[Tensor, "B L"]) -> Float[Tensor, "B L"]:
    """What would be kept at t, were it masked between s and t like 1 - t: the product of 1 - beta, beta = 1 / (T - i)."""
    return alpha_s * (1 - t) / (1 - s)


class DiffusionBERT(BeginsWithPLM, DiscreteAdapter):
    """Text by unmasking, what tells most last.

    Args:
        schedule: a spindle, or any schedule of grain "sequence".
        task: tokenizer and canvas.
        width, layers, heads: of the transformer.
        chain: training steps T for schedules that do not bring their own.
        batch: examples per update.
        learning_rate: its plateau, at width 128.
        top_k: tokens that an estimate may draw from in sampling; `None` = all.
        plm: what it begins with: "local" (a BERT pretrained on the task's texts), a folder, a hub name, or `None` (nothing).
        plm_sha256, plm_tokens: content of a checkpoint; budget of the local model, `None` = the system's own.
    """

    local_model: ClassVar[str] = "local-bert"

    design = Design(
        name="diffusion-bert", kind="diffusion", families=("ucg", "a2t", "t2t"), space="discrete", kernel="absorbing",
        schedule="spindle", grains=("sequence", "content"), chain=2048, predicts="x0", conditioning="source in sequence, pinned",
        posterior="joint", last_step="sample", unmasking="independent", temperature=True, likelihood="bound",
        scored_grains=("sequence",), paper="2211.15029",
    )  # fmt: skip
    defaults: ClassVar[Mapping[str, Any]] = DEFAULTS
    sampling_keys: ClassVar[tuple[str, ...]] = ("top_k",)
    process: ClassVar[type[Diffusion]] = TokenLevels

    @staticmethod
    def make_layout(task: TaskView) -> Layout:
        """The target alone, or behind its source."""
        return pinned_source(task)

    @classmethod
    def checked(cls, size: Mapping[str, Any]) -> dict[str, Any]:
        """Size keys with their defaults.

        Raises:
            ValueError: an unknown key, or a `top_k` that is no number of tokens.
        """
        keys = merged(size, cls.defaults, absent=("plm",))
        k = keys["top_k"]
        if k is not None and not (type(k) is int and k >= 1):
            raise ValueError(f"top_k {k!r}, expected null (all tokens) or a whole number from 1 on")
        return keys

    @classmethod
    def kernel_for(cls, task: TaskView, **size: Any) -> Absorbing:
        """The kernel, which mutual-information schedules are solved for."""
        return Absorbing(len(task.tokenizer))

    @classmethod
    def design_for(cls, **size: Any) -> Design:
        """The design, with the chain's length; from version 2 on, checkpoints, whose tokenizer it names, learn at the rate of
        their own width.
        """
        named = in_its_tokens(replace(cls.design, chain=cls.checked(size)["chain"]), size)
        return named if named.tokenizer == cls.design.tokenizer else replace(named, version=2)

    @classmethod
    def network_of(cls, task: TaskView, keys: Mapping[str, Any]) -> nn.Module:
        """The denoiser."""
        return denoiser_of(keys["plm"], task, lambda: LocalBert.network_of(task, keys), sha256=keys.get("plm_sha256"))

    @classmethod
    def size_for(cls, parameters: int, task: TaskView, **size: Any) -> dict[str, Any]:
        """Width that meets a parameter target."""
        cls.checked(size)
        return size_with(LocalBert, parameters, task, size)

    def build(self, schedule: Schedule, task: TaskView, **size: Any) -> Diffusion:
        """Put the parts together."""
        keys, kernel = self.checked(size), self.kernel_for(task)
        clock = Chain(schedule.steps or keys["chain"])
        auxiliary = AUXILIARY if task.family == "ucg" else AUXILIARY_CONDITIONAL
        denoiser = self.network_of(task, keys)
        assert isinstance(denoiser, Denoiser)
        process = self.process if schedule.grain == "content" else TokenLevels
        return process(
            space=DiscreteSpace(len(task.tokenizer)), kernel=kernel, denoiser=denoiser,
            schedule=schedule if schedule.grain == "content" else Complete(schedule),
            objective=where_written(hybrid(kernel, auxiliary=auxiliary, scale=clock.span)), times=StratifiedTimes(clock.steps),
            reverse=reveal_and_draw, clock=clock, time_input=clock.network_time,
        )  # fmt: skip

    def sampling_denoiser(self, denoiser: Denoiser) -> Denoiser:
        """Cut to the most probable tokens, where that is asked for."""
        k = self.keys["top_k"]
        return denoiser if k is None else TopK(denoiser, k)

    def likelihood(self, examples: Sequence[Example]) -> Likelihood | None:
        """The bound on a schedule that looks at no token; `None` on a spindle (see the module)."""
        return None if self.diffusion.schedule.grain == "content" else super().likelihood(examples)


class DiffusionBERTCode(DiffusionBERT):
    """DiffusionBERT as released: log frequencies in the spindle, base rates in the reverse step.

    Args:
        schedule: a spindle; on others this is `DiffusionBERT`.
        task, size: as there.
    """

    design = replace(
        DiffusionBERT.design, name="diffusion-bert-code", schedule="spindle-log-frequency", grains=("content",), likelihood=None,
        scored_grains=None,
    )  # fmt: skip
    process: ClassVar[type[Diffusion]] = BaseTransitions
