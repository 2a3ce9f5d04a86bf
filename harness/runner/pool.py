"""Where stages run without Ray: one worker process that may be killed, or this very process for debugging."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from multiprocessing.connection import Connection
from typing import IO, Protocol, Self

from harness.errors import GridError
from harness.runner.hardware import available_cpus, check_machine, machine_memory
from harness.runner.stage import Stage
from harness.runner.worker import Job, Outcome, perform

STARTUP_SECONDS = 120.0
_BOOT = """
import sys
sys.path[:] = {path!r}
from harness.runner.serve import serve
serve({descriptor})
"""


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

    def collect(self, timeout: float) -> list[Outcome]:
        """See `Pool`."""
        found, self._outcomes = self._outcomes, []
        return found

    def close(self) -> None:
        """Nothing runs."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class SerialPool:
    """One worker process, kept warm between jobs, killed and replaced at a deadline or when it dies."""

    def __init__(self) -> None:
        self._worker: _Worker | None = None
        self._job: Job | None = None
        self._since = 0.0

    def check(self, stages: Iterable[Stage]) -> None:
        """See `Pool`."""
        check_machine(stages, cpus=available_cpus(), memory=machine_memory())

    def reach(self, store: str) -> None:
        """The driver's own machine sees it."""

    def offer(self, job: Job) -> bool:
        """See `Pool`."""
        if self._job is not None:
            return False
        if self._worker is None:
            self._worker = _Worker()
        self._job, self._since = job, time.monotonic()
        self._worker.send(job)
        return True

    def collect(self, timeout: float) -> list[Outcome]:
        """See `Pool`."""
        if self._job is None or self._worker is None:
            return []
        left = self._since + self._job.stage.limits.seconds - time.monotonic()
        if not self._worker.poll(max(0.0, min(timeout, left))):
            return [self._abandoned("late")] if timeout >= left else []
        outcome = self._worker.receive()
        if outcome is None:
            return [self._abandoned("lost")]
        self._job = None
        return [outcome]

    def _abandoned(self, status: str) -> Outcome:
        assert self._job is not None
        assert self._worker is not None
        last_words = self._worker.kill()
        self._worker, job, self._job = None, self._job, None
        seconds = time.monotonic() - self._since
        message = late_message(job.stage) if status == "late" else f"the worker process died: {last_words}"
        return Outcome(job.stage.key, "late" if status == "late" else "lost", seconds, message)

    def close(self) -> None:
        """See `Pool`."""
        if self._worker is not None:
            self._worker.kill()
        self._worker = self._job = None

    def __enter__(self) -> Self:
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
        if not self._connection.poll(STARTUP_SECONDS) or self.receive_raw() != "ready":
            raise GridError(f"the worker process does not start: {self.kill()}")

    def send(self, job: Job) -> None:
        try:
            self._connection.send(job)
        except (BrokenPipeError, ConnectionResetError):
            return  # `receive` will find it dead

    def poll(self, timeout: float) -> bool:
        return self._connection.poll(timeout)

    def receive(self) -> Outcome | None:
        received = self.receive_raw()
        return received if isinstance(received, Outcome) else None

    def receive_raw(self) -> object:
        try:
            return self._connection.recv()
        except (EOFError, ConnectionResetError):
            return None

    def kill(self) -> str:
        """End the process; its exit status and last words."""
        exited = self._reaped()
        self._process.kill()
        self._process.wait()
        self._connection.close()
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - 2000))
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        self._log.close()
        ending = "killed" if exited is None else _ending(exited)
        return f"{ending}; it wrote: {' | '.join(lines[-4:])}" if lines else ending

    def _reaped(self) -> int | None:
        try:
            return self._process.wait(0.2)
        except subprocess.TimeoutExpired:
            return None


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
