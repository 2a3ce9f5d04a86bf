"""Words drawn one by one from their frequencies, in texts as long as those of the training split."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from baselines.encoding import sizes_in_bytes, targets
from baselines.floors.floor import Floor, plain_sampling, request_generator, trained
from harness.contracts import Budget, Example, FitContext, FitReport, Likelihood, Request, Sampling
from harness.design import Design
from harness.tokenizer import BOS, EOS, PAD, SEP

# Krichevsky and Trofimov 1981: half a count for everything that could occur
_HALF = 0.5


class Unigram(Floor):
    """p(text) = p(length) times the product of p(token): no order, no context.

    A text whose EOS does not fit on the canvas has a length of its own, "cut".
    """

    design = Design(
        name="unigram", kind="floor", families=("ucg",), predicts="token", loss_mask="none", length="empirical law",
        likelihood="exact",
    )  # fmt: skip
    _tokens: np.ndarray | None = None
    _lengths: np.ndarray | None = None

    def fit(self, train: Sequence[Example], valid: Sequence[Example], budget: Budget, run: FitContext) -> FitReport:
        """Count tokens and lengths."""
        rows = targets(self.task, train)
        contents = [row[:-1] if row[-1] == EOS else row for row in rows]
        flat = np.array([index for row in contents for index in row], dtype=np.int64)
        self._tokens = np.bincount(flat, minlength=len(self.task.tokenizer))
        self._lengths = np.bincount([len(row) for row in contents], minlength=self.task.max_tokens + 1)
        return FitReport(tokens=len(rows) * self.task.max_tokens, parameters=len(self._tokens) + len(self._lengths))

    def answer(self, request: Request, candidate: int, settings: Sampling) -> tuple[str, tuple[int, ...]]:
        """Draw a length, then so many tokens.

        Raises:
            ModelError: not fitted, or settings other than plain sampling.
        """
        plain_sampling(self.design, settings)
        tokens, lengths = self._laws()
        rng = request_generator(request, self.design.name, candidate)
        drawn = int(np.searchsorted(np.cumsum(lengths), rng.random() * lengths.sum(), side="right"))
        wanted = request.max_tokens if settings.fixed_length else min(drawn, request.max_tokens)
        ids = np.searchsorted(np.cumsum(tokens), rng.random(wanted) * tokens.sum(), side="right").tolist()
        row = tuple([*ids, EOS][: request.max_tokens])
        return self.task.tokenizer.decode(row), row

    def likelihood(self, examples: Sequence[Example]) -> Likelihood | None:
        """Exact, in nats."""
        tokens, lengths = (np.log(np.maximum(law, 1e-300) / law.sum()) for law in self._laws())
        rows = targets(self.task, examples)
        contents = [row[:-1] if row[-1] == EOS else row for row in rows]
        return Likelihood(
            nats=tuple(-float(lengths[len(row)]) - math.fsum(tokens[row]) for row in contents),
            tokens=tuple(map(len, rows)),
            bytes=sizes_in_bytes(self.task, examples, rows),
            kind="exact",
            estimator="unigram-exact",
        )

    def _laws(self) -> tuple[np.ndarray, np.ndarray]:
        """Smoothed counts of tokens and lengths; tokens that are not text have none."""
        tokens = trained(self._tokens, self.design) + _HALF
        tokens[[PAD, EOS, BOS, SEP]] = 0.0
        return tokens, trained(self._lengths, self.design) + _HALF

    def state(self) -> dict[str, Any]:
        """Counts."""
        return {name: trained(getattr(self, f"_{name}"), self.design).tolist() for name in ("tokens", "lengths")}

    def restore(self, state: dict[str, Any]) -> None:
        """Counts."""
        self._tokens, self._lengths = np.array(state["tokens"]), np.array(state["lengths"])
