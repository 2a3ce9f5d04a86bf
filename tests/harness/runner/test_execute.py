import fcntl
import re
import threading

import pytest

from harness.compare.noise import noise_floors
from harness.errors import GridError
from harness.grid import load
from harness.report.export import as_markdown
from harness.report.sections import sections
from harness.runner.execute import run
from harness.runner.hardware import out_of_memory
from harness.runner.plan import make_plan
from harness.runner.planned import Plan
from harness.runner.pool import InProcessPool, SerialPool
from harness.runner.stage import Stage
from harness.runner.worker import Outcome
from harness.tracking.records import Record, Store, rows

PARROT = "{{name: PLUGINS:Parrot, trick: {0}, label: {0}}}"


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "runs")


@pytest.fixture(scope="module")
def pool():
    with SerialPool() as shared:
        yield shared


def tricks(*names):
    return ", ".join(["PLUGINS:Parrot", *(PARROT.format(name) for name in names)])


def by_model(store):
    return {row.model: row for row in rows(store)}


def test_what_fails_is_a_row_and_the_rest_goes_on(grid_file, store, pool):
    plan = make_plan(load(grid_file(tricks("raise", "nan", "few", "beyond"))), store)
    summary = run(plan, store, pool)
    found = by_model(store)
    assert (summary.failed, found["Parrot"].status) == (4, "done")
    assert re.fullmatch(r"fit: RuntimeError: the parrot is dead \(plugins\.py:\d+, in fit\)", found["raise"].reason)
    assert "loss is not finite" in found["nan"].reason
    assert "15 generations for 16 requests" in found["few"].reason
    assert re.search("token id 1000; expected 0 to [0-9]+, the vocabulary", found["beyond"].reason)
    failure = store.failure(found["raise"].digests["fit"])
    assert failure is not None
    assert "in fit" in failure.traceback


def test_a_second_run_does_nothing_until_failures_are_retried(grid_file, store, pool):
    plan = make_plan(load(grid_file(tricks("raise"))), store)
    first = run(plan, store, pool)
    second = run(plan, store, pool)
    assert (second.done, second.failed, second.cached, second.blocked) == (0, 1, first.done, first.blocked)
    third = run(plan, store, pool, retried=plan.stages)
    assert (third.done, third.failed, third.cached) == (0, 1, first.done)


def test_sampling_keys_reach_the_texts_and_the_clock_but_no_training(grid_file, store, pool):
    variants = "PLUGINS:Accented, {name: PLUGINS:Accented, accent: h, label: broad}"
    plan = make_plan(load(grid_file(variants, "latency: true\nsteps: [2]")), store)
    assert run(plan, store, pool).failed == 0
    plain, broad = by_model(store)["Accented"], by_model(store)["broad"]
    assert plain.digests["fit"] == broad.digests["fit"]
    assert broad.metrics["words"].value == plain.metrics["words"].value + 1
    assert not [flag for value in broad.latency.values() for flag in value.flags if "asked again" in flag]
    assert broad.settings["model_options"] == {"accent": "h"}


def test_numerics_show_the_noise_floor(grid_file, store, pool):
    models = "{name: PLUGINS:Parrot, trick: moody, label: moody}, PLUGINS:Parrot"
    rest = "numerics: [{micro_batch: 1}, {threads: 2}, {dtype: float64}]"
    run(make_plan(load(grid_file(models, rest)), store), store, pool)
    by_decode = {row.decode: row for row in rows(store) if row.model == "moody"}
    smaller, threaded = (by_decode[f"sample again {name}"] for name in ("micro_batch=1", "threads=2"))
    assert threaded.environment["threads"] == 2
    assert by_decode["sample again dtype=float64"].reason.endswith("Parrot is no torch.nn.Module that could be converted.")
    apart = abs(smaller.metrics["words"].value - by_decode["sample"].metrics["words"].value)
    assert apart > 0
    assert threaded.metrics["words"].value == by_decode["sample"].metrics["words"].value
    assert noise_floors(rows(store)) == {("Letters", "ucg"): {"words": apart}}
    (section,) = sections(rows(store))
    assert {row.decode for row in section.rows} == {"sample"}
    assert "- noise floor, by sampling moody (sample again micro_batch=1), " in as_markdown(rows(store))


