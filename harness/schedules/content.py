"""Schedules that look at the tokens of a sentence: the spindle of DiffusionBERT, as published and as released.

He et al. 2022 (arXiv 2211.15029), section 3.2: around the line 1 - t, tokens that tell more than the average of their sentence
are masked earlier, and so written later, by lam sin(pi t) times what they tell more. The paper (equations 9 to 12) and the
released code (Hzfinfdu/Diffusion-BERT, diffusion_word_freq.py) measure that differently, and both have a name here.

Padding tells nothing: it follows 1 - t, and neither the corpus counts nor the average of a sentence include it, as in the
released training. A sentence of padding alone follows 1 - t.
"""

import math
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.design import Grain
from harness.schedules.base import Schedule
from harness.schedules.closed_form import checked_time, within
from harness.schedules.discretised import at_least_one, completed_steps
from harness.schedules.mutual_information import unigram_law
from harness.tokenizer import PAD


class Spindle(Schedule):
    """1 - t - lam sin(pi t) (1 - mean_j H_j / H_i), H = -log p(token): rare tokens are masked early.

    The mean of alpha-bar over a sentence, weighted by H, is 1 - t wherever nothing is cut to [0, 1]. The paper calls H entropy
    and estimates it by corpus frequency; here it is the surprisal of the unigram law. A token that never occurs tells as much as
    the rarest that does.
    """

    grain: ClassVar[Grain] = "content"
    highest: ClassVar[float] = 1.0
    weights: Tensor

    def __init__(self, unigram: Float[Tensor, "V"] | Int[Tensor, "V"], steps: int | None = None, *, lam: float = 0.3) -> None:
        """A spindle for a corpus.

        Args:
            unigram: how often every token occurs.
            steps: T, where it is to be defined at i / T only.
            lam: how far tokens lie apart. The released code has 0.3; the paper states no value.

        Raises:
            ValueError: fewer than two tokens occur, lam is negative, or there are no steps.
        """
        super().__init__()
        if steps is not None:
            at_least_one(steps)
        self.steps, self.lam = steps, within("lam", lam, 0, 100)
        self.register_buffer("weights", self.weigh(unigram.to(torch.float64).index_fill(0, torch.tensor([PAD]), 0)))

    @staticmethod
    def weigh(counts: Float[Tensor, "V"]) -> Float[Tensor, "V"]:
        """What is known of every token: its surprisal H in nats."""
        law = unigram_law(counts)
        return -law.where(law > 0, law[law > 0].min()).log()

    def excess(self, ids: Int[Tensor, "B L"]) -> Float[Tensor, "B L"]:
        """How much more than the average of its sentence a token tells: 1 - mean_j H_j / H_i, 0 at padding (equation 12)."""
        own, average = self._beside_average(ids)
        return torch.where(ids == PAD, 0.0, 1 - average / own)

    def _beside_average(self, ids: Int[Tensor, "B L"]) -> tuple[Float[Tensor, "B L"], Float[Tensor, "B 1"]]:
        own, counted = self.weights[ids], ids != PAD
        return own, (own * counted).sum(-1, keepdim=True) / counted.sum(-1, keepdim=True).clamp_min(1)

    def curve(self, t: Float[Tensor, "B #L"], ids: Int[Tensor, "B L"]) -> Float[Tensor, "B L"]:
        """The formula, before it is cut."""
        return 1 - t - self.lam * torch.sin(math.pi * t) * self.excess(ids)

    def alpha_bar(self, t: Float[Tensor, "B #L"], ids: Int[Tensor, "B L"] | None = None) -> Float[Tensor, "B #L"]:
        """See `Schedule`; 1 at t = 0 and 0 at t = 1 for every token.

        Raises:
            ValueError: as there; or no tokens are given.
        """
        time, tokens = self._time(t), self._tokens(ids)
        cut = self.curve(time, tokens).clamp(0, self.highest)
        return torch.where(time > 0, torch.where(time < 1, cut, 0.0), 1.0)

    def rate(self, t: Float[Tensor, "B #L"], ids: Int[Tensor, "B L"] | None = None) -> Float[Tensor, "B #L"]:
        """See `Schedule`; where there are steps, the backward difference over one (forward at t = 0), per unit of t."""
        tokens = self._tokens(ids)
        if self.steps is None:
            return super().rate(t.expand(tokens.shape), tokens)
        last = completed_steps(t, self.steps, self.specification).clamp(min=1).double()
        before, after = ((last + move) / self.steps for move in (-1, 0))
        return (self.alpha_bar(after, tokens) - self.alpha_bar(before, tokens)) * self.steps

    def _time(self, t: Float[Tensor, "B #L"]) -> Float[Tensor, "B #L"]:
        if self.steps is None:
            return checked_time(t)
        return completed_steps(t, self.steps, self.specification).double() / self.steps

    def _tokens(self, ids: Int[Tensor, "B L"] | None) -> Int[Tensor, "B L"]:
        if ids is None:
            raise ValueError(f"schedule {self.specification or type(self).__name__} has a level for each token; give it ids.")
        return ids


class SpindleLogFrequency(Spindle):
    """1 - t + lam sin(pi t) (f_i - mean_j f_j), at most 0.999, f = log(n + 1) / max log(n + 1): as released.

    n are counts, not probabilities.
    """

    highest: ClassVar[float] = 0.999

    @staticmethod
    def weigh(counts: Float[Tensor, "V"]) -> Float[Tensor, "V"]:
        """What is known of every token: its log frequency f, from 0 (never seen) to 1 (the most frequent)."""
        unigram_law(counts)  # refuses a corpus of one token
        logarithm = torch.log1p(counts)
        return logarithm / logarithm.max()

    def frequency(self, ids: Int[Tensor, "B L"]) -> Float[Tensor, "B L"]:
        """Log frequency over the average of the sentence: f_i - mean_j f_j, 0 at padding."""
        own, average = self._beside_average(ids)
        return torch.where(ids == PAD, 0.0, own - average)

    def excess(self, ids: Int[Tensor, "B L"]) -> Float[Tensor, "B L"]:
        """See `Spindle`: mean_j f_j - f_i."""
        return -self.frequency(ids)
