"""LLaDA: masked diffusion whose sampler writes what it is surest of first; with Dream's orders and counts.

Nie et al. 2025, arXiv:2502.09992. Ye et al. 2025 (Dream 7B, arXiv:2508.15487), of which only what it does differently in
sampling.

    q(x_t | x_0), alpha = 1 - t                        -> categorical.Absorbing, "linear-alpha-bar"
    p_mask = (1 - 1e-3) t + 1e-3, as released          -> timesteps.ContinuousTimes from 1e-3 on
    pre-training: cross-entropy / p_mask at masks      -> objectives_discrete.masked_bound
    fine-tuning: the same over the answer alone        -> per_free_position
    low-confidence remasking, generate.py              -> remasking.Ordered, remasking.probability
    random remasking, generate.py                      -> remasking.Ordered without a confidence
    tokens per step, generate.py                       -> remasking.evenly
    semi-autoregressive blocks, generate.py            -> remasking.parts_of
    classifier-free guidance, weight w                 -> guidance.Guided, gamma = 1 + w
    likelihood from k masks, get_log_likelihood.py     -> LLaDA.estimates, strata
    Dream's orders maskgit_plus, topk_margin, entropy  -> remasking.probability, margin, negative_entropy
    Dream's times and tokens per step                  -> grid_of, remasking.as_scheduled

Released decoding takes tokens by argmax (temperature 0). From an empty canvas that gives one text for all requests, so here
tokens are drawn, and `tokens: argmax` is released decoding. The confidence of a token is its probability without the noise
of its draw. A temperature changes the law before tokens and confidences are taken from it; LLaDA's code takes confidences
before. The network is not told the time: the grid of times matters to counts by the schedule alone. Where blocks do not divide
the positions, LLaDA's code stops; here they differ by one position. Dream's order `origin` is the independent unmasking of
`mdlm`.

The likelihood bounds that of unmasking one place at a time in a random order; texts that are written in order of confidence have
another law, which cannot be computed. The release takes 128 draws of each text; here rounds of 16 are drawn until the error of
the total is below 0.5 %, `most_draws` at most. It rounds the strata of k to even halves, which for some lengths prefers even k;
here they are rounded down, which prefers none.

Not taken over: a share of 1 % of pre-training texts of random length (canvases have one length); Dream's logits, shifted by one
place, and its weights by context, which come from an autoregressive start; top-p and a temperature of the order; options that
forbid EOS. EOS and padding are written like other tokens and count in the order. LLaDA sees masked prompts in pre-training, of
which there is none here: `condition_dropout` hides some. Training times are drawn one from each of equal parts instead of
independently: the same law for each example.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from baselines.engine import Diffusion
from baselines.masked import MaskedAdapter
from baselines.parts.categorical import Absorbing
from baselines.parts.clocks import Grid, uniform_grid
from baselines.parts.conditioning import Canvas
from baselines.parts.objectives import per_canvas, placed
from baselines.parts.objectives_discrete import Term
from baselines.parts.remasking import Confidence, Ordered, as_scheduled, evenly, margin, negative_entropy, probability
from baselines.parts.samplers import Reverse
from baselines.parts.samplers_discrete import lowest, reveal_first
from baselines.parts.steps import Step
from baselines.training import Draws
from harness.contracts import Sampling, TaskView
from harness.design import Design
from harness.errors import ModelError
from harness.schedules.base import Schedule

DEFAULTS = {
    "width": 128, "layers": 4, "heads": 4, "batch": 16, "learning_rate": 3e-3, "condition_dropout": 0.1, "guidance": None,
    "remasking": "low-confidence", "blocks": 1, "commits": "even", "tokens": "draw",
}  # fmt: skip
ORDERS: dict[str, Confidence | None] = {
    "low-confidence": probability, "random": None, "entropy": negative_entropy, "margin": margin,
}  # fmt: skip
FIRST_TIME = 1e-3


class LLaDA(MaskedAdapter):
    """Text by unmasking in an order.

    Args:
        schedule: any schedule of grain "sequence"; one with steps is trained in those.
        task: tokenizer and canvas.
        width, layers, heads: of the transformer.
        batch: examples per update.
        learning_rate: its plateau, at width 128.
        condition_dropout: share of training examples whose condition is hidden.
        guidance: weight gamma of the condition in classifier-free guidance; `None` = unguided.
        remasking: what is written first: "low-confidence", "random", "entropy" or "margin".
        blocks: parts of the answer that are written one after the other; steps must divide into them.
        commits: tokens per step: "even", or by the "schedule", which is for one block.
        tokens: "draw" or "argmax".
    """

    design = Design(
        name="llada", kind="diffusion", families=("ucg", "a2t", "t2t"), space="discrete", kernel="absorbing",
        schedule="linear-alpha-bar", grains=("sequence",), predicts="x0", conditioning="source in sequence, pinned",
        last_step="sample", unmasking="low-confidence", temperature=True,
        loss_mask="masks of what is to be written, weighted by -alpha' / (1 - alpha)", likelihood="bound", paper="2502.09992",
        sampler_version=3,
    )  # fmt: skip
    defaults: ClassVar[Mapping[str, Any]] = DEFAULTS
    choices: ClassVar[Mapping[str, Collection[str]]] = {
        "remasking": ORDERS, "commits": ("even", "schedule"), "tokens": ("draw", "argmax"),
    }  # fmt: skip
    first_time: ClassVar[float] = FIRST_TIME
    sampling_keys: ClassVar[tuple[str, ...]] = ("guidance", "remasking", "blocks", "commits", "tokens")

    @classmethod
    def design_for(cls, **size: Any) -> Design:
        """Design of an order."""
        keys = cls.checked(size)
        design, last = super().design_for(**size), "sample" if keys["tokens"] == "draw" else "argmax"
        return replace(design, unmasking=keys["remasking"], equal_parts=keys["blocks"], last_step=last)

    @classmethod
    def checked(cls, size: Mapping[str, Any]) -> dict[str, Any]:
        """See `MaskedAdapter`.

        Raises:
            ValueError: also blocks of tokens by the schedule.
        """
        keys = super().checked(size)
        if keys["commits"] == "schedule" and keys["blocks"] != 1:
            raise ValueError(f"commits 'schedule' needs blocks 1, got {keys['blocks']}: a schedule counts over the whole answer")
        return keys

    def build(self, schedule: Schedule, task: TaskView, **size: Any) -> Diffusion:
        """See `MaskedAdapter`; losses are per position that is to be written."""
        diffusion = super().build(schedule, task, **size)
        diffusion.objective = per_free_position(diffusion.objective)
        return diffusion

    def grid(self, steps: int) -> Grid:
        """See `grid_of`."""
        return grid_of(steps)

    def reverse(self) -> Reverse:
        """Ancestral, where nothing says in how many steps."""
        return reveal_first

    def steps_for(self, settings: Sampling) -> int:
        """Where none are asked for, blocks get equally many."""
        steps, blocks = super().steps_for(settings), self.keys["blocks"]
        return steps if settings.steps else -(-steps // blocks) * blocks

    def reverse_for(self, steps: int) -> Reverse:
        """See `DiffusionAdapter`.

        Raises:
            ModelError: the blocks cannot share the steps.
        """
        return reverse_of(self.keys, steps)

    @property
    def estimator(self) -> str:
        """See `DiscreteAdapter`."""
        return "masked-count"

    def estimates(self, canvas: Canvas, draws: Sequence[Draws]) -> Float[Tensor, "B K"]:
        """Estimates of the bound, one per draw, each with exactly k masks; k is spread evenly over the draws.

        The mean over k = 1..L of L / k times the cross-entropy at k masks is the integral of the continuous bound over all
        of time, for a network that is not told the time and every schedule.
        """
        free = ~canvas.given
        first = (draws[0].uniform("first") * free.sum(-1)).long() + 1
        counts, shares = strata(first, free.sum(-1), len(draws))
        errors = [self._error_at_masks(canvas, count, draw) for count, draw in zip(counts.mT, draws, strict=True)]
        return torch.stack(errors, -1) / shares

    def _error_at_masks(self, canvas: Canvas, count: Int[Tensor, " B"], draw: Draws) -> Float[Tensor, " B"]:
        """Cross-entropy at so many masks, at random places."""
        assert isinstance(self.kernel, Absorbing)
        free = ~canvas.given
        masked = lowest(draw.uniform("places", free.shape[1]), free, free.sum(-1) - count)
        told = self.diffusion.time_input(torch.ones_like(count, dtype=torch.float64)[:, None])
        estimate = self.diffusion.reading(canvas)(canvas.ids.masked_fill(masked, self.kernel.mask), told, canvas.given, None)
        error = -probability(estimate.at(masked).double(), canvas.ids[masked])
        return per_canvas(placed(masked, error))


def reverse_of(keys: Mapping[str, Any], steps: int) -> Ordered:
    """The reverse step of a sampler that is asked for so many steps.

    Args:
        keys: `remasking`, `blocks`, `commits` and `tokens`.

    Raises:
        ModelError: the steps do not divide into blocks.
    """
    blocks = keys["blocks"]
    if steps % blocks:
        raise ModelError(f"{steps} steps do not divide into {blocks} blocks; ask for a multiple of {blocks} steps")
    quota = evenly(steps // blocks) if keys["commits"] == "even" else as_scheduled
    return Ordered(quota=quota, confidence=ORDERS[keys["remasking"]], blocks=blocks, mode=keys["tokens"] == "argmax")


def grid_of(steps: int, first_time: float = FIRST_TIME) -> Grid:
    """1 down to `first_time` in equal pieces, of which the last one goes to the data instead."""
    grid = uniform_grid(steps, last=first_time)
    return torch.cat([grid[:-2], grid[-1:]])


def per_free_position(term: Term) -> Term:
    """A term whose mean over all positions is its mean over those that are not given."""

    def objective(step: Step) -> Float[Tensor, "B L"]:
        free = (~step.given).double().mean(-1, keepdim=True)
        values = term(step)
        return values / free.to(values.dtype)

    return objective


def strata(
    first: Int[Tensor, " B"], positions: Int[Tensor, " B"], draws: int
) -> tuple[Int[Tensor, "B K"], Float[Tensor, "B K"]]:  # fmt: skip
    """Numbers of masks that are spread evenly over 1..positions, and the shares of positions that they are.

    Args:
        first: number of the first draw; where it is uniform, so is each of the others.
        positions: of every row.
        draws: how many numbers.
    """
    places = torch.arange(draws, device=first.device) * positions[:, None] // draws
    counts = (first[:, None] - 1 + places) % positions[:, None] + 1
    return counts, counts.double() / positions[:, None]