def test_a_model_that_is_timed_writing_other_texts_is_flagged(grid_file, store, pool):
    plan = make_plan(load(grid_file(tricks("moody"), "latency: {batches: [1, 2]}")), store)
    run(plan, store, pool)
    found = by_model(store)
    assert not any("differ" in flag for flag in found["Parrot"].latency["latency_ms_p50"].flags)
    assert "texts differ from those scored" in " ".join(found["moody"].latency["latency_ms_p50"].flags)
    evidence = found["Parrot"].environment["latency"]["2"]
    assert (evidence["asked_again"], evidence["asked_again_differing"]) == (3, 0)
    assert evidence["device_name"]


def test_a_model_that_hangs_or_crashes_is_killed(grid_file, store):
    limits = "limits: {fit: {seconds: 12, retries: 1}}"
    plan = make_plan(load(grid_file(tricks("hang", "segfault"), limits)), store)
    with SerialPool() as pool:
        run(plan, store, pool)
    found = by_model(store)
    assert found["Parrot"].status == "done"
    assert "not finished after 12 s and killed" in found["hang"].reason
    assert "worker process died: signal SIGSEGV" in found["segfault"].reason
    failure = store.failure(found["segfault"].digests["fit"])
    assert failure is not None
    assert len(failure.attempts) == 1


def test_memory_is_retried_with_smaller_micro_batches(grid_file, store, pool):
    events = []
    run(make_plan(load(grid_file(PARROT.format("memory"))), store), store, pool, events.append)
    (row,) = rows(store)
    record = store.record(row.digests["fit"])
    assert record is not None
    assert row.status == "done"
    assert [attempt.split(":")[0] for attempt in record.attempts] == ["memory at micro-batch 64", "memory at micro-batch 32"]
    assert row.environment["attempts"]["fit"] == list(record.attempts)
    assert [event.status for event in events if event.title == "fit"] == [
        "started",
        "retried",
        "started",
        "retried",
        "started",
        "done",
    ]


def test_a_cpu_without_memory_is_told_from_a_failure():
    torch = pytest.importorskip("torch")
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert out_of_memory(caught.value)
    assert not out_of_memory(RuntimeError("no"))


def test_the_grid_sets_the_micro_batch_of_the_first_try(grid_file, tmp_path, pool):
    for name, resources, said in (("one", "", "None"), ("two", "resources: {fit: {micro_batch: 8}}", "8")):
        store = Store(tmp_path / name)
        run(make_plan(load(grid_file(PARROT.format("sizes"), resources)), store), store, pool)
        assert rows(store)[0].reason.startswith(f"fit: ValueError: micro-batch {said} (plugins.py:")


def test_memory_is_not_retried_where_nothing_can_be_made_smaller(grid_file, store, pool):
    events = []
    path = grid_file(PARROT.format("greedy"), 'metrics: ["PLUGINS:Judged"]')
    run(make_plan(load(path), store), store, pool, events.append)
    assert [event.status for event in events if event.title == "likelihood"] == ["started", "failed"]
    assert "likelihood: MemoryError: too much" in rows(store)[0].reason


def test_what_cannot_be_written_down_is_named_and_its_training_kept(grid_file, store, pool):
    run(make_plan(load(grid_file(tricks("numpy", "ids"))), store), store, pool)
    found = by_model(store)
    assert "result.parameters is '1' (numpy.int64)" in found["numpy"].reason
    assert "ids.0.0 is '7' (numpy.int64)" in found["ids"].reason
    kept = [[path.name for path in store.checkpoints(row.digests["fit"]).iterdir()] for row in found.values()]
    assert [("half" in names) for names in kept] == [row.model == "numpy" for row in found.values()]


def test_a_message_that_utf8_cannot_hold_is_a_row(grid_file, store, pool):
    summary = run(make_plan(load(grid_file(tricks("surrogate"))), store), store, pool)
    assert (summary.failed, by_model(store)["Parrot"].status) == (1, "done")
    assert by_model(store)["surrogate"].reason.startswith("fit: ValueError: bad text \\ud800 here (plugins.py:")


def test_how_a_worker_ended_is_told_even_where_a_child_of_it_lives(grid_file, store):
    limits = "limits: {fit: {retries: 0}}"
    with SerialPool() as own:
        run(make_plan(load(grid_file(tricks("exit", "fork"), limits)), store), store, own)
    found = by_model(store)
    assert "worker process died: exit status 3" in found["exit"].reason
    assert "worker process died: signal SIGSEGV" in found["fork"].reason
    failure = store.failure(found["fork"].digests["fit"])
    assert failure is not None
    assert failure.seconds < 15.0


