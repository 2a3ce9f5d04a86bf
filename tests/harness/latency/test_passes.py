import dataclasses
import time
from functools import partial

import numpy as np
import pytest
import torch
from fake_machine import REQUESTS, TINY, FakeDevice, FakeModel, Machine, contestant, noisy, timed

from harness.contracts import Generation, Request
from harness.errors import ModelError
from harness.latency import measure
from harness.latency.devices import Device
from harness.latency.lanes import interleaved, warm_up
from harness.latency.stopwatch import CudaStopwatch, Reading, Stopwatch
from harness.latency.timings import LEAST_REQUESTS
from harness.metrics.profiles import profile
from harness.tokenizer import Tokenizer


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
    assert found.raw["candidate batch 1"] == ((6_000_000,) * 2,) * 3
    assert found.evidence["threads"] >= 1
    assert "batch:4" in values["latency_ms_p50"].signature


def test_blocks_alternate_and_ask_the_same():
    machine = Machine()
    models = [contestant(FakeModel(machine, lambda: 1.0, name)) for name in "AB"]
    timings = interleaved(
        models, requests=REQUESTS, profile=dataclasses.replace(TINY, latency_requests=16), batch=1, device=FakeDevice(machine)
    )
    names = [name for name, *_ in machine.log]
    warmups = sum(len(item.warmup) for item in timings)
    assert "".join(names[warmups:]) == "AABBBBAA" * 4
    assert [len(item.blocks) for item in timings] == [8, 8]
    assert list(timings[0].answers) == list(timings[1].answers) == [str(i) for i in range(5)]
    assert {(size, micro) for _, size, micro, _ in machine.log} == {(1, 1)}


def test_slow_first_calls_stay_out_of_the_statistics():
    machine, calls = Machine(), iter([5000.0, 400.0] + [5.0] * 200)
    found = timed(FakeModel(machine, lambda: next(calls)), None, machine, sizes=dataclasses.replace(TINY, warmup_cap=20))
    assert found.values["latency_ms_p50"].value == pytest.approx(5.0)
    assert found.raw["candidate batch 1 warm-up"][0][0] == 5_000_000_000
    assert found.values["latency_ms_p50"].flags == () or "busy" in found.values["latency_ms_p50"].flags[0]


def test_warm_up_stops_when_stable_and_at_its_cap():
    steady, settled = warm_up(lambda number: 100, cap=20)
    assert (len(steady), settled) == (6, True)
    wild, settled = warm_up(lambda number: 100 * (number + 1), cap=20)
    assert (len(wild), settled) == (20, False)
    assert len(warm_up(lambda number: 1, cap=1)[0]) == 3


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

    class Waiting(Stopwatch):
        def synchronize(self):
            machine.now += 7_000_000 if model.pending else 0
            model.pending = False
            events.append("wait")

    device = FakeDevice(machine)
    device.stopwatch = Waiting(machine.clock)
    (timings,) = interleaved([contestant(model)], requests=REQUESTS, profile=TINY, batch=1, device=device)
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


@pytest.mark.parametrize("level", LEAST_REQUESTS)
def test_least_requests_follow_from_order_statistics(level):
    n, q = LEAST_REQUESTS[level], level / 100
    assert 1 - q**n >= 0.975 > 1 - q ** (n - 1)


def test_least_seconds_add_blocks():
    machine = Machine()
    sizes = dataclasses.replace(TINY, latency_seconds=1.0)
    found = timed(FakeModel(machine, lambda: 50.0), None, machine, sizes=sizes)
    assert sum(map(sum, found.raw["candidate batch 1"])) == 1_000_000_000


@pytest.mark.parametrize(
    ("milliseconds", "counts"), [((500.0, 5.0), (64, 512)), ((5.0, 500.0), (512, 64)), ((9.0, 5.0), (64, 64))]
)
def test_the_slower_decides_when_it_ends_and_the_faster_calls_more_often(milliseconds, counts):
    machine = Machine()
    models = [FakeModel(machine, partial(float, cost), str(cost)) for cost in milliseconds]
    timings = interleaved(
        [contestant(model) for model in models], requests=REQUESTS, batch=1, device=FakeDevice(machine),
        profile=dataclasses.replace(profile("quick"), latency_seconds=0.5),
    )  # fmt: skip
    assert tuple(item.milliseconds.size for item in timings) == counts
    assert {len(item.blocks) for item in timings} == {8}


