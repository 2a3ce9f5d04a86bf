"""What systems share that corrupt token ids: training that hears of the corpus, and the bound."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from baselines.adapter import DiffusionAdapter, canvas_of
from baselines.encoding import sizes_in_bytes, targets
from baselines.parts.categorical import CategoricalKernel
from baselines.parts.clocks import Continuum
from baselines.parts.conditioning import Canvas, Layout, SourceBefore, TargetOnly
from baselines.parts.estimates import Estimate
from baselines.parts.monte_carlo import in_rounds, standard_errors
from baselines.parts.objectives import per_canvas
from baselines.parts.objectives_discrete import Term, bound_term
from baselines.parts.steps import Step
from baselines.training import Draws
from harness.contracts import Budget, Example, FitContext, FitReport, Likelihood, TaskView, stream_seed
from harness.errors import ModelError

STRATA, ENOUGH = 16, 0.005  # draws of a round, Monte-Carlo error of the total
LEEWAY = 0.01  # between a sum of probabilities and 1
SCORED_TOGETHER = 64


class DiscreteAdapter(DiffusionAdapter):
    """A `DiffusionAdapter` whose kernel is categorical, on the target alone.

    Attributes:
        most_draws: draws of the bound after which no round begins.
    """

    most_draws: ClassVar[int] = 256

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

    @property
    def step_term(self) -> Term:
        """What one reverse step costs: those at the two ends of continuous time are taken whole."""
        return bound_term(self.kernel)

    @property
    def estimator(self) -> str:
        """Tag of what estimates the bound."""
        return "continuous" if self.diffusion.clock.steps is None else "discrete-T"

    @torch.no_grad()
    def likelihood(self, examples: Sequence[Example]) -> Likelihood | None:
        """Bound on the negative log-likelihood, by Monte Carlo.

        The whole canvas is scored, padding too, because the model writes it: a text has one canvas, so this bounds the text.
        It is the model's own law, as it was trained: temperature, guidance and truncation change samples alone.

        Raises:
            ModelError: estimates that are no log-probabilities of the task's tokens, of which nothing could be bounded.
        """
        self.eval()
        ids = targets(self.task, examples)
        estimates = in_rounds(partial(self._bounds, examples), most=self.most_draws, share=ENOUGH)
        return Likelihood(
            nats=tuple(estimates.mean(-1).tolist()), tokens=tuple(map(len, ids)),
            bytes=sizes_in_bytes(self.task, examples, ids), kind="bound", estimator=self.estimator,
            mc_errors=tuple(standard_errors(estimates).tolist()),
        )  # fmt: skip

    def _bounds(self, examples: Sequence[Example], drawn: int) -> Float[Tensor, "N K"]:
        starts = range(0, len(examples), SCORED_TOGETHER)
        return torch.cat([self._bound(examples[start : start + SCORED_TOGETHER], (start, drawn)).cpu() for start in starts])

    def _bound(self, examples: Sequence[Example], stream: tuple[int, int]) -> Float[Tensor, "B K"]:
        device = next(self.parameters()).device
        return self.bounds(canvas_of({name: tensor.to(device) for name, tensor in self._data(examples).items()}), stream)

    def bounds(self, canvas: Canvas, stream: tuple[int, ...]) -> Float[Tensor, "B K"]:
        """Estimates of the bound, `STRATA` draws of each row.

        Args:
            canvas: whole texts.
            stream: names the draws.
        """
        rows, device = len(canvas.ids), canvas.ids.device
        draws = [
            Draws(seed=stream_seed(0, "likelihood", *stream, k), batch=rows, rows=slice(rows), device=device)
            for k in range(STRATA)
        ]
        return self.estimates(canvas, draws)

    def estimates(self, canvas: Canvas, draws: Sequence[Draws]) -> Float[Tensor, "B K"]:
        """Estimates of the bound, one per draw: one from each of equal parts of time, so that their mean is unbiased."""
        clock, terms = self.diffusion.clock, []
        for part, draw in enumerate(draws):
            t, s = clock.interval(clock.place((part + self.shares(draw)) / len(draws)))
            step = self.precise(self.diffusion.step(canvas, t, s, draw))
            if part == 0:
                self._check_estimate(step.estimate, canvas)
            terms.append(clock.span * self._written(canvas, self.bound_term(step)))
        estimates = torch.stack(terms, -1) + self.beginning(canvas, draws)
        return estimates + self.ending(canvas, clock.first, draws) if isinstance(clock, Continuum) else estimates

    def _check_estimate(self, estimate: Estimate, canvas: Canvas) -> None:
        """Look at what is estimated for the first canvas of a batch."""
        first = torch.zeros_like(canvas.given)
        first[0] = True
        law, tokens = estimate.at(first), len(self.task.tokenizer)
        total = law.double().logsumexp(-1).exp()
        if law.shape[-1] != tokens or not bool(((total - 1).abs() < LEEWAY).all()):
            raise ModelError(
                f"{self.design.name}: estimates of x0 name {law.shape[-1]} tokens and sum to between {total.min():.3g} and "
                f"{total.max():.3g}; expected log-probabilities of the {tokens} tokens of the task, which sum to 1, and none of "
                f"a mask. Take log_softmax over the tokens."
            )

    def shares(self, draw: Draws) -> Float[Tensor, "B ..."]:
        """Draws in [0, 1) of the places at which a bound is estimated: one for a row, or one for each of its positions."""
        return draw.uniform("time")

    def beginning(self, canvas: Canvas, draws: Sequence[Draws]) -> Float[Tensor, "B #K"]:
        """What t = 1 itself costs: the divergence from the prior; in continuous time `opening`, estimated by every draw."""
        if isinstance(self.diffusion.clock, Continuum):
            return torch.stack([self.opening(canvas, draw) for draw in draws], -1)
        one = torch.ones(len(canvas.ids), 1, dtype=torch.float64, device=canvas.ids.device)
        last = self.diffusion.schedule.alpha_bar(one, canvas.ids)
        return self._written(canvas, self.kernel.prior_divergence(canvas.ids, last))[:, None]

    def opening(self, canvas: Canvas, draw: Draws) -> Float[Tensor, " B"]:
        """A reverse step from nothing kept to t = 1."""
        one = torch.ones(len(canvas.ids), 1, dtype=torch.float64, device=canvas.ids.device)
        nothing = torch.where(canvas.given, one, 0.0)
        return self._written(canvas, self.step_term(self.precise(self.diffusion.step(canvas, one, one, draw, nothing))))

    def ending(self, canvas: Canvas, first: float, draws: Sequence[Draws]) -> Float[Tensor, "B #K"]:
        """What lies between the data and the first time: a reverse step, estimated by every draw."""
        t = torch.full((len(canvas.ids), 1), first, dtype=torch.float64, device=canvas.ids.device)
        steps = [self.diffusion.step(canvas, t, torch.zeros_like(t), draw) for draw in draws]
        return torch.stack([self._written(canvas, self.step_term(self.precise(step))) for step in steps], -1)

    @staticmethod
    def precise(step: Step) -> Step:
        """A step whose estimate terms of the bound are computed from: in float64."""
        return replace(step, estimate=Estimate(step.estimate.x0_hat.double(), step.estimate.raw))

    @staticmethod
    def _written(canvas: Canvas, values: Float[Tensor, "B L"]) -> Float[Tensor, " B"]:
        """The sum over the positions that are not given."""
        return per_canvas(torch.where(canvas.given, 0.0, values))


def pinned_source(task: TaskView) -> Layout:
    """The target alone, or in a place of its own behind its source, which is pinned."""
    if task.family == "ucg":
        return TargetOnly(task.max_tokens)
    return SourceBefore(source=task.max_source_tokens, target=task.max_tokens)
