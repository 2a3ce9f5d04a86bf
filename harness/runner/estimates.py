"""What a plan will cost, roughly: the order of magnitude, from budgets and a stated machine speed."""

from collections.abc import Iterable
from dataclasses import dataclass

from harness.runner.stage import Stage

CPU_FLOPS = 2e10  # per thread: a plain matmul-bound training step, single precision
GPU_FLOPS = 5e13
USUAL_PARAMETERS = 1_000_000
_STAGE_SECONDS = 2.0
_PROCESS_GIB = 0.6  # a process that has loaded torch
_BYTES_PER_PARAMETER = 16  # weights, gradient and two moments of Adam


@dataclass(frozen=True, slots=True)
class Estimate:
    """Rough cost of the stages that are left.

    Attributes:
        trainings: fit stages.
        tokens: canvas positions to be trained on.
        seconds: if done one after the other.
        memory: GiB of the largest stage.
    """

    trainings: int
    tokens: int
    seconds: float
    memory: float


def estimate(stages: Iterable[Stage]) -> Estimate:
    """Add up stages: 6 FLOPs per parameter and training position, a fixed time for every other stage."""
    listed = list(stages)
    fits = [stage for stage in listed if stage.kind == "fit"]
    seconds = sum(_fit_seconds(stage) for stage in fits) + _STAGE_SECONDS * (len(listed) - len(fits))
    largest = max((_parameters(stage) for stage in fits), default=0)
    tokens = sum(stage.spec["budget"]["tokens"] for stage in fits)
    return Estimate(len(fits), tokens, seconds, _PROCESS_GIB + largest * _BYTES_PER_PARAMETER / 2**30)


def _parameters(stage: Stage) -> int:
    return stage.spec["budget"]["parameters"] or USUAL_PARAMETERS


def _fit_seconds(stage: Stage) -> float:
    resources = stage.resources
    speed = GPU_FLOPS * min(resources.gpus, 1.0) if resources.gpus else CPU_FLOPS * resources.cpus
    return _STAGE_SECONDS + 6.0 * _parameters(stage) * stage.spec["budget"]["tokens"] / speed