def test_the_seconds_are_those_of_the_slower():
    machine = Machine()
    sizes = dataclasses.replace(profile("quick"), resamples=10)
    found = timed(FakeModel(machine, lambda: 500.0), FakeModel(machine, lambda: 5.0, "ar"), machine, sizes, batch=2)
    assert machine.now / 1e9 < 64 * 0.5 * 4 + 30
    assert found.values["ratio_to_ar"].value == pytest.approx(100)


def test_median_mean_and_ratio_need_six_readings():
    machine = Machine()
    few = dataclasses.replace(TINY, latency_requests=5)
    found = interleaved(
        [contestant(FakeModel(machine, lambda: 1.0))], requests=REQUESTS, profile=few, batch=1, device=FakeDevice(machine)
    )
    assert found[0].milliseconds.size == 6
    values = timed(
        FakeModel(machine, lambda: 1.0),
        FakeModel(machine, lambda: 1.0, "ar"),
        machine,
        dataclasses.replace(TINY, latency_requests=2),
    ).values
    for name in ("latency_ms_p50", "latency_ms_mean", "latency_cv", "ratio_to_ar", "batched_ratio_to_ar", "throughput_seq_per_s"):
        assert values[name].value is None
        assert values[name].reason == "p50 needs 6 requests, there are 2"


def test_mean_variation_and_warm_up():
    machine, costs = Machine(), iter([100.0] * 3 + [1.0, 3.0] * 3 + [1.0] * 100)
    values = timed(FakeModel(machine, lambda: next(costs)), None, machine).values
    assert values["latency_warmup_s"].value == pytest.approx(0.3)
    assert values["latency_ms_mean"].value == pytest.approx(2.0)
    assert values["latency_cv"].value == pytest.approx(np.std([1, 3] * 3, ddof=1) / 2)
    assert values["latency_ms_mean"].low <= 2.0 <= values["latency_ms_mean"].high


def test_tokenising_is_timed_by_itself():
    machine = Machine()

    class Slow(Tokenizer):
        def __init__(self):
            pass

        def encode(self, text):
            machine.now += 2_000_000

        def decode(self, ids):
            machine.now += 1_000_000

    asked = [Request(id=str(i), seed=i, max_tokens=4, source="a b") for i in range(5)]
    fake = contestant(FakeModel(machine, lambda: 6.0))
    found = measure(
        fake, baseline=None, requests=asked, profile=TINY, batch=2, seed=0, device=FakeDevice(machine), tokenizer=Slow()
    ).values
    assert (found["latency_ms_p50"].value, found["latency_tokenising_ms"].value) == (6.0, 3.0)
    assert found["latency_tokenising_ms"].n == 5
    none = timed(FakeModel(machine, lambda: 1.0), None, machine).values["latency_tokenising_ms"]
    assert (none.value, none.reason is not None) == (None, True)


@pytest.mark.parametrize(("beams", "candidates", "jobs"), [(1, 1, 1), (1, 10, 10), (8, 1, 8), (8, 3, 8)])
def test_a_batch_goes_through_the_network_together(beams, candidates, jobs):
    machine = Machine()
    asked = [dataclasses.replace(request, n=candidates) for request in REQUESTS]
    fake = contestant(FakeModel(machine, lambda: 1.0), beams=beams, method="beam" if beams > 1 else "sample")
    measure(fake, baseline=None, requests=asked, profile=TINY, batch=4, seed=0, device=FakeDevice(machine))
    assert {(size, micro) for _, size, micro, _ in machine.log} == {(1, jobs), (4, 4 * jobs)}


@pytest.mark.parametrize(("device", "flagged"), [(1.0, False), (1.019, False), (0.9, True), (1.1, True)])
def test_two_clocks_that_differ_are_flagged(device, flagged):
    machine = Machine()

    class Twice(Stopwatch):
        def __call__(self, work):
            reading = super().__call__(work)
            return Reading(reading.done, reading.nanoseconds, round(reading.nanoseconds * device))

    watched = FakeDevice(machine)
    watched.stopwatch = Twice(machine.clock)
    flags = timed(FakeModel(machine, lambda: 5.0), None, machine, device=watched).values["latency_ms_p50"].flags
    assert any("clock and the host's differ" in flag for flag in flags) == flagged


def test_a_cuda_device_is_waited_for_and_read_by_events(monkeypatch):
    told = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            told.append("record")

        def elapsed_time(self, other):
            return 2.5

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "synchronize", told.append)
    reading = CudaStopwatch()(lambda: told.append("work"))
    assert told == [0, 1, "record", "work", "record", 0, 1]
    assert reading.device_nanoseconds == 2_500_000


