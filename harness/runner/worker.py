"""The process that does stages: opens the store, runs the function, commits the record before it says that it is done."""

import fcntl
import importlib
import os
import platform
import random
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Literal

from harness.contracts import stream_seed
from harness.errors import told
from harness.runner.artefacts import DATA, MODELS, Work
from harness.runner.hardware import out_of_memory
from harness.runner.stage import Stage
from harness.tracking.records import Record, Store

DIVISIBLE = ("fit", "generate")
_NAP_SECONDS = 0.5
_COMPILED_SHAPES = 32


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

    @property
    def micro_batch(self) -> int:
        """What goes through a network at once."""
        return max(1, self.stage.resources.micro_batch >> self.shrink)

    @property
    def divisible(self) -> bool:
        """Whether the stage takes less memory with half the micro-batch; a plug-in's own kind may."""
        return self.micro_batch > 1 and (self.stage.kind in DIVISIBLE or ":" in self.stage.kind)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job.

    Attributes:
        status: "memory" when memory ran out, "lost" when the worker died, "late" when it was killed at its deadline, "displaced"
            when its node was gone before it began, "busy" when another driver holds its lock.
        message: one line; `None` when done. What UTF-8 cannot hold is escaped, as in the traceback.
    """

    key: str
    status: Literal["done", "failed", "memory", "lost", "late", "displaced", "busy"]
    seconds: float
    message: str | None = None
    traceback: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", _writable(self.message))
        object.__setattr__(self, "traceback", _writable(self.traceback))


def _writable(text: str | None) -> str | None:
    return None if text is None else text.encode(errors="backslashreplace").decode()


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
    """Import what nearly every stage needs, so that no stage's deadline pays for it; before torch, bound what it may hold.

    oneDNN keeps what it compiles for each of the last 1,024 shapes. Samplers that ask for fewer positions in every step have a
    shape a step, and what is kept between tensors that come and go leaves memory in pieces: a thousand steps held gigabytes.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(_COMPILED_SHAPES))
    importlib.import_module("torch")
    importlib.import_module("harness.runner.stages")


def perform(job: Job) -> Outcome:
    """Do a stage and commit its record; no exception of a plug-in gets out."""
    made = attempt(job)
    return made.commit() if isinstance(made, Uncommitted) else made


def attempt(job: Job) -> Outcome | Uncommitted:
    """Do a stage up to its record, so that several records can be synced to disk at once.

    Trainings and exclusive stages, which hold a lock until they are done, commit here. Where another driver holds it nothing
    waits, lest the wait counts against a deadline: the driver offers the job again.
    """
    started = time.perf_counter()
    try:
        store = opened(job.store)
        if not _locked(job.stage):
            return _attempt(job, store, started)
        with _held(_lock_of(store, job.stage)) as held:
            if held:
                return _committed(job, store, started)
        time.sleep(_NAP_SECONDS)
        return Outcome(job.stage.key, "busy", time.perf_counter() - started)
    except Exception as error:
        MODELS.clear()
        DATA.clear()
        return _unsuccessful(job.stage.key, error, started)


def _unsuccessful(key: str, error: Exception, started: float) -> Outcome:
    message = told(error)
    status: Literal["memory", "failed"] = "memory" if out_of_memory(error) else "failed"
    return Outcome(key, status, time.perf_counter() - started, message, traceback.format_exc())


def _committed(job: Job, store: Store, started: float) -> Outcome:
    made = _attempt(job, store, started)
    outcome = made.commit() if isinstance(made, Uncommitted) else made
    if job.stage.kind == "fit" and outcome.status == "done":
        store.forget_checkpoints(job.stage.key)
    return outcome


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
    threads = job.stage.spec.get("numerics", {}).get("threads", max(1, int(resources.cpus)))
    if ":" not in job.stage.kind:
        _set_up_torch(threads, stream_seed(int(job.stage.spec.get("seed", 0)), job.stage.kind))
    return Work(job.stage, store, _device(resources.gpus), threads, job.micro_batch, job.shrink)


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


@contextmanager
def _held(lock: Path) -> Iterator[bool]:
    """Holds a lock that all users of the machine share, or tells that somebody else does."""
    descriptor = _opened_lock(lock)
    held = False
    try:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = True
        yield held
    finally:
        if held:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing is not enough where a forked child lives
        os.close(descriptor)


def _opened_lock(lock: Path) -> int:
    while True:
        with suppress(FileNotFoundError):  # O_CREAT on what another user made is refused by fs.protected_regular
            return os.open(lock, os.O_RDWR | os.O_NOFOLLOW)
        lock.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError, FileNotFoundError):
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            os.fchmod(descriptor, 0o666)
            return descriptor


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
