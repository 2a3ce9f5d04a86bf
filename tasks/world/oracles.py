"""Oracles of the generated language: what the best autoregressive and the best masked model would write. Nothing is learned.

`oracle-denoiser` knows the exact marginals of every masked position, so its only error is drawing several tokens at once: its
curve of quality against steps is the one that no trained masked model can beat at the same schedule and rule of unmasking.
"""

import json
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from harness.construction import view_from_json, view_to_json
from harness.contracts import (
    Budget,
    Example,
    FitContext,
    FitReport,
    Generation,
    Likelihood,
    Request,
    Sampling,
    TaskView,
    stream_seed,
)
from harness.design import Design
from harness.errors import ModelError
from harness.schedules.base import Schedule
from harness.schedules.names import build
from harness.tokenizer import EOS
from tasks.world.automaton import Automaton, Floats, Integers
from tasks.world.draws import draw_each
from tasks.world.language import language
from tasks.world.marginals import MASK, Marginals
from tasks.world.sizes import SIZES

UNMASKING = ("independent", "exact-count")
LAST_STEPS = ("sample", "argmax")
_FILE = "oracle.json"


class Oracle:
    """A `TextModel` that knows the language of `world`; a subclass says how it writes.

    Args:
        schedule: how fast masks go; `None` for oracles without steps.
        task: a view of `world`, UCG.
        keys: `size` of the language ("small"), and what a subclass knows.

    Raises:
        ValueError: an unknown key or value.
    """

    design: Design
    defaults: dict[str, Any]

    def __init__(self, schedule: Schedule | None, task: TaskView, **keys: Any) -> None:
        self.design_for(**keys)
        self.schedule, self.task, self.keys = schedule, task, {**self.defaults, **keys}

    @classmethod
    def design_for(cls, **keys: Any) -> Design:
        """The design for given keys.

        Raises:
            ValueError: an unknown key or value.
        """
        unknown = sorted(set(keys) - set(cls.defaults))
        if unknown:
            raise ValueError(f"{cls.design.name} has no key {unknown[0]!r}; it has {', '.join(cls.defaults)}")
        size = keys.get("size", cls.defaults["size"])
        if size not in SIZES:
            raise ValueError(f"size {size!r} is none of {', '.join(SIZES)}")
        return cls.design

    @cached_property
    def automaton(self) -> Automaton:
        """The language."""
        return language(self.keys["size"]).automaton

    def fit(self, train: Sequence[Example], valid: Sequence[Example], budget: Budget, run: FitContext) -> FitReport:
        """Nothing to learn, but the language must be that of the task.

        Raises:
            ModelError: training texts are of another language.
        """
        foreign = next((example.target for example in train[:100] if not self.automaton.contains(example.target)), None)
        if foreign is not None:
            raise ModelError(
                f"{self.design.name} knows `world` of size {self.keys['size']!r}, where {foreign!r} is no text; set `size`."
            )
        return FitReport(tokens=0, parameters=0)

    def generate(self, requests: Sequence[Request], settings: Sampling) -> list[Generation]:
        """Answer every request from its own stream.

        Raises:
            ModelError: settings other than plain sampling.
        """
        if settings.method != "sample" or settings.temperature != 1.0 or settings.top_p != 1.0:
            raise ModelError(f"{self.design.name} draws from the law itself: `method: sample` with temperature and top_p at 1.")
        texts = self.texts([stream_seed(request.seed, k) for request in requests for k in range(request.n)], settings)
        found, done = [], 0
        for request in requests:
            found.append(self._generation(request, texts[done : done + request.n], settings))
            done += request.n
        return found

    def _generation(self, request: Request, texts: Sequence[str], settings: Sampling) -> Generation:
        ids = tuple(tuple([*self.task.tokenizer.encode(text), EOS][: request.max_tokens]) for text in texts)
        return Generation(
            id=request.id, texts=tuple(texts), ids=ids,
            finish_reasons=tuple("eos" if row[-1] == EOS else "length" for row in ids),
            steps_used=settings.steps if self.design.schedule else None,
        )  # fmt: skip

    @abstractmethod
    def texts(self, seeds: Sequence[int], settings: Sampling) -> list[str]:
        """One text for each seed."""

    @abstractmethod
    def nats(self, texts: Sequence[str]) -> list[float]:
        """Negative log-likelihood of texts."""

    def likelihood(self, examples: Sequence[Example]) -> Likelihood | None:
        """Exact, in nats, the end included."""
        texts = [example.target for example in examples]
        return Likelihood(
            nats=tuple(self.nats(texts)), tokens=tuple(len(text.split()) + 1 for text in texts),
            bytes=tuple(len(text.encode()) for text in texts), kind="exact", estimator=f"{self.design.name}-exact",
        )  # fmt: skip

    def save(self, folder: Path) -> None:
        """Write one JSON file."""
        folder.mkdir(parents=True, exist_ok=True)
        specification = self.schedule.specification if self.schedule is not None else None
        content = {"task": view_to_json(self.task), "keys": self.keys, "schedule": specification}
        (folder / _FILE).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, device: str, **keys: Any) -> "Oracle":
        """The oracle as it was saved, but for these keys; the device does not matter."""
        content = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        schedule = build(content["schedule"]) if content["schedule"] is not None else None
        return cls(schedule, view_from_json(content["task"]), **{**content["keys"], **keys})


