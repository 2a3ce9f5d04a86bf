"""A model that writes the generated language distorted by a known amount: metrics are tried on it, not systems."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from harness.contracts import Budget, Example, FitContext, FitReport, Likelihood, Sampling
from harness.design import Design
from tasks.world.distortions import COPIED, Distortion, Flattened, Truth, check, distortion
from tasks.world.language import language
from tasks.world.oracles import Oracle
from tasks.world.task import World

_TRAIN = "train.json"


class Distorted(Oracle):
    """The language with one distortion at one level; `truth` says what that does to the law of texts.

    Args:
        schedule: none.
        task: a view of `world`, UCG.
        keys: `size` of the language, `distortion` (see `tasks.world.distortions`) and its `level`, 0 for none.

    Raises:
        ValueError: an unknown key or value.
    """

    design = Design(
        name="distorted", kind="oracle", families=("ucg",), predicts="next token", loss_mask="none", length="EOS",
        likelihood=None,
    )  # fmt: skip
    defaults = {"size": "small", "distortion": "flattened", "level": 0.0}  # noqa: RUF012
    train: tuple[str, ...] = ()

    @classmethod
    def design_for(cls, **keys: Any) -> Design:
        """The design; the likelihood is exact where only probabilities change.

        Raises:
            ValueError: an unknown key or value.
        """
        design, said = super().design_for(**keys), {**cls.defaults, **keys}
        check(said["distortion"], said["level"])
        exact = said["distortion"] in ("flattened", "sharpened")
        return replace(design, likelihood="exact" if exact else None)

    @classmethod
    def truth(cls, **keys: Any) -> Mapping[str, float]:
        """What is known of the law: name -> number, as in `Truth`.

        Raises:
            ValueError: an unknown key or value.
        """
        cls.design_for(**keys)
        said = {**cls.defaults, **keys}
        if not said["level"]:
            return asdict(Truth(0.0))
        train = World(said["size"]).texts("train") if said["distortion"] == "memorised" else []
        return asdict(distortion(language(said["size"]).automaton, said["distortion"], said["level"], train).truth)

    @cached_property
    def distortion(self) -> Distortion:
        """The law that is drawn from."""
        return distortion(self.automaton, self.keys["distortion"], self.keys["level"], self.train)

    def fit(self, train: Sequence[Example], valid: Sequence[Example], budget: Budget, run: FitContext) -> FitReport:
        """Keep the training texts that may be copied."""
        self.train = tuple(example.target for example in train[:COPIED])
        return super().fit(train, valid, budget, run)

    def texts(self, seeds: Sequence[int], settings: Sampling) -> list[str]:
        """Draws from the distorted law."""
        return self.distortion.texts([np.random.default_rng(seed) for seed in seeds])

    def nats(self, texts: Sequence[str]) -> list[float]:
        """-log q, where only probabilities were changed."""
        assert isinstance(self.distortion, Flattened)
        return [-self.distortion.log_probability(text) for text in texts]

    def likelihood(self, examples: Sequence[Example]) -> Likelihood | None:
        """Exact where only probabilities were changed; else none."""
        return super().likelihood(examples) if isinstance(self.distortion, Flattened) else None

    def save(self, folder: Path) -> None:
        """Write two JSON files."""
        super().save(folder)
        (folder / _TRAIN).write_text(json.dumps(self.train, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, device: str, **keys: Any) -> "Distorted":
        """The model as it was saved, but for these keys."""
        model = super().load(folder, device, **keys)
        assert isinstance(model, cls)
        model.train = tuple(json.loads((folder / _TRAIN).read_text(encoding="utf-8")))
        return model
