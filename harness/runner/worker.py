"""The process that does stages: opens the store, runs the function, commits the record before it says that it is done."""

import fcntl
import importlib
import os
import platform
import random
import sys
import time
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from tempfile import gettempdir
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
        status: "memory" when memory ran out, "lost" when the worker died, "late" when it was killed at its deadline, "displaced"
            when its node was gone before it began.
        message: one line; `None` when done.
    """

    key: str
    status: Literal["done", "failed", "memory", "lost", "late", "displaced"]
    seconds: float
    message: str | None = None
    traceback: str | None = None


@dataclass(frozen=True, slots=True)
class Uncommitted:
    """A stage that is computed but has no record yet: not done."""

    store: Store
    record: Record
    started: float

    def commit(self) -> Outcome:
        """Write the record; only now is the stage done."""
        try:
            self.store.commit(self.record)
        except Exception as error:
            return _unsuccessful(self.record.key, error, self.started)
        return Outcome(self.record.key, "done", time.perf_counter() - self.started)


def warm_up() -> None:
    """Import what nearly every stage needs, so that no stage's deadline pays for it."""
    importlib.import_module("torch")
    importlib.import_module("harness.runner.stages")


def perform(job: Job) -> Outcome:
    """Do a stage and commit its record; no exception of a plug-in gets out."""
    made = attempt(job)
    return made.commit() if isinstance(made, Uncommitted) else made


def attempt(job: Job) -> Outcome | Uncommitted:
    """Do a stage up to its record, so that several records can be synced to disk at once.

    Trainings and exclusive stages, which hold a lock until they are done, commit here.
    """
    started = time.perf_counter()
    try:
        store = opened(job.store)
        if not _locked(job.stage):
            return _attempt(job, store, started)
        with open(_lock_of(store, job.stage), "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            made = _attempt(job, store, started)
            outcome = made.commit() if isinstance(made, Uncommitted) else made
            if job.stage.kind == "fit":
                store.forget_checkpoints(job.stage.key)
            return outcome
    except Exception as error:
        MODELS.clear()
        DATA.clear()
        return _unsuccessful(job.stage.key, error, started)


def _unsuccessful(key: str, error: Exception, started: float) -> Outcome:
    message = f"{type(error).__name__}: {error}"
    status: Literal["memory", "failed"] = "memory" if _out_of_memory(error) else "failed"
    return Outcome(key, status, time.perf_counter() - started, message, traceback.format_exc())


def _out_of_memory(error: Exception) -> bool:
    torch = sys.modules.get("torch")
    return isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError))


def _attempt(job: Job, store: Store, started: float) -> Outcome | Uncommitted:
    from harness.runner.stages import function_of

    stage, begun = job.stage, datetime.now(UTC).isoformat(timespec="seconds")
    if store.has(stage.key):
        return Outcome(stage.key, "done", time.perf_counter() - started)
    work = _work(job, store)
    made = function_of(stage.kind)(work)
    record = Record(
        key=stage.key, kind=stage.kind, status="done", spec=stage.spec, inputs=stage.inputs, result=made.result,
        blobs=made.blobs, seconds=time.perf_counter() - started, attempts=job.attempts,
        environment={**environment(work.device, work.threads), "started": begun},
    )  # fmt: skip
    return Uncommitted(store, record, started)


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


def _locked(stage: Stage) -> bool:
    """Whether a second driver on this machine must wait: it would train into the same checkpoint, or disturb a timing."""
    return stage.kind == "fit" or stage.exclusive


def _lock_of(store: Store, stage: Stage) -> Path:
    return _device_lock() if stage.exclusive else store.checkpoints(stage.key) / ".lock"


def _device_lock() -> Path:
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
