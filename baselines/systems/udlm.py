"""UDLM: diffusion with uniform noise in continuous time, with discrete classifier-free guidance.

Schiff, Sahoo, Phung, Wang, Boshar, Dalla-torre, de Almeida, Rush, Pierrot and Kuleshov 2024, arXiv:2412.10193.

    q(x_t | x_0), uniform                              -> categorical.Uniform
    q(x_s | x_t, x_0), and p with the estimate in it   -> categorical.joint
    continuous bound, section 4                        -> objectives_discrete.uniform_bound
    low-discrepancy times from 1e-3 on                 -> timesteps.ContinuousTimes
    ancestral sampling                                 -> samplers_discrete.renewed
    classifier-free guidance, section 3.1              -> guidance.Guided, samplers_discrete.renewed
    condition left out in training                     -> guidance.ConditionDropout

The bound is the whole one, at every position, and not the cross-entropy of the tokens that changed. The network is told the
time, must be, and any token may change again at any step: nothing is carried over. The released code trains the bound with
alpha' = -1 and alpha = 1 - t while it corrupts with 1 - (1 - 1e-3) t; here both come from the schedule. Its sampler ends at t =
1e-5 without a last step, as here unless `last_step` says otherwise, and its term for the data at t = 0, which its training for
uniform noise leaves out, is here part of the bound but not of training: the reverse step from t = 1e-3 to the data. So is the
step from nothing kept to what the schedule keeps at t = 1, which samplers leave out. Guided steps mix the logarithms of the
reverse laws, normalised, and not the estimates. With a condition, source and target share the canvas and the source is never
touched; the released null class is padding in its place. The network is this harness's transformer, without dropout, and its
last weights are kept where the release averages them. Not built: guidance by a classifier, the released nucleus filter.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from baselines.engine import Diffusion
from baselines.uniform import LAST_STEPS, UniformAdapter
from harness.contracts import TaskView
from harness.design import Design
from harness.schedules.base import Schedule

DEFAULTS = {
    "width": 128, "layers": 4, "heads": 4, "batch": 16, "learning_rate": 3e-3, "condition_dropout": 0.1, "guidance": None,
    "last_step": "none",
}  # fmt: skip


class UDLM(UniformAdapter):
    """Text by replacing tokens, trained by a continuous bound.

    Args:
        schedule: any schedule of grain "sequence" in closed form.
        task: tokenizer and canvas.
        width, layers, heads: of the transformer.
        batch: examples per update.
        learning_rate: its plateau, at width 128.
        condition_dropout: share of training examples whose condition is left out.
        guidance: weight gamma of the condition in classifier-free guidance; `None` = unguided.
        last_step: how noise that is left at the end of sampling is removed, in one more evaluation of the network:
            "ancestral" draws from the reverse law, "greedy" takes the most probable token of the estimate; "none" leaves it.
    """

    design = Design(
        name="udlm", kind="diffusion", families=("ucg", "a2t", "t2t"), space="discrete", kernel="uniform",
        schedule="log-linear(eps=0.001)", grains=("sequence",), closed_form=True, predicts="x0",
        conditioning="source in sequence, pinned",
        posterior="joint", last_step=LAST_STEPS["none"], temperature=True, time_input="1000 t", likelihood="bound",
        sampler_version=2, paper="2412.10193",
    )  # fmt: skip
    defaults: ClassVar[Mapping[str, Any]] = DEFAULTS

    def build(self, schedule: Schedule, task: TaskView, **size: Any) -> Diffusion:
        """Put the parts together."""
        return Diffusion(**self.parts(schedule, task, size))