def test_waiting_for_another_driver_is_not_working(grid_file, store, pool):
    plan = make_plan(load(grid_file("PLUGINS:Parrot", "limits: {fit: {seconds: 3}}")), store)
    (key,) = (stage.key for stage in plan.trainings if stage.spec["fold"] == "train")
    lock = (store.checkpoints(key) / ".lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    timer, waits = threading.Timer(9.0, lock.close), []

    def listen(event):
        if event.key == key and event.status == "started":
            waits.append(event)
            if len(waits) == 1:
                timer.start()

    summary = run(plan, store, pool, listen)
    assert (summary.failed, rows(store)[0].status) == (0, "done")
    assert len(waits) > 1


def test_in_process_and_serial_give_the_same_rows(grid_file, tmp_path, pool):
    models = "PLUGINS:Parrot, PLUGINS:Diffuser"
    path = grid_file(models, 'steps: [2, 4]\nseeds: [0, 1]\nmetrics: ["PLUGINS:Counted", "PLUGINS:Judged"]')
    stores = Store(tmp_path / "one"), Store(tmp_path / "two")
    with InProcessPool() as here:
        run(make_plan(load(path)), stores[0], here)
    run(make_plan(load(path)), stores[1], pool)
    one, two = ([row.reproducible() for row in rows(store)] for store in stores)
    assert one == two
    assert len(one) == 2 + 2 * 2


def test_impossible_resources_are_refused_before_anything_is_spent(grid_file, store, pool):
    for request, said in (("cpus: 4096", "fit stage asks for cpus 4096"), ("memory: 1.0e+9", "asks for memory")):
        plan = make_plan(load(grid_file("PLUGINS:Parrot", f"resources: {{fit: {{{request}}}}}")), store)
        with pytest.raises(GridError, match=said):
            run(plan, store, pool)
    assert store.keys() == (set(), set())


class Paper:
    """A pool that only writes down what it was offered."""

    def __init__(self, slots):
        self.slots, self.jobs, self.log, self.closed = slots, [], [], False

    def check(self, stages):
        pass

    def reach(self, store):
        pass

    def close(self):
        pass

    def offer(self, job):
        alone = job.stage.exclusive or any(other.stage.exclusive for other in self.jobs)
        if len(self.jobs) >= self.slots or (self.jobs and (alone or self.closed)):
            return False
        self.closed = False
        self.jobs.append(job)
        self.log.append((job.stage.kind, job.stage.spec["i"]))
        return True

    def make_room(self, job):
        self.closed = True

    def collect(self, timeout):
        return [Outcome(self.jobs.pop(0).stage.key, "done", 0.0)]


def chain(count):
    """`count` quality stages, each of which makes the next one ready, and an exclusive stage that is ready at once."""
    stages = [Stage.make("time", {"i": 0})]
    for index in range(count):
        stages.append(Stage.make("m:f", {"i": index}, {"before": stages[-1].key} if index > 1 else {}))
    return Plan("g", [], {stage.key: stage for stage in stages})


def test_exclusive_stages_wait_for_quality_stages_but_not_for_ever(store):
    patient, impatient = Paper(2), Paper(2)
    run(chain(20), store, patient)
    run(chain(20), store, impatient, patience=0.0)
    assert patient.log[-1] == ("time", 0)
    assert impatient.log[0] == ("time", 0)
    assert len(patient.log) == len(impatient.log) == 21


def test_many_short_stages_run_through_the_durable_runner(tmp_path, store, pool):
    file = tmp_path / "noop.py"
    file.write_text(
        "from harness.runner.stages import Result\n\n\ndef noop(work):\n    return Result(result={'i': work.spec['i']})\n"
    )
    stages = [Stage.make(f"{file}:noop", {"i": index}) for index in range(300)]
    summary = run(Plan("noop", [], {stage.key: stage for stage in stages}), store, pool)
    assert (summary.done, len(store.keys()[0])) == (300, 300)
    record = store.record(stages[7].key)
    assert isinstance(record, Record)
    assert record.result == {"i": 7}


def test_a_shadowing_file_is_named(tmp_path, monkeypatch):
    from harness.runner.shadowing import check_not_shadowed

    check_not_shadowed()
    (tmp_path / "tasks.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "tasks", raising=False)
    with pytest.raises(GridError, match=r"`import tasks` finds .*tasks.py instead of"):
        check_not_shadowed()