def test_the_signature_says_processor_dtype_and_how_the_baseline_decodes():
    machine = Machine()

    class Module(torch.nn.Linear, FakeModel):
        def __init__(self):
            torch.nn.Linear.__init__(self, 1, 1, dtype=torch.float64)
            FakeModel.__init__(self, machine, lambda: 1.0)

    baseline = contestant(FakeModel(machine, lambda: 1.0, "ar"), method="beam", beams=4)
    found = measure(
        contestant(Module()), baseline=baseline, requests=REQUESTS, profile=TINY, batch=2, seed=0,
        device=FakeDevice(machine),
    )  # fmt: skip
    signature = found.values["ratio_to_ar"].signature
    for part in ("device_name:fake", "dtype:float64", "baseline:ar", "baseline_decode:beam 4", "candidates:1"):
        assert part in signature.split("|")
    assert found.evidence["baseline_dtype"] == "float32"


def test_a_second_baseline_has_ratios_of_its_own():
    machine = Machine()
    fast = contestant(FakeModel(machine, lambda: 1.0, "fast"))
    found = timed(FakeModel(machine, lambda: 6.0), FakeModel(machine, lambda: 2.0, "ar"), machine, best=fast)
    expected = {"ar": 3, "best_ar": 6}
    for which, ratio in expected.items():
        for name in ("ratio_to", "batched_ratio_to", "natural_ratio_to"):
            assert found.values[f"{name}_{which}"].value == pytest.approx(ratio)
    assert found.evidence["best_baseline"] == "fast"
    assert "best_baseline batch 1" in found.raw


def test_no_baseline_no_ratio():
    machine = Machine()
    found = timed(FakeModel(machine, lambda: 1.0, calls=0), None, machine).values
    for name in ("ratio_to_ar", "batched_ratio_to_ar", "network_calls"):
        assert found[name].value is None
        assert found[name].reason


@pytest.mark.parametrize(("repetitions", "enough"), [(20, 17), pytest.param(100, 90, marks=pytest.mark.slow)])
def test_the_same_model_twice_has_a_ratio_around_1(repetitions, enough):
    # a correct 95 % interval misses 1 in more than 10 of 100 repetitions with probability 0.011, in more than 3 of 20 with 0.016
    hits = 0
    for seed in range(repetitions):
        machine, rng = Machine(), np.random.default_rng(seed)
        sizes = dataclasses.replace(profile("quick"), latency_seconds=0.0, highest_percentile=50, resamples=400)
        found = timed(
            FakeModel(machine, noisy(5, rng)), FakeModel(machine, noisy(5, rng), "ar"), machine, sizes, batch=2, seed=seed
        )
        hits += found.values["ratio_to_ar"].low <= 1 <= found.values["ratio_to_ar"].high
    assert hits >= enough


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
    found = measure(sleeper, baseline=None, requests=REQUESTS, profile=TINY, batch=2, seed=0, device=Device()).values
    assert found["latency_ms_p50"].value == pytest.approx(np.median(slept[3:9]), rel=0.01)
    assert found["latency_ms_p50"].value >= 100


@pytest.mark.slow
def test_the_same_sleeper_twice_has_a_ratio_around_1():
    class Sleeper(FakeModel):
        def generate(self, requests, settings):
            time.sleep(0.005)
            return super().generate(requests, settings)

    sizes, hits = dataclasses.replace(profile("quick"), latency_seconds=0.0, resamples=400, latency_tries=1), 0
    for seed in range(100):
        models = [contestant(Sleeper(Machine(), lambda: 0.0)) for _ in range(2)]
        found = measure(
            models[0], baseline=models[1], requests=REQUESTS, profile=sizes, batch=2, seed=seed, device=Device()
        ).values["ratio_to_ar"]
        hits += found.low <= 1 <= found.high
    assert hits >= 90


def test_bad_input_is_refused():
    machine = Machine()

    class Mute(FakeModel):
        def generate(self, requests, settings):
            return []

    with pytest.raises(ModelError, match="0 generations for 1 requests"):
        timed(Mute(machine, None), None, machine)
    fake = contestant(FakeModel(machine, lambda: 1.0))
    for requests, batch in (([], 2), (REQUESTS, 1)):
        with pytest.raises(ValueError, match="at least one request"):
            measure(fake, baseline=None, requests=requests, profile=TINY, batch=batch, seed=0, device=FakeDevice(machine))


# --- natural length --------------------------------------------------------------------------------------------------
