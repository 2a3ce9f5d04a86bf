"""What a plan will cost, roughly: the order of magnitude, from budgets and a stated machine speed."""

from collections.abc import Container, Iterable
from dataclasses import dataclass

from harness.metrics.profiles import profile
from harness.runner.stage import Stage

CPU_FLOPS = 2e10  # per thread: a plain matmul-bound training step, single precision
GPU_FLOPS = 5e13
USUAL_PARAMETERS = 1_000_000
USUAL_TOKENS = 32  # length of a text
USUAL_LARGEST = 256  # requests that a GPU's memory holds
_STAGE_SECONDS = 2.0
_CALL_SECONDS = 1e-3  # what one network call costs beside its arithmetic
_WARMUP_CALLS = 6
_PROCESS_GIB = 0.6  # a process that has loaded torch
_BYTES_PER_PARAMETER = 16  # weights, gradient and two moments of Adam


@dataclass(frozen=True, slots=True)
class Estimate:
    """Rough cost of the stages that are left.

    Attributes:
        trainings: fit stages that train; models that only count are none.
        tokens: canvas positions to be trained on.
        seconds: if done one after the other.
        memory: GiB of the largest stage.
    """

    trainings: int
    tokens: int
    seconds: float
    memory: float


def estimate(stages: Iterable[Stage], counted: Container[str] = ()) -> Estimate:
    """Add up stages: training by positions, latency passes by network calls, a fixed time for every other stage.

    Args:
        stages: what is left to be done.
        counted: keys of fit stages of models without training, which cost the fixed time too.
    """
    listed = list(stages)
    fits = [stage for stage in listed if stage.kind == "fit" and stage.key not in counted]
    parameters = {stage.key: _parameters(stage) for stage in fits}
    seconds = sum(
        _training_seconds(stage) if stage.key in parameters
        else _seconds(stage, parameters.get(stage.inputs.get("fit", ""), USUAL_PARAMETERS))
        for stage in listed
    )  # fmt: skip
    tokens = sum(stage.spec["budget"]["tokens"] for stage in fits)
    largest = max(parameters.values(), default=0)
    return Estimate(len(fits), tokens, seconds, _PROCESS_GIB + largest * _BYTES_PER_PARAMETER / 2**30)


def _parameters(stage: Stage) -> int:
    return stage.spec["budget"]["parameters"] or USUAL_PARAMETERS


def _training_seconds(stage: Stage) -> float:
    return _STAGE_SECONDS + 6.0 * _parameters(stage) * stage.spec["budget"]["tokens"] / _speed(stage)


def _seconds(stage: Stage, parameters: int) -> float:
    return _STAGE_SECONDS + (_time_seconds(stage, parameters) if stage.kind == "time" else 0.0)


def _speed(stage: Stage) -> float:
    """FLOPs per second."""
    resources = stage.resources
    return GPU_FLOPS * min(resources.gpus, 1.0) if resources.gpus else CPU_FLOPS * resources.cpus


def _time_seconds(stage: Stage, parameters: int) -> float:
    """Batch 1 at both lengths and the larger one, warm-up included, until each has its requests and the slower its seconds."""
    spec, sizes = stage.spec, profile(stage.spec["profile"])
    calls = sizes.latency_requests + _WARMUP_CALLS
    seconds = 0.0
    batched = spec["batch"] if isinstance(spec["batch"], int) else USUAL_LARGEST
    for batch in (1, batched, 1):
        jobs = batch * max(spec["candidates"], spec["sampling"]["beams"])
        candidate = _generate_seconds(stage, spec["sampling"]["steps"], jobs, parameters)
        baseline = _generate_seconds(stage, None, jobs, parameters)
        others = [baseline for role in ("baseline", "best_baseline") if spec.get(role)]
        seconds += (candidate + sum(others)) * max(calls, sizes.latency_seconds / max(candidate, *others, 0.0))
    return seconds


def _generate_seconds(stage: Stage, steps: int | None, jobs: int, parameters: int) -> float:
    """One call of `generate`: steps over whole canvases, or one position after the other."""
    calls, positions = (steps, USUAL_TOKENS) if steps else (USUAL_TOKENS, 1)
    return calls * (_CALL_SECONDS + 2.0 * parameters * positions * jobs / _speed(stage))
