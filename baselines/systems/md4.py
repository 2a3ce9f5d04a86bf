"""MD4: masked diffusion with a linear schedule, trained in continuous time and sampled on a cosine grid.

Shi, Han, Wang, Doucet and Titsias 2024, arXiv:2406.04329.

    q(x_t | x_0)                                      -> categorical.Absorbing
    masking schedules, eps = 1e-4 at both ends        -> schedule "between(of=..., low=0.0001, high=0.9999)"
    continuous bound, equation 4                      -> objectives_discrete.masked_bound
    bound with T steps                                -> objectives_discrete.bound_term, T times, on schedules with steps
    one offset shared by the times of a batch         -> timesteps.ContinuousTimes
    reconstruction term, as released                  -> reconstruction
    ancestral sampling                                -> samplers_discrete.reveal_first, reveal_and_draw
    uniform and cosine grids of sampling              -> clocks.uniform_grid, clocks.cosine_grid
    decoding: the mode of what is masked at t = 0     -> the grids' move to 0, samplers_discrete.reveal_first

At t = 0 the native schedule masks 1 of 10,000 tokens still. The released bound charges log V for each of them, as if they were
decoded evenly, while the sampler takes the network's mode; both are followed. At t = 1 the native schedule keeps 1 of 10,000
tokens, which the released bound takes for nothing. Here the bound begins with nothing but masks, as the sampler does, and
charges the reverse step that leads from there to t = 1.

The network is told the time, as released, although its optimum does not depend on it. It is not asked in steps that reveal
nothing, which changes no law. With a condition, source and target share the canvas and the source is never masked; guidance is
that of Schiff et al. 2024 (arXiv:2412.10193), with a source of masks in place of their null class. On a schedule with steps,
times are drawn one from each of equal parts, and the last step draws all that is masked at t = 1 / T, as the bound scores it,
where the release leaves 1 of 10,000 tokens to the mode. The network is this harness's transformer, and its last weights are
kept where the release averages them. Learnt schedules (GenMD4) and the released sampler's top-p are not built; whether a mask
is revealed and as what are two draws, in float64.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from baselines.engine import Times
from baselines.masked import MaskedAdapter
from baselines.networks.token_denoiser import TokenDenoiser
from baselines.parts.clocks import Grid, cosine_grid, uniform_grid
from baselines.parts.conditioning import Canvas
from baselines.parts.samplers import Reverse
from baselines.parts.samplers_discrete import reveal_and_draw, reveal_first
from baselines.parts.timesteps import ContinuousTimes
from baselines.training import Draws
from harness.contracts import TaskView
from harness.design import Design

DEFAULTS = {
    "width": 128, "layers": 4, "heads": 4, "batch": 16, "learning_rate": 3e-3, "grid": "cosine", "condition_dropout": 0.1,
    "guidance": None,
}  # fmt: skip
GRIDS = {"cosine": cosine_grid, "uniform": uniform_grid}
LAST_TIME = 1e-9
"""Where sampling grids end before what is masked still is decoded: t = 0 of the paper, apart from the data."""


class MD4(MaskedAdapter):
    """Text by unmasking, few tokens at first and many at the end.

    Args:
        schedule: any schedule of grain "sequence"; one with steps is trained and sampled in those.
        task: tokenizer and canvas.
        width, layers, heads: of the transformer.
        batch: examples per update.
        learning_rate: its plateau, at width 128.
        grid: where a sampler stands in continuous time: "cosine" or "uniform".
        condition_dropout: share of training examples whose condition is hidden.
        guidance: weight gamma of the condition in classifier-free guidance; `None` = unguided.
    """

    design = Design(
        name="md4", kind="diffusion", families=("ucg", "a2t", "t2t"), space="discrete", kernel="absorbing",
        schedule="between(of=linear-alpha-bar,low=0.0001,high=0.9999)", grains=("sequence",), predicts="x0",
        conditioning="source in sequence, pinned", posterior="joint",
        last_step="argmax of what is masked still; a draw on a schedule with steps", unmasking="independent", temperature=True,
        time_input="1000 t", loss_mask="masks, weighted by -alpha' / (1 - alpha)", likelihood="bound", paper="2406.04329",
        sampler_version=3,
    )  # fmt: skip
    defaults: ClassVar[Mapping[str, Any]] = DEFAULTS
    choices: ClassVar[Mapping[str, Collection[str]]] = {"grid": GRIDS}
    first_time: ClassVar[float] = 0.0
    sampling_keys: ClassVar[tuple[str, ...]] = (*MaskedAdapter.sampling_keys, "grid")

    @classmethod
    def network_of(cls, task: TaskView, keys: Mapping[str, Any]) -> TokenDenoiser:
        """See `MaskedAdapter`."""
        tokens = len(task.tokenizer)
        return TokenDenoiser(
            states=tokens + 1, vocabulary=tokens, length=cls.make_layout(task).length, width=keys["width"],
            layers=keys["layers"], heads=keys["heads"],
        )  # fmt: skip

    def times(self) -> Times:
        """All parts of a batch share one draw."""
        return ContinuousTimes(self.first_time, shared=True)

    def grid(self, steps: int) -> Grid:
        """As the key says."""
        return GRIDS[self.keys["grid"]](steps, last=LAST_TIME)

    def reverse(self) -> Reverse:
        """Ancestral; on a schedule with steps the last one draws too."""
        assert self.schedule is not None
        return reveal_first if self.schedule.steps is None else reveal_and_draw

    def ending(self, canvas: Canvas, first: float, draws: Sequence[Draws]) -> Float[Tensor, "B #K"]:
        """What is masked at the first time, decoded evenly; see the module."""
        t = torch.full((len(canvas.ids), 1), first, dtype=torch.float64, device=canvas.ids.device)
        evenly = reconstruction(self.diffusion.alpha(t, canvas), len(self.task.tokenizer))
        return self._written(canvas, evenly)[:, None]


def reconstruction(alpha: Float[Tensor, "B L"], vocabulary: int) -> Float[Tensor, "B L"]:
    """Expected -log p(x_0 | x_t) in nats where every masked token is decoded as any of the vocabulary."""
    return (1 - alpha) * math.log(vocabulary)
