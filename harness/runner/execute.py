"""Runs a plan on a pool: what is ready goes out, what comes back is settled, what fails blocks only what needs it."""

import heapq
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Literal

from harness.errors import GridError
from harness.runner.planned import Plan
from harness.runner.pool import Pool
from harness.runner.worker import Job, Outcome
from harness.tracking.records import Record, Store

PATIENCE = 300.0
News = Literal["cached", "started", "done", "failed", "retried", "blocked"]


@dataclass(frozen=True, slots=True)
class StageEvent:
    """News of one stage, for a live display.

    Attributes:
        title: what is done ("fit", "score bleu", ...).
        cells: names of the cells that need the stage.
        seconds: how long it took, where it is over.
    """

    title: str
    key: str
    cells: tuple[str, ...]
    status: News
    message: str | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run ended, in stages; `skipped` counts cells, `blocked` stages whose inputs failed."""

    done: int
    failed: int
    blocked: int
    cached: int
    skipped: int
    seconds: float

    def after(self, beginning: "Summary") -> "Summary":
        """This run and that of its plan's beginning as one: what the beginning did is done here, not found."""
        done, seconds = self.done + beginning.done, self.seconds + beginning.seconds
        return replace(self, done=done, cached=self.cached - beginning.done, seconds=seconds)


Listener = Callable[[StageEvent], None]


def _silent(event: StageEvent) -> None:
    """Nobody looks."""


def run(
    plan: Plan,
    store: Store,
    pool: Pool,
    on_event: Listener = _silent,
    *,
    retried: Collection[str] = (),
    patience: float = PATIENCE,
) -> Summary:
    """Do every stage of a plan that has no record yet.

    Args:
        plan: what is to be done.
        store: where records are read and written.
        pool: where stages run; the caller closes it.
        on_event: hears of every stage.
        retried: keys of stages that run again where they failed before.
        patience: seconds that an exclusive stage waits for quality stages before it goes first.

    Raises:
        GridError: a stage asks for what the pool does not have; nothing has run.
        StoreError: a node does not see the store; nothing has run.
    """
    pool.check(plan.stages.values())
    pool.reach(store.address)
    store.sweep()
    store.snapshot(plan.grid, plan.snapshot())
    started = time.monotonic()
    state = _Run(plan, store, pool, on_event, patience)
    state.recall(retried)
    state.work()
    count = state.count
    return Summary(
        done=count["done"], failed=count["failed"], blocked=count["blocked"], cached=count["cached"], skipped=len(plan.skipped),
        seconds=time.monotonic() - started,
    )  # fmt: skip


