"""An interpolated trigram model over the task's tokens: all that two words of context can do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from baselines.encoding import sizes_in_bytes, targets
from baselines.floors.floor import Floor, plain_sampling, request_generator, trained
from harness.contracts import Budget, Example, FitContext, FitReport, Likelihood, Request, Sampling
from harness.design import Design
from harness.tokenizer import BOS, EOS, PAD, SEP


@dataclass(frozen=True)
class Level:
    """Counts of tokens after contexts of one length.

    Attributes:
        size: vocabulary size V.
        keys: context * V + token of everything seen, ascending.
        counts: how often.
        before: sum of the counts before each key, and of all at the end.
    """

    size: int
    keys: Int[np.ndarray, " k"]
    counts: Int[np.ndarray, " k"]
    before: Int[np.ndarray, " k+1"]

    @classmethod
    def of(cls, size: int, keys: Int[np.ndarray, " m"], counts: Int[np.ndarray, " m"]) -> "Level":
        """Add up counts of equal keys."""
        distinct, member = np.unique(keys, return_inverse=True)
        sums = np.bincount(member, weights=counts, minlength=len(distinct)).astype(np.int64)
        return cls(size, distinct, sums, np.concatenate([[0], np.cumsum(sums)]))

    def shortened(self, contexts: int) -> "Level":
        """The level below: contexts without their first token; `contexts` is how many there can be."""
        return Level.of(self.size, self.keys % (contexts * self.size), self.counts)

    def probabilities(
        self, context: Int[np.ndarray, " m"], token: Int[np.ndarray, " m"], lower: Float[np.ndarray, " m"]
    ) -> Float[np.ndarray, " m"]:
        """p(token | context) = (count + kinds * lower) / (total + kinds); `lower` where the context is new."""
        first, last = (np.searchsorted(self.keys, (context + shift) * self.size) for shift in (0, 1))
        place = np.minimum(np.searchsorted(self.keys, context * self.size + token), len(self.keys) - 1)
        count = np.where(self.keys[place] == context * self.size + token, self.counts[place], 0)
        total, kinds = self.before[last] - self.before[first], last - first
        return np.where(kinds > 0, (count + kinds * lower) / np.maximum(total + kinds, 1), lower)

    def draw(self, context: int, rng: np.random.Generator) -> int | None:
        """A token seen after the context; `None` sends the draw to the level below."""
        first, last = np.searchsorted(self.keys, [context * self.size, (context + 1) * self.size])
        total = int(self.before[last] - self.before[first])
        place = rng.random() * (total + int(last - first))
        if place >= total:
            return None
        index = np.searchsorted(self.before, self.before[first] + place, side="right") - 1
        return int(self.keys[index] % self.size)


class Trigram(Floor):
    """p(token | two tokens before), interpolated down to the uniform law; EOS is a token like others.

    Witten and Bell 1991, method C: the weight of the shorter context is the number of different tokens seen after the
    longer one. Nothing is tuned, and every text has a probability.
    """

    design = Design(
        name="trigram", kind="floor", families=("ucg",), predicts="next token", loss_mask="none", length="EOS",
        likelihood="exact",
    )  # fmt: skip
    _levels: tuple[Level, Level, Level] | None = None

    def fit(self, train: Sequence[Example], valid: Sequence[Example], budget: Budget, run: FitContext) -> FitReport:
        """Count trigrams."""
        context, token = self._positions(targets(self.task, train))
        keys, counts = np.unique(context * len(self.task.tokenizer) + token, return_counts=True)
        self._count(keys, counts)
        return FitReport(tokens=len(train) * self.task.max_tokens, parameters=sum(len(level.keys) for level in self._fitted()))

    def answer(self, request: Request, candidate: int, settings: Sampling) -> tuple[str, tuple[int, ...]]:
        """Draw token by token until EOS; with a fixed length EOS is drawn again from shorter contexts.

        Raises:
            ModelError: not fitted, or settings other than plain sampling.
        """
        plain_sampling(self.design, settings)
        rng = request_generator(request, self.design.name, candidate)
        ids: list[int] = []
        while len(ids) < request.max_tokens and EOS not in ids[-1:]:
            ids.append(self._next(ids, rng, fixed_length=settings.fixed_length))
        return self.task.tokenizer.decode(ids), tuple(ids)

    def likelihood(self, examples: Sequence[Example]) -> Likelihood | None:
        """Exact, in nats, EOS included."""
        rows = targets(self.task, examples)
        context, token = self._positions(rows)
        vocabulary = len(self.task.tokenizer)
        law = np.full(len(token), 1 / len(self._words()))
        for level, contexts in zip(self._fitted()[::-1], (1, vocabulary, vocabulary**2), strict=True):
            law = level.probabilities(context % contexts, token, law)
        owner = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        return Likelihood(
            nats=tuple(np.bincount(owner, weights=-np.log(law), minlength=len(rows)).tolist()),
            tokens=tuple(map(len, rows)),
            bytes=sizes_in_bytes(self.task, examples, rows),
            kind="exact",
            estimator="trigram-exact",
        )

    def _next(self, ids: Sequence[int], rng: np.random.Generator, *, fixed_length: bool) -> int:
        before, last = [BOS, BOS, *ids][-2:]
        vocabulary = len(self.task.tokenizer)
        for level, context in zip(self._fitted(), (before * vocabulary + last, last, 0), strict=True):
            token = level.draw(context, rng)
            if token is not None and not (fixed_length and token == EOS):
                return token
        words = self._words()[1:] if fixed_length else self._words()
        return int(words[rng.integers(len(words))])

    def _words(self) -> Int[np.ndarray, " w"]:
        """Ids that the uniform law knows: EOS and all that is text."""
        return np.array([EOS, *(index for index in range(len(self.task.tokenizer)) if index not in (PAD, EOS, BOS, SEP))])

    def _positions(self, rows: Sequence[Sequence[int]]) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
        """Context (both tokens before, as one integer) and token of every position."""
        vocabulary = len(self.task.tokenizer)
        padded = [np.array([BOS, BOS, *row], dtype=np.int64) for row in rows]
        context = [row[:-2] * vocabulary + row[1:-1] for row in padded]
        return np.concatenate(context), np.concatenate([row[2:] for row in padded])

    def _count(self, keys: Int[np.ndarray, " m"], counts: Int[np.ndarray, " m"]) -> None:
        vocabulary = len(self.task.tokenizer)
        trigrams = Level.of(vocabulary, keys, counts)
        bigrams = trigrams.shortened(vocabulary)
        self._levels = (trigrams, bigrams, bigrams.shortened(1))

    def _fitted(self) -> tuple[Level, Level, Level]:
        levels: tuple[Level, Level, Level] = trained(self._levels, self.design)
        return levels

    def state(self) -> dict[str, Any]:
        """Trigrams and their counts; shorter contexts follow from them."""
        trigrams = self._fitted()[0]
        return {"keys": trigrams.keys.tolist(), "counts": trigrams.counts.tolist()}

    def restore(self, state: dict[str, Any]) -> None:
        """Trigrams and their counts."""
        self._count(np.array(state["keys"], dtype=np.int64), np.array(state["counts"], dtype=np.int64))
