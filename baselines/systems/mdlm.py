"""MDLM: masked diffusion whose bound is a weighted masked-language-model loss.

Sahoo, Arriola, Schiff, Gokaslan, Marroquin, Chiu, Rush and Kuleshov 2024, arXiv:2406.07524.

    q(x_t | x_0), absorbing                           -> categorical.Absorbing
    zero masking probabilities (SUBS, section 3.2.3)  -> structural: estimates name tokens only
    carry-over unmasking (SUBS, section 3.2.3)        -> structural: only masks are ever written
    continuous bound, equation 10                     -> objectives_discrete.masked_bound
    bound with T steps, equation 7                    -> objectives_discrete.bound_term, T times, on schedules with steps
    low-discrepancy times, appendix C.3, as released  -> timesteps.ContinuousTimes
    importance sampling of times, released option     -> timesteps.ImportanceTimes, `times: importance`
    ancestral sampling, equation 6, with its cache    -> samplers_discrete.reveal_first
    last step: the mode of what is masked still       -> clocks.uniform_grid, samplers_discrete.reveal_first
    classifier-free guidance (arXiv:2412.10193)       -> guidance.Guided, guidance.ConditionDropout

The released cache keeps the estimate until a token changes. Which masks are revealed does not depend on the estimate, so here
the network is not asked at all in steps that reveal nothing: the same law, and never more calls than positions. The network is
not told the time, as released. With a condition, source and target share the canvas and the source is never masked. The
network is this harness's transformer, without dropout.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from baselines.engine import Times
from baselines.masked import MaskedAdapter
from baselines.parts.clocks import Grid, uniform_grid
from baselines.parts.samplers import Reverse
from baselines.parts.samplers_discrete import reveal_first
from baselines.parts.timesteps import ImportanceTimes
from harness.design import Design

DEFAULTS = {
    "width": 128, "layers": 4, "heads": 4, "batch": 16, "learning_rate": 3e-3, "times": "stratified",
    "condition_dropout": 0.1, "guidance": None,
}  # fmt: skip
TIMES = ("stratified", "importance")
LAST_TIME = 1e-5


class MDLM(MaskedAdapter):
    """Text by unmasking, trained by a continuous bound.

    Args:
        schedule: any schedule of grain "sequence"; one with steps is trained and sampled in those.
        task: tokenizer and canvas.
        width, layers, heads: of the transformer.
        batch: examples per update.
        learning_rate: its plateau, at width 128.
        times: how continuous time is drawn in training: "stratified", evenly, or "importance", so that all weigh the same.
        condition_dropout: share of training examples whose condition is hidden.
        guidance: weight gamma of the condition in classifier-free guidance; `None` = unguided.
    """

    design = Design(
        name="mdlm", kind="diffusion", families=("ucg", "a2t", "t2t"), space="discrete", kernel="absorbing",
        schedule="log-linear", grains=("sequence",), predicts="x0", conditioning="source in sequence, pinned",
        posterior="joint", last_step="argmax of what is masked still", unmasking="independent", temperature=True,
        loss_mask="masks, weighted by -alpha' / (1 - alpha)", likelihood="bound", paper="2406.07524",
    )  # fmt: skip
    defaults: ClassVar[Mapping[str, Any]] = DEFAULTS

    @classmethod
    def checked(cls, size: Mapping[str, Any]) -> dict[str, Any]:
        """See `MaskedAdapter`.

        Raises:
            ValueError: `times` that are not known, too.
        """
        keys = super().checked(size)
        if keys["times"] not in TIMES:
            raise ValueError(f"times {keys['times']!r} is none of {', '.join(TIMES)}")
        return keys

    def times(self) -> Times:
        """See `MaskedAdapter`."""
        if self.keys["times"] == "stratified":
            return super().times()
        assert self.schedule is not None
        return ImportanceTimes(self.first_time, self.schedule)

    def grid(self, steps: int) -> Grid:
        """Equal pieces of time."""
        return uniform_grid(steps, last=LAST_TIME)

    def reverse(self) -> Reverse:
        """Ancestral."""
        return reveal_first
