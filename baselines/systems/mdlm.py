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
    semi-autoregressive extension, section 4.2        -> windowed.WindowedAdapter, `window` and `stride`
    classifier-free guidance (arXiv:2412.10193)       -> guidance.Guided, guidance.ConditionDropout

The released cache keeps the estimate until a token changes. Which masks are revealed does not depend on the estimate, so here
the network is not asked at all in steps that reveal nothing: the same law, and never more calls than positions. The network is
not told the time, as released. With a condition, source and target share the canvas and the source is never masked, but where
guidance leaves it out: then all of it is masks, in place of the released null class. On a schedule with steps the last one
draws, so that texts have the law that the bound scores, but for what the schedule keeps at t = 1: the bound charges it,
samplers begin with masks alone. In continuous time the mode is taken of what is masked still at t = 1e-5. Padding is written,
so it is learnt and scored too; released code leaves it out of loss and perplexity.

The extension writes texts longer than what the network sees: with a `window`, it is trained on windows of the texts and writes
one after the other, each behind what it shows of the one before. Released code trains on windows of a stream of texts; here a
window of a text that is longer begins at its first token, with BOS before it, or anywhere up to its end, half of the time each,
and a text ends with the window that holds its EOS. The release takes all steps for each window, here windows share them.

The network is this harness's transformer, without dropout, and its last weights are kept where the release averages them.
Not built: `analytic` sampling, times by a change of variables, the parametrisation of D3PM, a start from BERT.
"""

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from baselines.engine import Times
from baselines.parts.clocks import Grid, uniform_grid
from baselines.parts.samplers import Reverse
from baselines.parts.samplers_discrete import reveal_and_draw, reveal_first
from baselines.parts.timesteps import ImportanceTimes
from baselines.windowed import WindowedAdapter
from harness.design import Design

DEFAULTS = {
    "width": 128, "layers": 4, "heads": 4, "batch": 16, "learning_rate": 3e-3, "times": "stratified",
    "condition_dropout": 0.1, "guidance": None, "window": None, "stride": None,
}  # fmt: skip
TIMES = ("stratified", "importance")
LAST_TIME = 1e-5


class MDLM(WindowedAdapter):
    """Text by unmasking, trained by a continuous bound.

    Args:
        schedule: any schedule of grain "sequence"; one with steps is trained and sampled in those.
        task: tokenizer and canvas.
        width, layers, heads: of the transformer.
        batch: examples per update.
        learning_rate: its plateau, at width 128.
        times: how continuous time is drawn in training: "stratified", evenly, or "importance", so that all weigh the same; a
            schedule with steps knows the first only.
        condition_dropout: share of training examples whose condition is hidden.
        guidance: weight gamma of the condition in classifier-free guidance; `None` = unguided.
        window: positions of the text that the network sees; `None` = all.
        stride: positions that each window but the first writes; `None` = half of them.
    """

    design = Design(
        name="mdlm", kind="diffusion", families=("ucg", "a2t", "t2t"), space="discrete", kernel="absorbing",
        schedule="log-linear", grains=("sequence",), predicts="x0", conditioning="source in sequence, pinned",
        posterior="joint", unmasking="independent", temperature=True,
        last_step="argmax of what is masked still; a draw on a schedule with steps",
        loss_mask="masks, weighted by -alpha' / (1 - alpha)", likelihood="bound", paper="2406.07524",
        sampler_version=3,
    )  # fmt: skip
    defaults: ClassVar[Mapping[str, Any]] = DEFAULTS
    choices: ClassVar[Mapping[str, Collection[str]]] = {"times": TIMES}
    sampling_keys: ClassVar[tuple[str, ...]] = ("guidance",)

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
        """Ancestral; on a schedule with steps the last one draws too."""
        assert self.schedule is not None
        return reveal_first if self.schedule.steps is None else reveal_and_draw
