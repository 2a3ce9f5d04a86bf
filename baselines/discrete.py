"""What systems share that corrupt token ids: training that hears of the corpus, and the bound."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from baselines.adapter import DiffusionAdapter, canvas_of
from baselines.encoding import sizes_in_bytes, targets
from baselines.parts.categorical import CategoricalKernel
from baselines.parts.clocks import Continuum
from baselines.parts.conditioning import Canvas, Layout, TargetOnly
from baselines.parts.denoisers import Estimate
from baselines.parts.monte_carlo import in_rounds, standard_errors
from baselines.parts.objectives import per_canvas
from baselines.parts.objectives_discrete import Term, bound_term
from baselines.parts.steps import Step
from baselines.training import Draws
from harness.contracts import Budget, Example, FitContext, FitReport, Likelihood, TaskView, stream_seed

STRATA, MOST_DRAWS, ENOUGH = 16, 64, 0.005  # draws of a round, draws in all, Monte-Carlo error of the total
SCORED_TOGETHER = 64


class DiscreteAdapter(DiffusionAdapter):
    """A `DiffusionAdapter` whose kernel is categorical, on the target alone."""

    @staticmethod
    def make_layout(task: TaskView) -> Layout:
        """The target alone."""
        return TargetOnly(task.max_tokens)

    def fit(self, train_examples: Sequence[Example], valid: Sequence[Example], budget: Budget, run: FitContext) -> FitReport:
        """Train within the budget; kernels that depend on the corpus see it first."""
        self.kernel.prepare(self._data(train_examples)["ids"])
        return super().fit(train_examples, valid, budget, run)

    @property
    def kernel(self) -> CategoricalKernel:
        """How ids are corrupted."""
        assert isinstance(self.diffusion.kernel, CategoricalKernel)
        return self.diffusion.kernel

    @property
    def bound_term(self) -> Term:
        """One term of the bound, of which `Clock.span` times the mean over all places makes up the whole."""
        return bound_term(self.kernel)

    @torch.no_grad()
    def likelihood(self, examples: Sequence[Example]) -> Likelihood:
        """Bound on the negative log-likelihood, by Monte Carlo over time, one draw from each of equal parts.

        The whole canvas is scored, padding too, because the model writes it: a text has one canvas, so this bounds the text.
        """
        self.eval()
        ids = targets(self.task, examples)
        estimates = in_rounds(partial(self._bounds, examples), most=MOST_DRAWS, share=ENOUGH)
        return Likelihood(
            nats=tuple(estimates.mean(-1).tolist()), tokens=tuple(map(len, ids)),
            bytes=sizes_in_bytes(self.task, examples, ids), kind="bound",
            estimator="continuous" if self.diffusion.clock.steps is None else "discrete-T",
            mc_errors=tuple(standard_errors(estimates).tolist()),
        )  # fmt: skip

    def _bounds(self, examples: Sequence[Example], drawn: int) -> Float[Tensor, "N K"]:
        starts = range(0, len(examples), SCORED_TOGETHER)
        return torch.cat([self._bound(examples[start : start + SCORED_TOGETHER], (start, drawn)).cpu() for start in starts])

    def _bound(self, examples: Sequence[Example], stream: tuple[int, int]) -> Float[Tensor, "B K"]:
        """Unbiased estimates of the bound, one per draw; the parts of time that they cover make up the whole."""
        device = next(self.parameters()).device
        canvas = canvas_of({name: tensor.to(device) for name, tensor in self._data(examples).items()})
        rows, clock = len(examples), self.diffusion.clock
        draws = [
            Draws(seed=stream_seed(0, "likelihood", *stream, k), batch=rows, rows=slice(rows), device=device)
            for k in range(STRATA)
        ]
        terms = []
        for part, draw in enumerate(draws):
            t, s = clock.interval(clock.place((part + self.shares(draw)) / STRATA))
            terms.append(clock.span * self._written(canvas, self.bound_term(_precise(self.diffusion.step(canvas, t, s, draw)))))
        estimates = torch.stack(terms, -1)
        if isinstance(clock, Continuum):
            return estimates + torch.stack([self._ends(canvas, clock, draw) for draw in draws], -1)
        last = self.diffusion.schedule.alpha_bar(torch.ones(rows, 1, dtype=torch.float64, device=device), canvas.ids)
        return estimates + self._written(canvas, self.kernel.prior_divergence(canvas.ids, last))[:, None]

    def shares(self, draw: Draws) -> Float[Tensor, "B ..."]:
        """Draws in [0, 1) of the places at which a bound is estimated: one for a row, or one for each of its positions."""
        return draw.uniform("time")

    def _ends(self, canvas: Canvas, clock: Continuum, draw: Draws) -> Float[Tensor, " B"]:
        """What lies beyond a continuum, in one reverse step each: from nothing kept to t = 1, from the first time to the data."""
        t = torch.full((len(canvas.ids), 1), clock.first, dtype=torch.float64, device=canvas.ids.device)
        one, zero = torch.ones_like(t), torch.zeros_like(t)
        term = bound_term(self.kernel)
        last = self.diffusion.step(canvas, t, zero, draw)
        opening = self.diffusion.step(canvas, one, one, draw, alpha_t=torch.where(canvas.given, 1.0, zero))
        return self._written(canvas, term(_precise(last))) + self._written(canvas, term(_precise(opening)))

    @staticmethod
    def _written(canvas: Canvas, values: Float[Tensor, "B L"]) -> Float[Tensor, " B"]:
        """The sum over the positions that are not given."""
        return per_canvas(torch.where(canvas.given, 0.0, values))


def _precise(step: Step) -> Step:
    return replace(step, estimate=Estimate(step.estimate.x0_hat.double(), step.estimate.raw))
