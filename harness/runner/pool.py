"""Where stages run without Ray: one worker process that may be killed, or this very process for debugging."""

import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from multiprocessing.connection import Connection
from typing import IO, Literal, Protocol, runtime_checkable

from harness.errors import GridError
from harness.runner.hardware import available_cpus, check_machine, machine_memory
from harness.runner.stage import Stage
from harness.runner.worker import Job, Outcome, perform

STARTUP_SECONDS = 120.0
_SHORT_SECONDS, _LEARNING, _QUEUE = 0.05, 0.2, 32
_EXIT_SECONDS = 10.0
_BOOT = """
import sys
sys.path[:] = {path!r}
from harness.runner.serve import serve
serve({descriptor})
"""


@runtime_checkable
class Pool(Protocol):
    """Takes jobs and gives outcomes; every deadline is the pool's own."""

    def check(self, stages: Iterable[Stage]) -> None:
        """Raise `GridError` where a stage asks for what is nowhere to be had."""
        ...

    def reach(self, store: str) -> None:
        """Raise `StoreError` where a node does not see the store."""
        ...

    def offer(self, job: Job) -> bool:
        """Take a job if there is room for it now."""
        ...

    def make_room(self, job: Job) -> None:
        """Take nothing more where an exclusive job shall run, until it does."""
        ...

    def collect(self, timeout: float) -> list[Outcome]:
        """Outcomes that have come in, waiting at most so many seconds for the first."""
        ...

    def close(self) -> None:
        """Stop everything that runs."""
        ...