class _Run:
    """The state of one run of a plan."""

    def __init__(self, plan: Plan, store: Store, pool: Pool, on_event: Listener, patience: float) -> None:
        self.plan, self.store, self.pool, self.on_event, self.patience = plan, store, pool, on_event, patience
        self.rank = {key: index for index, key in enumerate(plan.stages)}
        self.missing = {key: len(set(stage.inputs.values())) for key, stage in plan.stages.items()}
        self.needed_by: dict[str, list[str]] = defaultdict(list)
        for key, stage in plan.stages.items():
            for needed in set(stage.inputs.values()):
                self.needed_by[needed].append(key)
        self.shared: list[tuple[int, str]] = []
        self.exclusive: list[tuple[int, str]] = []
        self.waiting_since: float | None = None
        self.draining = False
        self.running: dict[str, Job] = {}
        self.again: dict[str, Job] = {}
        self.times_lost: Counter[str] = Counter()
        self.finished: set[str] = set()
        self.given_up: set[str] = set()
        self.count: Counter[str] = Counter()

    def tell(self, key: str, status: News, message: str | None = None, seconds: float | None = None) -> None:
        self.on_event(StageEvent(self.plan.stages[key].title, key, self.plan.cells_of(key), status, message, seconds))

    def recall(self, retried: Collection[str]) -> None:
        """Start from the records."""
        done, failed = self.store.keys()
        self.finished = done & self.plan.stages.keys()
        hopeless = failed - done - set(retried)
        for key in self.plan.stages:
            if key in hopeless and key not in self.given_up:
                self._give_up(key, "failed", "failed before; run with --retry failed to try again")
        for key, stage in self.plan.stages.items():
            if key in self.finished:
                self.count["cached"] += 1
                self.tell(key, "cached")
                self._release(key)
            elif not stage.inputs and key not in self.given_up:
                self._make_ready(key)

    def work(self) -> None:
        """Until nothing is left that can be done."""
        while self.shared or self.exclusive or self.running:
            self._fill()
            if not self.running:
                raise GridError("the pool takes none of the stages that are left; does the cluster still have the nodes it had?")
            for outcome in self.pool.collect(1.0):
                self._settle(outcome)

    def _make_ready(self, key: str) -> None:
        exclusive = self.plan.stages[key].exclusive
        heapq.heappush(self.exclusive if exclusive else self.shared, (self.rank[key], key))
        if exclusive and self.waiting_since is None:
            self.waiting_since = time.monotonic()

    def _release(self, key: str) -> None:
        for dependant in self.needed_by[key]:
            self.missing[dependant] -= 1
            if not self.missing[dependant] and dependant not in self.given_up and dependant not in self.finished:
                self._make_ready(dependant)

    def _fill(self) -> None:
        """Hand out what there is room for; exclusive stages when nothing else is ready, or first when they waited for long.

        Then the pool makes room for them, and they stay first until none is left.
        """
        waited = time.monotonic() - self.waiting_since if self.waiting_since is not None else 0.0
        self.draining = bool(self.exclusive) and (self.draining or waited > self.patience)
        if self.draining or not self.shared:
            self._hand_out(self.exclusive)
        if self.draining and self.exclusive:
            self.pool.make_room(self._job(self.exclusive[0][1]))
        self._hand_out(self.shared)
        if not self.exclusive:
            self.waiting_since = None

    def _job(self, key: str) -> Job:
        return self.again.get(key) or Job(self.plan.stages[key], self.store.address)

    def _hand_out(self, queue: list[tuple[int, str]]) -> None:
        while queue:
            key = queue[0][1]
            job = self._job(key)
            if not self.pool.offer(job):
                return
            heapq.heappop(queue)
            self.running[key] = job
            self.tell(key, "started")

    def _settle(self, outcome: Outcome) -> None:
        key, job = outcome.key, self.running.pop(outcome.key)
        if outcome.status == "done":
            self.finished.add(key)
            self.count["done"] += 1
            self.tell(key, "done", None, outcome.seconds)
            self._release(key)
            return
        if outcome.status == "busy":
            self._make_ready(key)
            return
        again = self._next_attempt(job, outcome)
        if again is None:
            self.store.fail(_failure(job, outcome))
            self._give_up(key, "failed", outcome.message, outcome.seconds)
            return
        self.again[key] = again
        self.tell(key, "retried", outcome.message, outcome.seconds)
        self._make_ready(key)

    def _next_attempt(self, job: Job, outcome: Outcome) -> Job | None:
        """With half the micro-batch when memory ran out, or a worker was lost twice; `None` where there is no other try."""
        if outcome.status == "displaced":
            return job
        key = outcome.key
        attempts = (*job.attempts, f"{outcome.status} at micro-batch {job.micro_batch}: {outcome.message}")
        if outcome.status == "memory" and job.divisible:
            return Job(job.stage, job.store, job.shrink + 1, attempts)
        if outcome.status == "lost" and self.times_lost[key] < job.stage.limits.retries:
            self.times_lost[key] += 1
            return Job(job.stage, job.store, job.shrink + int(self.times_lost[key] > 1 and job.divisible), attempts)
        return None

    def _give_up(self, key: str, status: News, message: str | None, seconds: float | None = None) -> None:
        """A stage will not be done, and so nothing that needs it."""
        self.given_up.add(key)
        self.count[status] += 1
        self.tell(key, status, message, seconds)
        for dependant in self.needed_by[key]:
            if dependant not in self.given_up and dependant not in self.finished:
                self._give_up(dependant, "blocked", f"needs a {self.plan.stages[key].kind} stage that failed")


def _failure(job: Job, outcome: Outcome) -> Record:
    stage = job.stage
    return Record(
        key=stage.key, kind=stage.kind, status="failed", spec=stage.spec, inputs=stage.inputs, seconds=outcome.seconds,
        attempts=job.attempts, message=outcome.message, traceback=outcome.traceback,
    )  # fmt: skip
