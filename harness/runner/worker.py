"""The process that does stages: opens the store, runs the function, commits the record before it says that it is done."""

import contextlib
import fcntl
import os
import platform
import random
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import Any, Literal

from harness.contracts import stream_seed
from harness.runner.artefacts import DATA, MODELS, Work
from harness.runner.stage import Stage
from harness.tracking.records import Record, Store


@dataclass(frozen=True, slots=True)
class Job:
    """A stage on its way to a worker.

    Attributes:
        store: address of the store.
        shrink: how often the micro-batch is halved.
        attempts: what was tried before, for the record.
    """

    stage: Stage
    store: str
    shrink: int = 0
    attempts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job.

    Attributes:
        status: "memory" when memory ran out, "lost" when the worker died, "late" when it was killed at its deadline.
        message: one line; `None` when done.
    """

    key: str
    status: Literal["done", "failed", "memory", "lost", "late"]
    seconds: float
    message: str | None = None
    traceback: str | None = None


def perform(job: Job) -> Outcome:
    """Do a stage and commit its record; no exception of a plug-in gets out."""
    started = time.perf_counter()
    try:
        _perform(job)
    except Exception as error:
        MODELS.clear()
        DATA.clear()
        message = f"{type(error).__name__}: {error}"
        status: Literal["memory", "failed"] = "memory" if _out_of_memory(error) else "failed"
        return Outcome(job.stage.key, status, time.perf_counter() - started, message, traceback.format_exc())
    return Outcome(job.stage.key, "done", time.perf_counter() - started)


def _out_of_memory(error: Exception) -> bool:
    torch = sys.modules.get("torch")
    return isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError))


def _perform(job: Job) -> None:
    from harness.runner.stages import function_of

    store, stage = opened(job.store), job.stage
    with _alone(store, stage):
        if store.record(stage.key) is not None:
            return
        started, begun = time.perf_counter(), datetime.now(UTC).isoformat(timespec="seconds")
        work = _work(job, store)
        made = function_of(stage.kind)(work)
        record = Record(
            key=stage.key, kind=stage.kind, status="done", spec=stage.spec, inputs=stage.inputs, result=made.result,
            blobs=made.blobs, seconds=time.perf_counter() - started, attempts=job.attempts,
            environment={**environment(work.device, work.threads), "started": begun},
        )  # fmt: skip
        store.commit(record)
        if stage.kind == "fit":
            store.forget_checkpoints(stage.key)


def _work(job: Job, store: Store) -> Work:
    resources = job.stage.resources
    threads = max(1, int(resources.cpus))
    if ":" not in job.stage.kind:
        _set_up_torch(threads, stream_seed(int(job.stage.spec.get("seed", 0)), job.stage.kind))
    micro_batch = max(1, resources.micro_batch >> job.shrink)
    return Work(job.stage, store, _device(resources.gpus), threads, micro_batch, job.shrink)


def _set_up_torch(threads: int, seed: int) -> None:
    import numpy as np
    import torch

    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _device(gpus: float) -> str:
    if not gpus:
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


@contextlib.contextmanager
def _alone(store: Store, stage: Stage) -> Iterator[None]:
    """Keep a second driver on this machine from training into the same checkpoint, or from timing at the same time."""
    if stage.kind == "fit":
        path = store.checkpoints(stage.key) / ".lock"
    elif stage.exclusive:
        path = _device_lock()
    else:
        yield
        return
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _device_lock() -> Any:
    from pathlib import Path
    from tempfile import gettempdir

    device = os.environ.get("CUDA_VISIBLE_DEVICES") or "cpu"
    return Path(gettempdir()) / f"harness-latency-{device.replace(',', '-')}.lock"


@cache
def opened(address: str) -> Store:
    """The store of this process at an address."""
    return Store(address)


@cache
def environment(device: str, threads: int) -> dict[str, Any]:
    """What a number may depend on beside its key: machine, versions, device, threads."""
    found = {"host": platform.node(), "platform": platform.platform(), "python": platform.python_version()}
    found |= {"harness": version("text-diffusion-harness"), "device": device}
    torch = sys.modules.get("torch")
    if torch is not None:
        found["torch"] = str(torch.__version__)
    if torch is not None and device == "cuda":
        found["gpu"] = torch.cuda.get_device_name()
    return {**found, "threads": threads}
