"""BD3-LM: autoregressive over blocks of tokens, masked diffusion inside each block.

Arriola, Gokaslan, Chiu, Yang, Qi, Han, Sahoo and Kuleshov 2025, arXiv:2503.09573.

    p(x) = prod_b p(x^b | x^<b)                       -> blocks.BlockDiffusion, networks.block_denoiser
    one pass over [x_t ; x_0], and its mask           -> parts.blocks.block_mask, BlockDenoiser.beside_clean
    bound of a block given the clean ones             -> objectives_discrete.masked_bound, one time per block
    clipped times U[b, w]                             -> parts.blocks.BlockTimes
    sampling with keys and values kept                -> BlockDiffusion.fill
    first-hitting sampler (arXiv:2409.02908)          -> parts.blocks.hitting_times, `sampler: first-hitting`
    nucleus filter, as released                       -> strict_nucleus

With log-linear noise the chance of a mask is t itself; scoring always takes t from all of it, in one draw per block and part.
Times are clipped as the paper found best: all masks for blocks of 1, [0.45, 0.95] for 4, [0.3, 0.8] for 16, [0, 0.5] for 128;
sizes between have the range of the next larger one, and so have all above 16 that of 128.
Its search for them during training is not part of this, nor the released option to draw masks anew whose share leaves the range.
Released code takes the weight 1 instead of 1 / t where the range begins above 0.5; here the weight is that of the bound, and
where the range is one time, 1 over the share of masks: the bound's has the slope of the schedule there, which may be 0.

Published models are trained with one block (L' = L) first and then tuned for each size of block; here every size is trained from
scratch, with the last weights kept where the release averages them.

Both samplers reveal masks whose order does not depend on the estimates, so the network is asked only where something is
revealed; `ancestral` spreads its steps over the blocks, where T of the paper are those of each block, in equal pieces of time,
and draws in the last one too, and first-hitting takes a step for each position, whatever is asked for. Softmax and nucleus are
float32, where the release takes the nucleus in float64; tokens are drawn in float64. A text ends with the block that holds its
first EOS (the release, whose texts begin with one, stops at the second): what stands behind that block is neither learnt, scored
nor computed. The released rule that ends texts of low unigram entropy is off, as nothing here is that long; so is its context
window. The start token stands before the first block, not inside it. With a condition, the source stands there, seen whole by
itself and by all blocks. The network is this harness's transformer, without dropout.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from baselines.blocks import BlockDiffusion
from baselines.masked import MaskedAdapter
from baselines.networks.block_denoiser import BlockDenoiser
from baselines.parts.blocks import BlockTimes, InBlocks, spread
from baselines.parts.calls import Calls
from baselines.parts.clocks import Continuum, Grid, even_grid
from baselines.parts.conditioning import Canvas, Layout, SourceBeside, TargetOnly
from baselines.parts.objectives_discrete import masked_bound, masked_bound_by_share
from baselines.parts.randomness import Noise
from baselines.parts.samplers import Reverse
from baselines.parts.samplers_discrete import reveal_first
from baselines.parts.spaces import DiscreteSpace
from baselines.training import Draws
from harness.contracts import Budget, Example, FitContext, FitReport, Generation, Request, Sampling, TaskView
from harness.design import Design
from harness.schedules.base import Schedule

DEFAULTS = {
    "width": 128, "layers": 4, "heads": 4, "batch": 16, "learning_rate": 3e-3, "block": 4, "clip_low": None, "clip_high": None,
    "sampler": "ancestral", "nucleus": None,
}  # fmt: skip
SAMPLERS = {"ancestral": "independent", "first-hitting": "one by one"}
CLIPPED = {1: (1.0, 1.0), 4: (0.45, 0.95), 16: (0.3, 0.8)}
CLIPPED_ABOVE = (0.0, 0.5)


class BD3LM(MaskedAdapter):
    """Text block after block, by unmasking inside each.

    Args:
        schedule: any schedule of grain "sequence" without steps.
        task: tokenizer and canvas, which is filled up to whole blocks.
        width, layers, heads: of the transformer.
        batch: examples per update.
        learning_rate: its plateau, at width 128.
        block: positions of a block.
        clip_low, clip_high: range of the times of training; `None` = the paper's for blocks of this size.
        sampler: "ancestral" or "first-hitting".
        nucleus: tokens are drawn from those whose probability, added to that of all more probable ones, is at most this; 1 or
            `None` = from all.
    """

    design = Design(
        name="bd3-lm", kind="diffusion", families=("ucg", "a2t", "t2t"), space="discrete", kernel="absorbing",
        schedule="linear-alpha-bar", grains=("sequence",), closed_form=True, predicts="x0",
        conditioning="prefix, seen whole by all blocks",
        posterior="joint", last_step="sample", unmasking="independent", temperature=True,
        loss_mask="masks up to the block that holds EOS, weighted by -alpha' / (1 - alpha)", length="the block that holds EOS",
        likelihood="bound", paper="2503.09573", sampler_version=2,
    )  # fmt: skip
    defaults: ClassVar[Mapping[str, Any]] = DEFAULTS
    choices: ClassVar[Mapping[str, Collection[str]]] = {"sampler": SAMPLERS}
    sampling_keys: ClassVar[tuple[str, ...]] = ("sampler", "nucleus")

    @classmethod
    def design_for(cls, **size: Any) -> Design:
        """See `DiffusionAdapter`."""
        keys = cls.checked(size)
        return replace(cls.design, unmasking=SAMPLERS[keys["sampler"]])

    @classmethod
    def checked(cls, size: Mapping[str, Any]) -> dict[str, Any]:
        """Size keys with their defaults.

        Raises:
            ValueError: an unknown key, or a value that it cannot take.
        """
        keys = super().checked(size)
        low, high, nucleus = keys["clip_low"], keys["clip_high"], keys["nucleus"]
        if not (low is high is None or (_is_share(low) and _is_share(high) and max(low, cls.first_time) <= high)):
            raise ValueError(
                f"clip_low {low!r} and clip_high {high!r}, expected both null, or numbers with 0 <= clip_low <= clip_high <= 1 "
                f"and clip_high {cls.first_time:g} at least"
            )
        if nucleus is not None and not (_is_share(nucleus) and nucleus > 0):
            raise ValueError(f"nucleus {nucleus!r}, expected null (all tokens) or a number above 0, up to 1")
        return keys

    @classmethod
    def least_steps(cls, max_tokens: int, **size: Any) -> int:
        """One for each block; one by one, a step for each position is taken whatever is asked for."""
        keys = cls.checked(size)
        return 1 if keys["sampler"] == "first-hitting" else -(-max_tokens // keys["block"])

    @classmethod
    def layout_for(cls, task: TaskView, **size: Any) -> Layout:
        """The target in blocks; a source beside it, for the prefix."""
        block = cls.checked(size)["block"]
        length = -(-task.max_tokens // block) * block
        alone = task.family == "ucg"
        return InBlocks(TargetOnly(length) if alone else SourceBeside(source=task.max_source_tokens, target=length), block)

    @classmethod
    def network_of(cls, task: TaskView, keys: Mapping[str, Any]) -> BlockDenoiser:
        """See `MaskedAdapter`."""
        tokens = len(task.tokenizer)
        return BlockDenoiser(
            states=tokens + 1, vocabulary=tokens, block=keys["block"], width=keys["width"], layers=keys["layers"],
            heads=keys["heads"],
        )  # fmt: skip

    def build(self, schedule: Schedule, task: TaskView, **size: Any) -> BlockDiffusion:
        """Put the parts together."""
        keys, kernel = self.checked(size), self.kernel_for(task)
        clock = Continuum(self.first_time, self.grid)
        low, high = clipping(keys)
        objective = masked_bound if low < high else masked_bound_by_share
        return BlockDiffusion(
            space=DiscreteSpace(len(task.tokenizer)), kernel=kernel, schedule=schedule, denoiser=self.network_of(task, keys),
            objective=objective(kernel, schedule), reverse=self.reverse(), clock=clock, time_input=clock.network_time,
            times=BlockTimes(self.layout.length // keys["block"], keys["block"], low=low, high=high, first=self.first_time),
        )  # fmt: skip

    def grid(self, steps: int) -> Grid:
        """Equal pieces of time, for one block."""
        return even_grid(steps)

    def reverse(self) -> Reverse:
        """Ancestral: what `BlockDiffusion.fill` does to a block."""
        return reveal_first

    def fit(self, train_examples: Sequence[Example], valid: Sequence[Example], budget: Budget, run: FitContext) -> FitReport:
        """Train within the budget; the clean blocks and the prefix that go through the network beside the noisy ones cost too."""
        report, length = super().fit(train_examples, valid, budget, run), self.layout.length
        assert report.flops is not None
        prefix = 1 if self.task.family == "ucg" else self.task.max_source_tokens + 1
        return replace(report, flops=report.flops * (2 * length - self.keys["block"] + prefix) / length)

    def shares(self, draw: Draws) -> Float[Tensor, "B L"]:
        """One draw for each block."""
        block = self.keys["block"]
        return draw.uniform("time", self.layout.length // block).repeat_interleave(block, -1)

    def steps_for(self, settings: Sampling) -> int:
        """One for each position where masks are revealed one by one."""
        return self.layout.length if self.keys["sampler"] == "first-hitting" else super().steps_for(settings)

    def generate(self, requests: Sequence[Request], settings: Sampling) -> list[Generation]:
        """Answer every request; one that asks for more tokens than texts had in training gets a canvas of its length."""
        lengths = [max(request.max_tokens, self.task.max_tokens) for request in requests]
        answers: dict[int, Generation] = {}
        for length in sorted(set(lengths)):
            places = [place for place, own in enumerate(lengths) if own == length]
            found = super(BD3LM, self._on_canvas(length)).generate([requests[place] for place in places], settings)
            answers |= dict(zip(places, found, strict=True))
        return [answers[place] for place in range(len(requests))]

    def _on_canvas(self, length: int) -> "BD3LM":
        """This model on a canvas for texts of so many tokens; the network is the same object."""
        if length == self.task.max_tokens:
            return self
        assert self.schedule is not None
        with torch.device("meta"):
            longer = type(self)(self.schedule, replace(self.task, max_tokens=length), **self.size)
        longer.diffusion = self.diffusion
        return longer

    def write(self, prompt: Canvas, noise: Noise, steps: int, settings: Sampling, calls: Calls) -> Int[Tensor, "B L"]:
        """See `DiffusionAdapter`."""
        keys, diffusion = self.keys, self.diffusion
        assert isinstance(diffusion, BlockDiffusion)
        counts = spread(steps, self.layout.length // keys["block"])
        return diffusion.fill(
            prompt, noise, None if keys["sampler"] == "first-hitting" else [self.grid(count) for count in counts],
            change=partial(sharpened, temperature=settings.temperature, nucleus=keys["nucleus"]), ends=not settings.fixed_length,
            calls=calls,
        )  # fmt: skip


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


def clipping(keys: Mapping[str, Any]) -> tuple[float, float]:
    """The range of the times of training."""
    if keys["clip_low"] is not None:
        return keys["clip_low"], keys["clip_high"]
    return next((found for size, found in CLIPPED.items() if keys["block"] <= size), CLIPPED_ABOVE)


def sharpened(log_x0: Float[Tensor, "*batch V"], *, temperature: float, nucleus: float | None) -> Float[Tensor, "*batch V"]:
    """Log-probabilities over a temperature, and then inside the nucleus; one of 1 is no filter, whatever rounding adds up to."""
    if temperature != 1.0:
        log_x0 = (log_x0 / temperature).log_softmax(-1)
    return log_x0 if nucleus is None or nucleus == 1 else strict_nucleus(log_x0.exp(), nucleus).log()


def strict_nucleus(probabilities: Float[Tensor, "*batch V"], share: float) -> Float[Tensor, "*batch V"]:
    """The most probable tokens whose probabilities add up to at most `share`, normalised; the most probable one always stays.

    As released. Holtzman et al. 2020 (arXiv:1904.09751), section 3.1, keep the token that crosses the share too.
    """
    ordered, order = probabilities.sort(dim=-1, descending=True)
    outside = ordered.cumsum(-1) > share
    outside[..., 0] = False
    kept = ordered.masked_fill(outside, 0.0)
    return torch.zeros_like(probabilities).scatter(-1, order, kept / kept.sum(-1, keepdim=True))
