"""Stages as Ray tasks: on this machine, or on a cluster by its address. The only file that imports ray.

Ray retries nothing here and decides nothing: the driver places each stage on a node where it fits now, so that a stage
starts when it is submitted, quality stages share GPUs, and an exclusive stage gets a node that was drained for it.
"""

import math
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from harness.errors import GridError, StoreError
from harness.grid.schema import Resources
from harness.runner.hardware import available_cpus, fingerprint
from harness.runner.pool import late_message
from harness.runner.stage import Stage
from harness.runner.worker import Job, Outcome, perform, warm_up

WINDOW = 256
GRACE_SECONDS = 60.0  # for a worker to start; the worker itself keeps the deadline from its start
_REFRESH_SECONDS = 2.0
CONNECT_SECONDS = 30.0
_OBJECT_STORE_BYTES = 200_000_000
_TINY = 1e-9
_CONNECT = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False, logging_level='ERROR')"


@dataclass
class Node:
    """What the driver knows of a node.

    Attributes:
        cpus, memory: what is free; memory in GiB.
        gpus: the free share of each device.
        running: keys of the stages on it.
        closed: an exclusive stage runs there, or waits for it to drain.
    """

    id: str
    total_cpus: float
    total_gpus: int
    total_memory: float
    cpus: float = 0.0
    memory: float = 0.0
    gpus: list[float] = field(default_factory=list)
    running: set[str] = field(default_factory=set)
    closed: bool = False

    def __post_init__(self) -> None:
        self.cpus, self.memory, self.gpus = self.total_cpus, self.total_memory, [1.0] * self.total_gpus

    def could(self, wanted: Resources) -> bool:
        """Whether the node, empty, has what is wanted."""
        whole = wanted.gpus <= 1 or wanted.gpus == int(wanted.gpus)
        enough = wanted.cpus <= self.total_cpus and math.ceil(wanted.gpus) <= self.total_gpus
        return whole and enough and (wanted.memory or 0.0) <= self.total_memory

    def devices_for(self, gpus: float) -> list[tuple[int, float]] | None:
        """(device, share) that a request would take now, fullest device first; `None` where it does not fit."""
        if gpus <= 1:
            fitting = [index for index, free in enumerate(self.gpus) if free >= gpus - _TINY]
            return [] if not gpus else [(min(fitting, key=lambda index: self.gpus[index]), gpus)] if fitting else None
        idle = [index for index, free in enumerate(self.gpus) if free >= 1 - _TINY]
        return [(index, 1.0) for index in idle[: int(gpus)]] if len(idle) >= gpus else None

    def fits(self, wanted: Resources) -> bool:
        """Whether there is room now."""
        room = wanted.cpus <= self.cpus + _TINY and (wanted.memory or 0.0) <= self.memory + _TINY
        return not self.closed and room and self.devices_for(wanted.gpus) is not None


@dataclass(frozen=True)
class _Running:
    """A submitted job and what it holds."""

    job: Job
    node: Node
    taken: tuple[float, float, tuple[tuple[int, float], ...]]
    since: float