class OracleAR(Oracle):
    """Token by token from the exact next-token probabilities: draws from the language itself."""

    design = Design(
        name="oracle-ar", kind="oracle", families=("ucg",), predicts="next token", loss_mask="none", length="EOS",
        likelihood="exact",
    )  # fmt: skip
    defaults = {"size": "small"}  # noqa: RUF012

    def texts(self, seeds: Sequence[int], settings: Sampling) -> list[str]:
        """Exact draws."""
        return draw_each(self.automaton, [np.random.default_rng(seed) for seed in seeds])

    def nats(self, texts: Sequence[str]) -> list[float]:
        """-log p."""
        return [-self.automaton.log_probability(text.split()) for text in texts]


class OracleDenoiser(Oracle):
    """Absorbing diffusion with the exact posterior marginals as its denoiser.

    Positions that are unmasked in the same step are drawn independently of each other, as in every masked model; in the last
    step they are drawn too, or take the likeliest token (`last_step`), as systems do that are held against this one. After a
    dead end (revealed tokens that no text has together) the last valid marginals stay. Its likelihood reveals one token at a
    time, which is exact in every order.
    """

    design = Design(
        name="oracle-denoiser", kind="oracle", families=("ucg",), space="discrete", kernel="absorbing",
        schedule="linear-alpha-bar", grains=("sequence",), predicts="x0", posterior="mixture", last_step="sample",
        unmasking="independent", loss_mask="none", length="fixed canvas with PAD", likelihood="exact",
    )  # fmt: skip
    defaults = {"size": "small", "unmasking": "independent", "last_step": "sample"}  # noqa: RUF012
    sampling_keys: ClassVar[tuple[str, ...]] = ("unmasking", "last_step")

    @classmethod
    def design_for(cls, **keys: Any) -> Design:
        """The design, with its rule of unmasking and its last step.

        Raises:
            ValueError: an unknown key or value.
        """
        chosen = {name: keys.get(name, cls.defaults[name]) for name in cls.sampling_keys}
        for name, known in (("unmasking", UNMASKING), ("last_step", LAST_STEPS)):
            if chosen[name] not in known:
                raise ValueError(f"{name} {chosen[name]!r} is none of {', '.join(known)}")
        return replace(super().design_for(**keys), **chosen)

    @cached_property
    def marginals(self) -> Marginals:
        """The exact denoiser."""
        return Marginals(self.automaton)

    def texts(self, seeds: Sequence[int], settings: Sampling) -> list[str]:
        """Reverse diffusion from an all-masked canvas, in parts of the micro-batch."""
        if settings.steps is None:
            raise ModelError("oracle-denoiser needs a number of steps.")
        parts = [seeds[start : start + settings.micro_batch] for start in range(0, len(seeds), settings.micro_batch)]
        return [text for part in parts for text in self._written(self._sampled(part, settings.steps))]

    def kept(self, steps: int) -> Floats:
        """[steps + 1]: share of positions that are not masked at t = 1, ..., 0; 0 at the first and 1 at the last."""
        import torch

        assert self.schedule is not None
        times = torch.linspace(1, 0, steps + 1, dtype=torch.float64)[:, None]
        alpha: Floats = self.schedule.alpha_bar(times)[:, 0].numpy().copy()
        alpha[0], alpha[-1] = 0.0, 1.0
        return np.maximum.accumulate(alpha)

    def _sampled(self, seeds: Sequence[int], steps: int) -> Integers:
        tokens = np.full((len(seeds), self.automaton.canvas), MASK)
        kept, live, ended = self.kept(steps), tokens.copy(), np.zeros(len(seeds), dtype=bool)
        for step in range(steps):
            rngs = [np.random.default_rng(stream_seed(seed, "step", step)) for seed in seeds]
            uniform = np.stack([rng.random((2, tokens.shape[1])) for rng in rngs])
            shown = self._revealed(tokens, uniform[:, 0], float(kept[step]), float(kept[step + 1]))
            rows = np.flatnonzero(shown.any(1))
            shares = self._shares(tokens, live, ended, shown, rows)
            likeliest = step == steps - 1 and self.keys["last_step"] == "argmax"
            drawn = shares.argmax(2) if likeliest else _inverse(shares, uniform[rows, 1])
            tokens[rows] = np.where(shown[rows], drawn, tokens[rows])
        return tokens

    def _shares(self, tokens: Integers, live: Integers, ended: np.ndarray, shown: np.ndarray, rows: Integers) -> Floats:
        """Marginals of some rows at the positions that are to be shown.

        `live` (the last tokens that some text has) and `ended` (whether no text has the present ones) are kept up to date.
        """
        if (tokens[rows] == MASK).all():
            return np.tile(self._prior, (len(rows), 1, 1))
        before = live[rows]
        live[rows] = np.where(ended[rows, None], before, tokens[rows])
        shares, log_weight = self.marginals(live[rows], shown[rows])
        now = np.flatnonzero(np.isneginf(log_weight))
        if len(now):
            live[rows[now]], ended[rows[now]] = before[now], True
            shares[now] = self.marginals(before[now], shown[rows[now]])[0]
        return shares

    @cached_property
    def _prior(self) -> Floats:
        """Marginals of the all-masked canvas."""
        return self.marginals(np.full((1, self.automaton.canvas), MASK))[0]

    def _revealed(self, tokens: Integers, uniform: Floats, before: float, after: float) -> np.ndarray:
        """Which masked positions are unmasked between two levels: each by its own chance, or as many as are expected."""
        masked = tokens == MASK
        if self.keys["unmasking"] == "independent":
            chance = 1.0 if after == 1.0 else (after - before) / (1.0 - before)
            return np.asarray(masked & (uniform < chance))
        wanted = round(tokens.shape[1] * after) - (~masked).sum(1)
        rank = np.argsort(np.argsort(np.where(masked, uniform, 2.0), axis=1), axis=1)
        return np.asarray(masked & (rank < wanted[:, None]))

    def _written(self, tokens: Integers) -> list[str]:
        words = (*self.automaton.words, "", "")
        stops = np.argmax(tokens >= self.marginals.end, axis=1)
        stops = np.where((tokens >= self.marginals.end).any(1), stops, tokens.shape[1])
        return [" ".join(words[token] for token in row[:stop]) for row, stop in zip(tokens.tolist(), stops.tolist(), strict=True)]

    def nats(self, texts: Sequence[str]) -> list[float]:
        """-log p, added up over tokens that are revealed one at a time in an order drawn for each text."""
        rows = np.stack([self._canvas(text) for text in texts])
        known = np.isfinite([self.automaton.log_probability(text.split()) for text in texts])
        total = np.where(known, 0.0, np.inf)
        orders = np.stack([np.random.default_rng(stream_seed(0, "order", text)).permutation(rows.shape[1]) for text in texts])
        shown = np.full_like(rows, MASK)
        for place in orders[known].T:
            shares, _ = self.marginals(shown[known], np.arange(rows.shape[1]) == place[:, None])
            chosen = rows[known, place]
            total[known] -= np.log(shares[np.arange(len(place)), place, chosen])
            shown[np.flatnonzero(known), place] = chosen
        return [float(value) for value in total]

    def _canvas(self, text: str) -> Integers:
        row = np.full(self.automaton.canvas, self.marginals.padding)
        numbers = [self.automaton.word_index.get(word, self.marginals.padding) for word in text.split()][: len(row) - 1]
        row[: len(numbers)] = numbers
        row[len(numbers)] = self.marginals.end
        return row


def _inverse(shares: Floats, uniform: Floats) -> Integers:
    """Draws from [B, L, K] laws by their inverse distribution function."""
    sums = np.cumsum(shares, axis=2)
    found: Integers = np.minimum((sums <= (uniform * sums[..., -1])[..., None]).sum(2), shares.shape[2] - 1)
    return found
