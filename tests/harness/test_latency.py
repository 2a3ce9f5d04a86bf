import dataclasses
import time

import numpy as np
import pytest

from harness.contracts import Generation, Request, Sampling
from harness.design import Design
from harness.errors import ModelError
from harness.latency import LEAST_REQUESTS, Contestant, interleaved, measure, warm_up
from harness.metrics.profiles import profile

TINY = profile("test")


class Machine:
    """A clock that stands still unless a model works; it remembers who worked."""

    def __init__(self):
        self.now, self.log = 0, []

    def clock(self):
        return self.now


class FakeModel:
    """Answers at once and lets the machine's clock advance."""

    design = Design(name="fake", kind="floor", families=("ucg",))

    def __init__(self, machine, costs, name="fake", calls=3, positions=48, tokens=4):
        self.machine, self.costs, self.name = machine, costs, name
        self.answers = {
            r.id: Generation(id=r.id, texts=("a",), ids=((5,) * tokens,), network_calls=calls, positions_processed=positions)
            for r in REQUESTS
        }

    def generate(self, requests, settings):
        self.machine.log.append((self.name, len(requests), settings.micro_batch))
        self.machine.now += int(self.costs() * 1e6) * len(requests)
        return [self.answers[r.id] for r in requests]

    def fit(self, train, valid, budget, run):
        raise NotImplementedError

    def likelihood(self, examples):
        return None

    def save(self, folder):
        raise NotImplementedError

    @classmethod
    def load(cls, folder, device):
        raise NotImplementedError


def contestant(model, **settings):
    return Contestant(name=getattr(model, "name", "fake"), model=model, settings=Sampling(**settings))


REQUESTS = [Request(id=str(i), seed=i, max_tokens=4) for i in range(5)]


def timed(candidate, baseline, machine, sizes=TINY, batch=4, seed=0):
    return measure(
        contestant(candidate), baseline=baseline and contestant(baseline), requests=REQUESTS, profile=sizes, batch=batch,
        seed=seed, clock=machine.clock,
    )  # fmt: skip


def noisy(milliseconds, rng, spread=0.1):
    return lambda: milliseconds * (1 + spread * rng.random())


def test_values_of_a_known_model():
    machine = Machine()
    found = timed(FakeModel(machine, lambda: 6.0), FakeModel(machine, lambda: 2.0, "ar"), machine)
    values = found.values
    assert values["latency_ms_p50"].value == pytest.approx(6.0)
    assert values["ratio_to_ar"].value == pytest.approx(3.0)
    assert (values["ratio_to_ar"].low, values["ratio_to_ar"].high) == pytest.approx((3.0, 3.0))
    assert values["batched_ratio_to_ar"].value == pytest.approx(3.0)
    assert values["throughput_seq_per_s"].value == pytest.approx(1000 / 6)
    assert values["throughput_seq_per_s"].higher_is_better
    assert (values["network_calls"].value, values["positions_processed"].value) == (3, 48)
    assert found.raw["candidate batch 1"] == ((6_000_000,), (6_000_000,))
    assert [answer.id for answer in found.generations] == ["0", "1"]
    assert found.evidence["length"] == "natural"
    assert found.evidence["threads"] >= 1
    assert "batch:4" in values["latency_ms_p50"].signature


def test_blocks_alternate_and_ask_the_same():
    machine = Machine()
    models = [contestant(FakeModel(machine, lambda: 1.0, name)) for name in "AB"]
    timings = interleaved(
        models, requests=REQUESTS, profile=dataclasses.replace(TINY, latency_requests=16), batch=1, clock=machine.clock,
        synchronize=lambda: None,
    )  # fmt: skip
    names = [name for name, *_ in machine.log]
    warmups = sum(len(item.warmup) for item in timings)
    assert "".join(names[warmups:]) == "AABBBBAA" * 4
    assert [len(item.blocks) for item in timings] == [8, 8]
    assert [a.id for a in timings[0].generations] == [a.id for a in timings[1].generations] == [str(i % 5) for i in range(16)]
    assert {(size, micro) for _, size, micro in machine.log} == {(1, 1)}


def test_slow_first_calls_stay_out_of_the_statistics():
    machine, calls = Machine(), iter([5000.0, 400.0] + [5.0] * 200)
    found = timed(FakeModel(machine, lambda: next(calls)), None, machine, sizes=dataclasses.replace(TINY, warmup_cap=20))
    assert found.values["latency_ms_p50"].value == pytest.approx(5.0)
    assert found.raw["candidate batch 1 warm-up"][0][0] == 5_000_000_000
    assert found.values["latency_ms_p50"].flags == () or "busy" in found.values["latency_ms_p50"].flags[0]


def test_warm_up_stops_when_stable_and_at_its_cap():
    steady, settled = warm_up(lambda number: (100, []), cap=20)
    assert (len(steady), settled) == (6, True)
    wild, settled = warm_up(lambda number: (100 * (number + 1), []), cap=20)
    assert (len(wild), settled) == (20, False)
    assert len(warm_up(lambda number: (1, []), cap=1)[0]) == 3


def test_unsettled_warm_up_is_flagged():
    machine, costs = Machine(), iter(range(1, 1000))
    found = timed(FakeModel(machine, lambda: next(costs)), None, machine)
    assert "warm-up did not settle in 3 calls" in found.values["latency_ms_p50"].flags


