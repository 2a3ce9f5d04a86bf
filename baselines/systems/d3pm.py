"""D3PM: discrete diffusion with structured transition matrices.

Austin, Johnson, Ho, Tarlow and van den Berg 2021, arXiv:2107.03006.

    q(x_t | x_0), equation 3                   -> categorical.CategoricalKernel.log_marginal, corrupt
    p(x_s | x_t), equation 4 (joint form)      -> categorical.joint, CategoricalKernel.posterior
    L_vb, equation 1, one term                 -> CategoricalKernel.divergence, prior_divergence
    L_lambda, equation 5                       -> objectives_discrete.hybrid
    absorbing, uniform, appendix A.2.1-2       -> categorical.Absorbing, categorical.Uniform
    discretised Gaussian, appendix A.2.3       -> chains.DiscretisedGaussian
    nearest neighbour, appendix A.2.4          -> chains.NearestNeighbour
    mutual information, section 3.2 and A.7    -> schedule "mutual-information"
    the last step takes the mode, as released  -> samplers.ancestral

Step 0 of the chain is the data and step T pure noise whatever the schedule says, as in the released text code: `Complete`; by
nearest neighbours as much noise as their chain has, where what tells the part of an unconnected graph is never lost. lambda
weighs the cross-entropy against one term of the bound, as released; the objective is scaled by T. Choices of this harness: the
neighbour graph is laid over co-occurrence embeddings of the training split (the paper's come from a trained model), times are
drawn one from each of equal parts of the chain instead of independently, the divergence of a step is not cut at 0, steps need
not divide the chain, estimates may have a temperature, and `unmasking: exact-count` reveals as many masks per step as the
schedule expects instead of each by its own chance. Mutual information is spread over i / T, exactly; the released grid,
i / (T + 1) interpolated, is the schedule "mutual-information-interpolated". Perplexity per word is not computed.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from baselines.discrete import DiscreteAdapter
from baselines.engine import Diffusion
from baselines.networks.token_denoiser import TokenDenoiser
from baselines.parts.categorical import Absorbing, CategoricalKernel, Uniform
from baselines.parts.chains import DiscretisedGaussian, NearestNeighbour
from baselines.parts.clocks import Chain
from baselines.parts.complete import Complete
from baselines.parts.objectives_discrete import hybrid
from baselines.parts.samplers import Reverse, ancestral
from baselines.parts.samplers_discrete import exact_count
from baselines.parts.spaces import DiscreteSpace
from baselines.parts.timesteps import StratifiedTimes
from harness.contracts import TaskView
from harness.design import Design
from harness.schedules.base import Schedule

DEFAULTS = {
    "kernel": "absorbing", "unmasking": "independent", "width": 128, "layers": 4, "heads": 4, "chain": 1000, "neighbours": 10,
    "batch": 16, "learning_rate": 3e-3,
}  # fmt: skip
GRAPH_DIMENSIONS = 32  # of the co-occurrence embeddings under the neighbour graph
UNMASKING: dict[str, Reverse] = {"independent": ancestral, "exact-count": exact_count}


@dataclass(frozen=True, slots=True)
class Variant:
    """What a kernel brings with it.

    Attributes:
        build: makes the kernel for a task and the size keys.
        schedule: native schedule (D3PM, section 5 and appendix B).
        auxiliary: weight lambda of the cross-entropy (0 where the hybrid loss hurts: appendix B, table 5).
    """

    build: Callable[[TaskView, Mapping[str, Any]], CategoricalKernel]
    schedule: str
    auxiliary: float


def _nearest_neighbour(task: TaskView, keys: Mapping[str, Any]) -> CategoricalKernel:
    """On a random graph until the training split is seen."""
    states = len(task.tokenizer)
    placeholder = torch.randn(states, GRAPH_DIMENSIONS, generator=torch.Generator().manual_seed(0))
    counts = torch.tensor(task.unigram or [1] * states)
    return NearestNeighbour(placeholder, min(keys["neighbours"], states - 1), steps=keys["chain"], unigram=counts)


VARIANTS = {
    "absorbing": Variant(lambda task, keys: Absorbing(len(task.tokenizer)), "mutual-information", 0.01),
    "uniform": Variant(lambda task, keys: Uniform(len(task.tokenizer)), "cosine-plain@1000", 0.0),
    "gaussian": Variant(
        lambda task, keys: DiscretisedGaussian.of_length(len(task.tokenizer), keys["chain"]), "linear-beta-fixed@1000", 0.001
    ),
    "nearest-neighbour": Variant(_nearest_neighbour, "mutual-information", 0.0),
}


class D3PM(DiscreteAdapter):
    """Unconditional text by diffusion over token ids.

    Args:
        schedule: any schedule of grain "sequence".
        task: tokenizer and canvas.
        kernel: "absorbing", "uniform", "gaussian" or "nearest-neighbour".
        unmasking: "independent" or, for the absorbing kernel, "exact-count".
        width, layers, heads: of the transformer.
        chain: training steps T for schedules that do not bring their own, and steps of the kernels that own a chain, which has
            no fewer than a schedule that brings its own.
        neighbours: neighbours per token of the nearest-neighbour kernel; all others where there are fewer.
        batch: examples per update.
        learning_rate: its plateau, at width 128.
    """

    design = Design(
        name="d3pm", kind="diffusion", families=("ucg",), space="discrete", kernel="absorbing", schedule="mutual-information",
        grains=("sequence",), chain=1000, predicts="x0", posterior="joint", last_step="argmax", unmasking="independent",
        temperature=True, time_input="1000 i / T", likelihood="bound", paper="2107.03006", sampler_version=2,
    )  # fmt: skip

    defaults: ClassVar[Mapping[str, Any]] = DEFAULTS
    choices: ClassVar[Mapping[str, Collection[str]]] = {"kernel": VARIANTS, "unmasking": UNMASKING}
    sampling_keys: ClassVar[tuple[str, ...]] = ("unmasking",)

    @classmethod
    def design_for(cls, **size: Any) -> Design:
        """Design of a kernel's variant."""
        keys = cls.checked(size)
        variant, absorbing = VARIANTS[keys["kernel"]], keys["kernel"] == "absorbing"
        name = "d3pm" if absorbing else f"d3pm-{keys['kernel']}"
        return replace(
            cls.design, name=name, kernel=keys["kernel"], schedule=variant.schedule, chain=keys["chain"],
            unmasking=keys["unmasking"] if absorbing else None,
        )  # fmt: skip

    @classmethod
    def checked(cls, size: Mapping[str, Any]) -> dict[str, Any]:
        """Size keys with their defaults.

        Raises:
            ValueError: also an unmasking for a kernel without a mask, or neighbours for one without.
        """
        keys = super().checked(size)
        if keys["kernel"] != "absorbing" and keys["unmasking"] != DEFAULTS["unmasking"]:
            raise ValueError(f"unmasking {keys['unmasking']!r} needs the absorbing kernel; {keys['kernel']} has no mask")
        if keys["kernel"] != "nearest-neighbour" and keys["neighbours"] != DEFAULTS["neighbours"]:
            raise ValueError(f"neighbours {keys['neighbours']} need the nearest-neighbour kernel; {keys['kernel']} has none")
        return keys

    @classmethod
    def kernel_for(cls, task: TaskView, **size: Any) -> CategoricalKernel:
        """The kernel, which mutual-information schedules are solved for."""
        keys = cls.checked(size)
        return VARIANTS[keys["kernel"]].build(task, keys)

    @classmethod
    def network_of(cls, task: TaskView, keys: Mapping[str, Any]) -> TokenDenoiser:
        """The denoiser."""
        tokens = len(task.tokenizer)
        return TokenDenoiser(
            states=tokens + (keys["kernel"] == "absorbing"), vocabulary=tokens, length=task.max_tokens, width=keys["width"],
            layers=keys["layers"], heads=keys["heads"],
        )  # fmt: skip

    def build(self, schedule: Schedule, task: TaskView, **size: Any) -> Diffusion:
        """Put the parts together."""
        keys = self.checked(size)
        clock = Chain(schedule.steps or keys["chain"])
        kernel = VARIANTS[keys["kernel"]].build(task, {**keys, "chain": max(keys["chain"], clock.steps)})
        objective = hybrid(kernel, auxiliary=VARIANTS[keys["kernel"]].auxiliary, scale=clock.span)
        return Diffusion(
            space=DiscreteSpace(len(task.tokenizer)), kernel=kernel, schedule=Complete(schedule),
            denoiser=self.network_of(task, keys), objective=objective, times=StratifiedTimes(clock.steps),
            reverse=UNMASKING[keys["unmasking"]], clock=clock, time_input=clock.network_time,
        )  # fmt: skip
