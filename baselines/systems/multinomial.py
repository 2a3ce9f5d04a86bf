"""Multinomial diffusion: tokens are replaced by tokens drawn uniformly from all.

Hoogeboom, Nielsen, Jaini, Forre and Welling 2021, arXiv:2102.05379, section 4.

    q(x_t | x_{t-1}) and q(x_t | x_0)             -> categorical.Uniform
    q(x_{t-1} | x_t, x_0)                         -> categorical.joint, of one-hot x_0
    p(x_{t-1} | x_t): the estimate in its place   -> CategoricalKernel.posterior, drawn by samplers_discrete.renewed
    the bound, its term L_0 and the prior         -> objectives_discrete.bound_term, CategoricalKernel.prior_divergence
    its sum over all t, estimated                 -> DiscreteAdapter.likelihood
    steps in proportion to their losses           -> timesteps.LossAware

Step 0 of the chain is the data; at step T a little of it is left (4.9e-5 at T = 1,000), which the prior's term accounts for. The
schedule is the cosine of the released code, whose keep probabilities are floored at sqrt(0.001). The prior's term has no
parameters and is left out of the training loss. The network is this harness's transformer, with the released gate that
makes its first estimate uniform; the released one has linear and local attention.

A likelihood is not the sum over all t but an estimate of it, with its Monte-Carlo error: each draw takes one step from each
of equal parts of the chain. Training draws all steps equally often until every one was drawn more than ten times (after about
1,600 updates of 16 examples where T = 1,000), and only then in proportion to their losses. K is the number of all entries of
the tokenizer: noise can be padding, EOS or any other special one. A temperature and skipped steps are extensions: the released
code has no temperature and visits every step.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from baselines.discrete import DiscreteAdapter
from baselines.engine import Diffusion
from baselines.networks.token_denoiser import TokenDenoiser
from baselines.parts.categorical import Uniform
from baselines.parts.clocks import Chain
from baselines.parts.objectives_discrete import hybrid
from baselines.parts.samplers_discrete import renewed
from baselines.parts.spaces import DiscreteSpace
from baselines.parts.timesteps import LossAware
from harness.contracts import TaskView
from harness.design import Design
from harness.schedules.base import Schedule

DEFAULTS = {"width": 128, "layers": 4, "heads": 4, "chain": 1000, "batch": 16, "learning_rate": 3e-3}
FLOORED_COSINE = "cosine-plain(max_beta=0.9683772233983162)@1000"  # 1 - sqrt(0.001)


class Multinomial(DiscreteAdapter):
    """Unconditional text by uniform noise on token ids, trained by its bound alone.

    Args:
        schedule: any schedule of grain "sequence".
        task: tokenizer and canvas.
        width, layers, heads: of the transformer.
        chain: training steps T for schedules that do not bring their own.
        batch: examples per update.
        learning_rate: its plateau, at width 128.
    """

    design = Design(
        name="multinomial", kind="diffusion", families=("ucg",), space="discrete", kernel="uniform", schedule=FLOORED_COSINE,
        grains=("sequence",), chain=1000, predicts="x0", posterior="joint", last_step="sample", temperature=True,
        time_input="1000 i / T", likelihood="bound", paper="2102.05379", sampler_version=2,
    )  # fmt: skip

    defaults: ClassVar[Mapping[str, Any]] = DEFAULTS

    @classmethod
    def design_for(cls, **size: Any) -> Design:
        """The design, with the chain's length."""
        return replace(cls.design, chain=cls.checked(size)["chain"])

    @classmethod
    def kernel_for(cls, task: TaskView, **size: Any) -> Uniform:
        """The kernel, which mutual-information schedules are solved for."""
        return Uniform(len(task.tokenizer))

    @classmethod
    def network_of(cls, task: TaskView, keys: Mapping[str, Any]) -> TokenDenoiser:
        """The denoiser, gated."""
        tokens = len(task.tokenizer)
        return TokenDenoiser(
            states=tokens, vocabulary=tokens, length=task.max_tokens, width=keys["width"], layers=keys["layers"],
            heads=keys["heads"], gated=True,
        )  # fmt: skip

    def build(self, schedule: Schedule, task: TaskView, **size: Any) -> Diffusion:
        """Put the parts together."""
        keys = self.checked(size)
        clock, kernel = Chain(schedule.steps or keys["chain"]), self.kernel_for(task)
        return Diffusion(
            space=DiscreteSpace(len(task.tokenizer)), kernel=kernel, schedule=schedule, denoiser=self.network_of(task, keys),
            objective=hybrid(kernel, auxiliary=0.0, scale=clock.span),
            times=LossAware(clock.steps, scale=task.max_tokens / clock.steps), reverse=renewed, clock=clock,
            time_input=clock.network_time,
        )  # fmt: skip