def test_the_device_is_waited_for_before_every_reading():
    machine, events = Machine(), []

    class Asynchronous(FakeModel):
        def generate(self, requests, settings):
            events.append("launch")
            self.pending = True
            return [Generation(id=r.id, texts=("a",)) for r in requests]

    model = Asynchronous(machine, lambda: 0.0)
    model.pending = False

    def synchronize():
        machine.now += 7_000_000 if model.pending else 0
        model.pending = False
        events.append("wait")

    (timings,) = interleaved(
        [contestant(model)], requests=REQUESTS, profile=TINY, batch=1, clock=machine.clock, synchronize=synchronize
    )
    assert np.unique(timings.milliseconds).tolist() == [7.0]
    assert events[:3] == ["wait", "launch", "wait"]


def test_percentiles_need_enough_requests():
    machine, rng = Machine(), np.random.default_rng(0)
    few = dataclasses.replace(profile("publish"), latency_requests=35)
    found = timed(FakeModel(machine, noisy(5, rng)), None, machine, sizes=dataclasses.replace(few, latency_requests=32)).values
    assert found["latency_ms_p50"].value is not None
    assert found["latency_ms_p90"].value is None
    assert found["latency_ms_p90"].reason == "p90 needs 36 requests, there are 32"
    enough = timed(FakeModel(machine, noisy(5, rng)), None, machine, sizes=dataclasses.replace(few, latency_requests=64)).values
    assert enough["latency_ms_p90"].low <= enough["latency_ms_p90"].value <= enough["latency_ms_p90"].high
    assert enough["latency_ms_p95"].value is None
    smoke = timed(FakeModel(machine, noisy(5, rng)), None, machine, sizes=profile("smoke")).values
    assert "up to p50" in smoke["latency_ms_p90"].reason


@pytest.mark.parametrize("level", [90, 95, 99])
def test_least_requests_follow_from_order_statistics(level):
    n, q = LEAST_REQUESTS[level], level / 100
    assert 1 - q**n >= 0.975 > 1 - q ** (n - 1)


def test_least_seconds_add_blocks():
    machine = Machine()
    sizes = dataclasses.replace(TINY, latency_seconds=1.0)
    found = timed(FakeModel(machine, lambda: 50.0), None, machine, sizes=sizes)
    assert sum(map(sum, found.raw["candidate batch 1"])) == 1_000_000_000


def test_no_baseline_no_ratio():
    machine = Machine()
    found = timed(FakeModel(machine, lambda: 1.0, calls=0), None, machine).values
    for name in ("ratio_to_ar", "batched_ratio_to_ar", "network_calls"):
        assert found[name].value is None
        assert found[name].reason


def test_the_same_model_twice_has_a_ratio_around_1():
    # a correct 95 % interval misses 1 in more than 10 of 100 repetitions with probability 0.011
    hits = 0
    for seed in range(100):
        machine, rng = Machine(), np.random.default_rng(seed)
        sizes = dataclasses.replace(profile("quick"), latency_seconds=0.0, highest_percentile=50, resamples=400)
        found = timed(
            FakeModel(machine, noisy(5, rng)), FakeModel(machine, noisy(5, rng), "ar"), machine, sizes, batch=2, seed=seed
        )
        hits += found.values["ratio_to_ar"].low <= 1 <= found.values["ratio_to_ar"].high
    assert hits >= 90


def test_drift_hits_both_alike():
    machine, rng = Machine(), np.random.default_rng(3)
    drifting = lambda: 5 * (1 + len(machine.log) / 200) * (1 + 0.02 * rng.random())  # noqa: E731
    sizes = dataclasses.replace(profile("quick"), latency_seconds=0.0)
    ratio = timed(FakeModel(machine, drifting), FakeModel(machine, drifting, "ar"), machine, sizes).values["ratio_to_ar"]
    assert ratio.value == pytest.approx(1, abs=0.03)
    assert ratio.low <= 1 <= ratio.high
    assert ratio.flags[0].startswith("no difference shown")


def test_a_sleeping_model_is_measured_within_one_percent():
    slept = []

    class Sleeper(FakeModel):
        def generate(self, requests, settings):
            begun = time.perf_counter_ns()
            time.sleep(0.1)
            slept.append((time.perf_counter_ns() - begun) / 1e6)  # a busy machine wakes sleepers late
            return [Generation(id=r.id, texts=("a",)) for r in requests]

    sleeper = contestant(Sleeper(Machine(), None))
    sizes = dataclasses.replace(TINY, latency_requests=4)
    found = measure(sleeper, baseline=None, requests=REQUESTS, profile=sizes, batch=2, seed=0).values
    assert found["latency_ms_p50"].value == pytest.approx(np.median(slept[3:7]), rel=0.01)
    assert found["latency_ms_p50"].value >= 100


def test_short_answers_are_flagged_and_bad_input_is_refused():
    machine = Machine()
    short = contestant(FakeModel(machine, lambda: 1.0, tokens=3), fixed_length=True)
    found = measure(short, baseline=None, requests=REQUESTS, profile=TINY, batch=2, seed=0, clock=machine.clock).values
    assert "2 answers have another length than the fixed one" in found["latency_ms_p50"].flags

    class Mute(FakeModel):
        def generate(self, requests, settings):
            return []

    with pytest.raises(ModelError, match="0 generations for 1 requests"):
        timed(Mute(machine, None), None, machine)
    with pytest.raises(ValueError, match="at least one request"):
        measure(short, baseline=None, requests=[], profile=TINY, batch=2, seed=0)
