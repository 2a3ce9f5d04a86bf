"""MDLM without a condition, guided by a classifier of noisy texts: discrete classifier-based guidance.

Schiff, Sahoo, Phung, Wang, Boshar, Dalla-torre, de Almeida, Rush, Pierrot and Kuleshov 2024, arXiv:2412.10193.

    p(x_s | x_t), the unconditional model               -> as in MDLM
    log p(y | x_t), a classifier of noisy texts         -> condition_classifier.ConditionClassifier
    p(x_s | x_t) p(y | x_s)^gamma, section 3.2          -> Steered.at, samplers_discrete.reveal_first

The paper tilts the whole reverse law, by the classifier's first-order expansion where evaluating every replacement is too dear.
Near a mask that expansion is far too flat (a fortieth of the true difference on a toy), so here masks are revealed as the
schedule says, and only the law of a revealed token is tilted: by the classifier itself, evaluated for the most probable
candidates at each revealed position, other revealed positions still masked. With as many candidates as tokens nothing is cut. A
temperature, an extension, is one of the tilted law.
Both networks are trained on the same corrupted texts within one budget, each by its own loss. The condition is a text here, so
the classifier names its tokens, each by itself. It is not told the time; the released one has an input for it, which is 0 where
the denoiser's is. The last weights are kept where the release averages those of the denoiser.

A step that reveals something is one network call, of the denoiser; other steps are none. As every position is revealed once, the
classifier reads positions x candidates texts for each text that is written, whatever the steps and the strength of the guidance;
they are counted among the positions processed, and on long texts they are most of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from baselines.engine import Diffusion
from baselines.networks.condition_classifier import ConditionClassifier
from baselines.networks.token_denoiser import TokenDenoiser
from baselines.parts.categorical import NEVER
from baselines.parts.conditioning import Layout, Source, SourceBeside
from baselines.parts.denoisers import Denoiser, Told
from baselines.parts.estimates import Estimate, Wrapped
from baselines.parts.objectives_discrete import Term
from baselines.parts.steps import Step
from baselines.systems.mdlm import DEFAULTS, MDLM
from harness.contracts import Example, Generation, Likelihood, Request, TaskView
from harness.design import Design
from harness.schedules.base import Schedule


class Classified(Wrapped):
    """An estimate of texts with a condition, by a model that does not know it and a classifier that does.

    Args:
        estimate: of x0, without the condition.
        pair: both networks.
        x_t: the noisy texts.
        source: their conditions.
    """

    def __init__(self, estimate: Estimate, pair: "Pair", x_t: Int[Tensor, "B L"], source: Source) -> None:
        super().__init__(estimate)
        self.pair, self.x_t, self.source = pair, x_t, source

    def log_condition(self) -> Float[Tensor, " B"]:
        """Log p(y | x_t), in nats."""
        said: Tensor = self.pair.classifier(self.x_t, self.source)
        return said


class Steered(Classified):
    """The same, its law tilted by the classifier where it is looked at: what samplers are given."""

    def at(self, chosen: Bool[Tensor, "B L"]) -> Float[Tensor, "M V"]:
        """Log p(x_0 | x_t) + gamma log p(y | x_t with x_0 there), normalised over the candidates of each chosen position."""
        if not self.pair.gamma:
            return self.estimate.at(chosen)
        law, places = self.estimate.at(chosen), chosen.nonzero()
        count = min(self.pair.candidates, law.shape[-1])
        kept, tokens = law.topk(count)
        said = torch.stack([self._said(places, tokens[:, rank]) for rank in range(count)], -1)
        tilted = (kept + self.pair.gamma * said).log_softmax(-1)
        return torch.full_like(law, NEVER).scatter(-1, tokens, tilted)

    def _said(self, places: Int[Tensor, "M 2"], tokens: Int[Tensor, " M"]) -> Float[Tensor, " M"]:
        rows = places[:, 0]
        replaced = self.x_t[rows].scatter(-1, places[:, 1:], tokens[:, None])
        said: Tensor = self.pair.classifier(replaced, Source(ids=self.source.ids[rows], present=self.source.present[rows]))
        return said


class Pair(nn.Module):
    """A denoiser that knows no condition, and the classifier that does.

    Args:
        denoiser: the first network.
        classifier: the second.
        gamma: strength of the guidance.
        candidates: most tokens that the classifier is asked about at a position.
    """

    def __init__(self, denoiser: TokenDenoiser, classifier: ConditionClassifier, gamma: float, candidates: int) -> None:
        super().__init__()
        self.denoiser, self.classifier, self.gamma, self.candidates = denoiser, classifier, gamma, candidates

    def reading(self, source: Source) -> "Reading":
        """Both networks' opinions of texts with these conditions."""
        return Reading(self, source)

    def forward(self, x_t: Tensor, time: Told, given: Bool[Tensor, "B L"], previous: Estimate | None) -> Estimate:
        """Estimate x0 without a condition."""
        estimate: Estimate = self.denoiser(x_t, time, given, previous)
        return estimate