class InProcessPool:
    """Does each job at once in this process: for debuggers. Nothing can stop a job that hangs."""

    def __init__(self) -> None:
        self._outcomes: list[Outcome] = []

    def check(self, stages: Iterable[Stage]) -> None:
        """See `Pool`."""
        check_machine(stages, cpus=available_cpus(), memory=machine_memory())

    def reach(self, store: str) -> None:
        """The driver's own machine sees it."""

    def offer(self, job: Job) -> bool:
        """See `Pool`."""
        if self._outcomes:
            return False
        self._outcomes.append(perform(job))
        return True

    def make_room(self, job: Job) -> None:
        """One job at a time is always alone."""

    def collect(self, timeout: float) -> list[Outcome]:
        """See `Pool`."""
        found, self._outcomes = self._outcomes, []
        return found

    def close(self) -> None:
        """Nothing runs."""

    def __enter__(self) -> "InProcessPool":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class SerialPool:
    """One worker process, kept warm between jobs, killed and replaced at a deadline or when it dies.

    While stages are short a few wait at the worker's door, so that it never waits for the driver or for the disk.
    """

    def __init__(self) -> None:
        self._worker: _Worker | None = None
        self._jobs: dict[str, Job] = {}
        self._current: tuple[str, float] | None = None
        self._usual_seconds = 1.0
        self._closed = False

    def check(self, stages: Iterable[Stage]) -> None:
        """See `Pool`."""
        check_machine(stages, cpus=available_cpus(), memory=machine_memory())

    def reach(self, store: str) -> None:
        """The driver's own machine sees it."""

    def offer(self, job: Job) -> bool:
        """See `Pool`."""
        if self._jobs and not self._may_queue(job):
            return False
        self._closed = False
        self._jobs[job.stage.key] = job
        self._started().send(job)
        return True

    def make_room(self, job: Job) -> None:
        """See `Pool`."""
        self._closed = True

    def _may_queue(self, job: Job) -> bool:
        alone = job.stage.exclusive or any(waiting.stage.exclusive for waiting in self._jobs.values())
        return not alone and not self._closed and self._usual_seconds < _SHORT_SECONDS and len(self._jobs) < _QUEUE

    def _started(self) -> "_Worker":
        if self._worker is None:
            self._worker = _Worker()
        return self._worker

    def collect(self, timeout: float) -> list[Outcome]:
        """See `Pool`."""
        if not self._jobs:
            return []
        until, outcomes = time.monotonic() + timeout, list[Outcome]()
        while not outcomes and self._started().poll(self._patience(until)):
            outcomes = self._heard()
        if not outcomes and self._late():
            return self._replace("late")
        if not outcomes and self._started().ended() and not self._started().poll(0):
            return self._replace("lost")
        return outcomes

    def _patience(self, until: float) -> float:
        return max(0.0, min(until, self._deadline()) - time.monotonic())

    def _deadline(self) -> float:
        if self._current is None or self._current[0] not in self._jobs:
            return math.inf
        key, since = self._current
        return since + self._jobs[key].stage.limits.seconds

    def _late(self) -> bool:
        return time.monotonic() >= self._deadline()

    def _heard(self) -> list[Outcome]:
        """Everything that the worker has said by now."""
        worker = self._started()
        outcomes: list[Outcome] = []
        while worker.poll(0):
            message = worker.receive()
            if message is None:
                return [*outcomes, *self._replace("lost")]
            if isinstance(message, Outcome):
                del self._jobs[message.key]
                self._usual_seconds += _LEARNING * (message.seconds - self._usual_seconds)
                outcomes.append(message)
            else:
                self._current = str(message), time.monotonic()
        return outcomes

    def _replace(self, status: Literal["late", "lost"]) -> list[Outcome]:
        """Give up the job that was running and hand the others to a new worker; what is committed is not done again."""
        key, since = self._current or ("", 0.0)
        worker = self._started()
        last_words = worker.last_words() if status == "lost" else ""
        worker.kill()
        self._worker = self._current = None
        job = self._jobs.pop(key, None)
        self._usual_seconds = 1.0
        for waiting in self._jobs.values():
            self._started().send(waiting)
        if job is None:
            return []
        message = late_message(job.stage) if status == "late" else f"the worker process died: {last_words}"
        return [Outcome(key, status, time.monotonic() - since, message)]

    def close(self) -> None:
        """See `Pool`."""
        if self._worker is not None:
            self._worker.kill()
        self._worker, self._jobs = None, {}

    def __enter__(self) -> "SerialPool":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def late_message(stage: Stage) -> str:
    """What the record of a stage that was killed at its deadline says."""
    seconds = stage.limits.seconds
    return f"not finished after {seconds:g} s and killed; if that is too short raise limits: {{{stage.kind}: {{seconds: ...}}}}"


class _Worker:
    """A process that serves jobs over a socket pair."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        code = _BOOT.format(path=sys.path, descriptor=theirs.fileno())
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", code], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
            stdout=self._log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        theirs.close()
        self._connection = Connection(ours.detach())
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        if not self._connection.poll(STARTUP_SECONDS) or self.receive() != "ready":
            last_words = self.last_words()
            self.kill()
            raise GridError(f"the worker process does not start: {last_words}")

    def send(self, job: Job) -> None:
        try:
            self._connection.send(job)
        except (BrokenPipeError, ConnectionResetError):
            return  # `receive` will find it dead

    def poll(self, timeout: float) -> bool:
        return self._connection.poll(timeout)

    def receive(self) -> object:
        """The next message; `None` when the process is gone."""
        try:
            return self._connection.recv()
        except (EOFError, ConnectionResetError):
            return None

    def ended(self) -> bool:
        """Whether the process is gone, also where a child that it forked keeps the socket open."""
        return self._process.poll() is not None

    def last_words(self) -> str:
        """Exit status of a process that has hung up, and the end of what it wrote."""
        exited = self._reaped()
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - 2000))
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        ending = "killed" if exited is None else _ending(exited)
        return f"{ending}; it wrote: {' | '.join(lines[-4:])}" if lines else ending

    def kill(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._connection.close()
        self._log.close()

    def _reaped(self) -> int | None:
        try:
            return self._process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            return None


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