class RayPool:
    """Runs stages on a local Ray or on a cluster.

    Args:
        address: of a cluster ("auto", "ray://host:10001", "10.0.0.1:6379"); `None` starts Ray here.
        num_cpus: of a local Ray; by default what this process may use.

    Raises:
        GridError: no cluster answers at the address.
    """

    def __init__(self, address: str | None = None, *, num_cpus: int | None = None) -> None:
        self._address, self._ours = address, False
        self._temporary: str | None = None
        self._connect(num_cpus)
        import ray

        self._ray = ray
        self._reusing = ray.remote(max_retries=0, max_calls=0)(perform_on_node)
        self._fresh = ray.remote(max_retries=0, max_calls=1)(perform_on_node)
        self._nodes: dict[str, Node] = {}
        self._running: dict[Any, _Running] = {}
        self._cancelled: set[str] = set()
        self._refreshed = -math.inf
        self._refresh()

    def _connect(self, num_cpus: int | None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
        import ray

        if ray.is_initialized():
            return
        self._ours = True
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if self._address is not None:
            _check_reachable(self._address)
            ray.init(address=self._address, **quiet)
            return
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        self._temporary = tempfile.mkdtemp(prefix="hray-")
        ray.init(
            address="local", num_cpus=num_cpus or available_cpus(), include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES, _temp_dir=self._temporary, **quiet,
        )  # fmt: skip

    def _refresh(self) -> None:
        """Learn of nodes that came or went."""
        if time.monotonic() - self._refreshed < _REFRESH_SECONDS:
            return
        self._refreshed = time.monotonic()
        alive = {item["NodeID"]: item["Resources"] for item in self._ray.nodes() if item["Alive"]}
        for gone in self._nodes.keys() - alive.keys():
            del self._nodes[gone]
        for identity in alive.keys() - self._nodes.keys():
            has = alive[identity]
            node = Node(identity, has.get("CPU", 0.0), int(has.get("GPU", 0)), has.get("memory", 0.0) / 2**30)
            self._nodes[identity] = node

    def check(self, stages: Iterable[Stage]) -> None:
        """Refuse stages that no node could take, and a store that a node does not reach.

        Raises:
            GridError: names the kind, what it asks for and what the nodes have.
            StoreError: names the node.
        """
        for kind, wanted in {stage.kind: stage.resources for stage in stages}.items():
            if not any(node.could(wanted) for node in self._nodes.values()):
                asked = wanted.model_dump(exclude={"micro_batch"}, exclude_none=True)
                there = [f"cpus {n.total_cpus:g}, gpus {n.total_gpus}, memory {n.total_memory:.1f}" for n in self._nodes.values()]
                raise GridError(f"resources: a {kind} stage asks for {asked}, but no node has that: {'; '.join(there)}.")

    def reach(self, store: str) -> None:
        """Make sure that every node reads what this driver writes.

        Raises:
            StoreError: one does not.
        """
        if self._temporary is not None:
            return
        from harness.tracking.records import Store

        digest = Store(store).put(b"reached")
        for identity in self._nodes:
            if not self._ray.get(self._on(identity, reaches, store, digest)):
                raise StoreError(f"node {identity[:12]} does not see store {store}; name a shared folder or an fsspec address.")

    def hardware(self, wanted: Resources) -> str:
        """Fingerprint of the nodes on which latencies would be measured."""
        able = [identity for identity, node in self._nodes.items() if node.could(wanted)]
        return "+".join(sorted(set(self._ray.get([self._on(identity, fingerprint, wanted.gpus) for identity in able]))))

    def _on(self, node: str, function: Any, *arguments: Any) -> Any:
        return (
            self._ray.remote(max_retries=0, num_cpus=0)(function).options(scheduling_strategy=_affinity(node)).remote(*arguments)
        )

    def offer(self, job: Job) -> bool:
        """See `Pool`."""
        self._refresh()
        if len(self._running) >= WINDOW:
            return False
        wanted = job.stage.resources
        node = self._idle_node(wanted) if job.stage.exclusive else self._node_with_room(wanted)
        if node is None:
            return False
        self._submit(job, node)
        return True

    def _node_with_room(self, wanted: Resources) -> Node | None:
        fitting = [node for node in self._nodes.values() if node.fits(wanted)]
        plain = [node for node in fitting if not node.total_gpus] if not wanted.gpus else []
        return min(plain or fitting, key=lambda node: node.cpus, default=None)

    def _idle_node(self, wanted: Resources) -> Node | None:
        return next((node for node in self._nodes.values() if node.could(wanted) and not node.running), None)

    def make_room(self, job: Job) -> None:
        """Close the least busy node that could take an exclusive job, so that it drains."""
        able = [node for node in self._nodes.values() if node.could(job.stage.resources)]
        if able and not any(node.closed for node in able):
            min(able, key=lambda node: len(node.running)).closed = True

    def _submit(self, job: Job, node: Node) -> None:
        wanted, exclusive = job.stage.resources, job.stage.exclusive
        cpus = node.total_cpus if exclusive else wanted.cpus
        gpus = float(node.total_gpus) if exclusive and wanted.gpus else wanted.gpus
        devices, memory = node.devices_for(gpus) or [], wanted.memory or 0.0
        node.closed = exclusive
        node.cpus, node.memory = node.cpus - cpus, node.memory - memory
        for index, share in devices:
            node.gpus[index] -= share
        node.running.add(job.stage.key)
        options = {
            "num_cpus": cpus,
            "num_gpus": gpus,
            "memory": memory * 2**30 or None,
            "scheduling_strategy": _affinity(node.id),
        }
        # a process that has opened one device cannot be moved to another, so workers are only reused where there is no other
        function = self._fresh if gpus and node.total_gpus > 1 else self._reusing
        reference = function.options(**options).remote(job)
        self._running[reference] = _Running(job, node, (cpus, memory, tuple(devices)), time.monotonic())

    def collect(self, timeout: float) -> list[Outcome]:
        """See `Pool`."""
        if not self._running:
            return []
        self._cancel_late()
        references = list(self._running)
        ready, _ = self._ray.wait(references, num_returns=1, timeout=timeout)
        if ready:
            ready, _ = self._ray.wait(references, num_returns=len(references), timeout=0)
        return [self._settled(reference) for reference in ready]

    def _cancel_late(self) -> None:
        now = time.monotonic()
        for reference, running in self._running.items():
            key = running.job.stage.key
            if now - running.since > running.job.stage.limits.seconds + GRACE_SECONDS and key not in self._cancelled:
                self._cancelled.add(key)
                self._ray.cancel(reference, force=True)

    def _settled(self, reference: Any) -> Outcome:
        running = self._running.pop(reference)
        self._free(running)
        stage, seconds = running.job.stage, time.monotonic() - running.since
        try:
            return cast(Outcome, self._ray.get(reference))
        except self._ray.exceptions.OutOfMemoryError as error:
            status: Literal["memory", "lost"] = "memory" if running.job.divisible else "lost"
            return Outcome(stage.key, status, seconds, f"killed by Ray, out of memory: {_first_line(error)}")
        except self._ray.exceptions.RayTaskError as error:
            return Outcome(stage.key, "failed", seconds, _first_line(error), str(error))
        except self._ray.exceptions.TaskUnschedulableError as error:
            self._refreshed = -math.inf  # before anything is placed, look which nodes are left
            return Outcome(stage.key, "displaced", seconds, _first_line(error))
        except self._ray.exceptions.RayError as error:
            late = stage.key in self._cancelled or seconds >= stage.limits.seconds
            self._cancelled.discard(stage.key)
            if late:
                return Outcome(stage.key, "late", seconds, late_message(stage))
            return Outcome(stage.key, "lost", seconds, f"{type(error).__name__}: {_first_line(error)}")

    def _free(self, running: _Running) -> None:
        node, (cpus, memory, devices) = running.node, running.taken
        node.cpus, node.memory = node.cpus + cpus, node.memory + memory
        for index, share in devices:
            node.gpus[index] += share
        node.running.discard(running.job.stage.key)
        if running.job.stage.exclusive:
            node.closed = False

    def close(self) -> None:
        """Stop what runs, and a Ray that was started here."""
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        self._running = {}
        if self._ours:
            self._ray.shutdown()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def __enter__(self) -> "RayPool":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _check_reachable(address: str) -> None:
    """Connect in another process first: to what is no cluster, Ray itself tries for more than ten minutes, in silence."""
    command = [sys.executable, "-P", "-c", _CONNECT, address]
    try:
        tried = subprocess.run(command, capture_output=True, text=True, timeout=CONNECT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        reason = f"nothing answers as Ray does within {CONNECT_SECONDS:g} s"
    else:
        if not tried.returncode:
            return
        reason = (tried.stderr.strip().splitlines() or [f"exit status {tried.returncode}"])[-1].rstrip(".")
    raise GridError(f"--address {address}: {reason}. Name the address that `ray start` printed on the head, or run without one.")


def _affinity(node: str) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node, soft=False)


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def perform_on_node(job: Job) -> Outcome:
    """Do a job in a Ray worker: without GPUs that it did not ask for, and killed by the kernel at its deadline."""
    import ray

    if not ray.get_gpu_ids():
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    warm_up()
    signal.setitimer(signal.ITIMER_REAL, job.stage.limits.seconds)
    try:
        return perform(job)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def reaches(store: str, digest: str) -> bool:
    """Whether this node sees a blob of a store."""
    from harness.tracking.records import Store

    try:
        return Store(store).get(digest) is not None
    except StoreError:
        return False