class Reading:
    """Both networks, knowing the condition of each row.

    Args:
        pair: the networks.
        source: the conditions.
        kind: what is made of both.
    """

    def __init__(self, pair: Pair, source: Source, kind: type[Classified] = Classified) -> None:
        self.pair, self.source, self.kind = pair, source, kind

    def __call__(self, x_t: Tensor, time: Told, given: Bool[Tensor, "B L"], previous: Estimate | None) -> Estimate:
        """Estimate x0; what the condition says is computed when it is asked for."""
        return self.kind(self.pair(x_t, time, given, previous), self.pair, x_t, self.source)

    def select(self, rows: Int[Tensor, " C"]) -> "Reading":
        """For some rows."""
        return Reading(self.pair, Source(ids=self.source.ids[rows], present=self.source.present[rows]), self.kind)


def with_classifier(term: Term) -> Term:
    """A loss term, and the classifier's error spread over the positions."""

    def objective(step: Step) -> Float[Tensor, "B L"]:
        assert isinstance(step.estimate, Classified)
        return term(step) - step.estimate.log_condition()[:, None] / step.ids.shape[1]

    return objective


class MDLMClassifier(MDLM):
    """Text with a condition from an unconditional model and a classifier; sizes as in MDLM, the classifier has one layer less.

    Args:
        guidance: strength gamma of the classifier; `None` = 1. With 0 it is not asked, and texts are the model's own.
        candidates: most tokens that the classifier is asked about at a position.
    """

    design = replace(
        MDLM.design, name="mdlm-classifier", families=("a2t",), conditioning="classifier of noisy text",
        likelihood=None, paper="2412.10193", sampler_version=4,
    )  # fmt: skip
    defaults: ClassVar[Mapping[str, Any]] = {
        **{name: value for name, value in DEFAULTS.items() if name not in ("window", "stride", "condition_dropout")},
        "candidates": 32,
    }  # fmt: skip
    sampling_keys: ClassVar[tuple[str, ...]] = ("guidance", "candidates")

    @classmethod
    def design_for(cls, **size: Any) -> Design:
        """The design, whatever the guidance."""
        cls.checked(size)
        return cls.design

    @staticmethod
    def make_layout(task: TaskView) -> Layout:
        """The target alone, its condition beside it."""
        return SourceBeside(source=task.max_source_tokens, target=task.max_tokens)

    @classmethod
    def network_of(cls, task: TaskView, keys: Mapping[str, Any]) -> Pair:
        """See `MaskedAdapter`."""
        denoiser, layout = super().network_of(task, keys), cls.make_layout(task)
        assert isinstance(denoiser, TokenDenoiser)
        assert isinstance(layout, SourceBeside)
        classifier = ConditionClassifier(
            states=len(task.tokenizer) + 1, vocabulary=len(task.tokenizer), length=layout.length, condition=layout.source,
            width=keys["width"], layers=max(keys["layers"] - 1, 1), heads=keys["heads"],
        )  # fmt: skip
        return Pair(denoiser, classifier, gamma_of(keys), keys["candidates"])

    @classmethod
    def condition_dropout(cls, task: TaskView, keys: Mapping[str, Any]) -> None:
        """Nothing: the denoiser knows no condition."""

    def build(self, schedule: Schedule, task: TaskView, **size: Any) -> Diffusion:
        """Put the parts together."""
        diffusion = super().build(schedule, task, **size)
        diffusion.objective = with_classifier(diffusion.objective)
        return diffusion

    def sampling_denoiser(self, denoiser: Denoiser) -> Denoiser:
        """Guided."""
        assert isinstance(denoiser, Reading)
        return Reading(denoiser.pair, denoiser.source, Steered)

    def _answer(self, request: Request, ids: tuple[int, ...], reason: str, calls: int, positions: int, steps: int) -> Generation:
        length = self.layout.length
        read = length * length * min(self.keys["candidates"], len(self.task.tokenizer)) if gamma_of(self.keys) else 0
        return super()._answer(request, ids, reason, calls, positions + read, steps)

    def likelihood(self, examples: Sequence[Example]) -> Likelihood | None:
        """None: p(x | y) of the guided law has no bound here."""
        return None


def gamma_of(keys: Mapping[str, Any]) -> float:
    """Strength of the guidance."""
    return 1.0 if keys["guidance"] is None else float(keys["guidance"])
