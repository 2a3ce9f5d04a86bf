"""What systems share that corrupt token ids in a chain of steps: training that hears of the corpus, and the bound."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from baselines.adapter import DiffusionAdapter
from baselines.encoding import sizes_in_bytes, targets
from baselines.parts.categorical import CategoricalKernel
from baselines.parts.conditioning import Canvas, Layout, TargetOnly
from baselines.parts.monte_carlo import in_rounds, standard_errors
from baselines.parts.objectives import per_canvas
from baselines.parts.objectives_discrete import bound_term
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

    @torch.no_grad()
    def likelihood(self, examples: Sequence[Example]) -> Likelihood:
        """Bound on the negative log-likelihood, by Monte Carlo over steps of the chain, one draw from each of equal parts.

        The whole canvas is scored, padding too, because the model writes it: a text has one canvas, so this bounds the text.
        """
        self.eval()
        ids = targets(self.task, examples)
        estimates = in_rounds(partial(self._bounds, examples), most=MOST_DRAWS, share=ENOUGH)
        return Likelihood(
            nats=tuple(estimates.mean(-1).tolist()), tokens=tuple(map(len, ids)),
            bytes=sizes_in_bytes(self.task, examples, ids), kind="bound", estimator="discrete-T",
            mc_errors=tuple(standard_errors(estimates).tolist()),
        )  # fmt: skip

    def _bounds(self, examples: Sequence[Example], drawn: int) -> Float[Tensor, "N K"]:
        starts = range(0, len(examples), SCORED_TOGETHER)
        return torch.cat([self._bound(examples[start : start + SCORED_TOGETHER], (start, drawn)).cpu() for start in starts])

    def _bound(self, examples: Sequence[Example], stream: tuple[int, int]) -> Float[Tensor, "B K"]:
        """Unbiased estimates of the bound, one per draw; the parts of the chain that they cover make up the whole."""
        device = next(self.parameters()).device
        canvas = Canvas(**{name: tensor.to(device) for name, tensor in self._data(examples).items()})
        rows, chain, term = len(examples), self.diffusion.chain, bound_term(self.kernel)
        draws = [
            Draws(seed=stream_seed(0, "likelihood", *stream, k), batch=rows, rows=slice(rows), device=device)
            for k in range(STRATA)
        ]
        terms = []
        for part, draw in enumerate(draws):
            place = (part + draw.uniform("time")) * chain / STRATA
            step = self.diffusion.step(canvas, place.long().clamp(max=chain - 1), draw)
            precise = replace(step, estimate=replace(step.estimate, x0_hat=step.estimate.x0_hat.double()))
            terms.append(chain * per_canvas(term(precise)))
        last = self.diffusion.level(torch.full((rows,), chain, device=device), canvas.ids)
        return torch.stack(terms, -1) + per_canvas(self.kernel.prior_divergence(canvas.ids, last))[:, None]
