import dataclasses

import pytest
from fake_machine import TINY, FakeDevice, FakeModel, Machine, contestant, timed

from harness.contracts import Request
from harness.latency import measure
from harness.tokenizer import EOS, PAD


def greyed(latency):
    costs = {"network_calls", "positions_processed", "flops_per_request", "tokens_per_call", "natural_tokens", "peak_memory_mib"}
    assert not any(latency.values[name].greyed for name in costs), "what does not depend on the machine's pace"
    (reasons,) = {value.greyed for name, value in latency.values.items() if name not in costs}
    return reasons


def test_a_quiet_machine_is_trusted():
    machine = Machine()
    found = timed(FakeModel(machine, lambda: 5.0), FakeModel(machine, lambda: 5.0, "ar"), machine)
    assert greyed(found) == ()
    assert (found.evidence["canary_drift"], found.evidence["canary_ms_before"], found.evidence["passes"]) == (0, 1, 1)


def test_a_noisy_neighbour_greys_the_row():
    machine = Machine()
    slow = lambda: 1.3 if machine.now > 20e6 else 1.0  # noqa: E731
    found = timed(FakeModel(machine, lambda: 5.0 * slow()), None, machine, device=FakeDevice(machine, slow))
    assert greyed(found) == ("unstable: the canary kernel drifted by 30%",)
    assert found.values["latency_ms_p50"].value is not None
    assert found.evidence["canary_drift"] == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize(("drift", "passes"), [(1.02, 1), (1.04, 2)])
def test_an_unsteady_pass_is_made_once_more(drift, passes):
    machine, sizes = Machine(), dataclasses.replace(TINY, latency_tries=2)
    device = FakeDevice(machine, lambda: drift if 20e6 < machine.now < 100e6 else 1.0)
    found = timed(FakeModel(machine, lambda: 5.0), None, machine, sizes, device=device)
    assert found.evidence["passes"] == passes
    assert greyed(found) == ()


def test_another_process_on_the_device_greys_the_row():
    machine, seen = Machine(), iter([None, None, "1 other processes on the GPU"])
    device = FakeDevice(machine, seen=lambda: next(seen, None))
    found = timed(FakeModel(machine, lambda: 5.0), None, machine, device=device)
    assert greyed(found) == ("not alone: 1 other processes on the GPU",)
    assert found.evidence["others"] == "1 other processes on the GPU"


@pytest.mark.parametrize(
    ("length", "ids", "trusted"),
    [("EOS", (5, 5, 5, 5), True), ("EOS", (5, 5, EOS, PAD), False), ("EOS", (5, EOS, EOS, EOS), False),
     ("EOS", (5, 5, 5), False), ("generated padding", (5, 5, EOS, PAD), True), ("generated padding", (5, EOS), False)],
)  # fmt: skip
def test_who_does_not_write_the_fixed_length_is_greyed(length, ids, trusted):
    machine = Machine()
    model = FakeModel(machine, lambda: 1.0)
    model.design, model.fixed = dataclasses.replace(model.design, length=length), ids
    reasons = greyed(timed(model, None, machine))
    assert reasons == (() if trusted else ("30 answers have another length than the fixed one",))


def test_texts_that_are_not_those_that_were_scored():
    machine = Machine()
    for other, trusted in (("ab", True), ("cd", False)):
        found = timed(FakeModel(machine, lambda: 1.0), None, machine, scored={str(i): (other,) for i in range(3)})
        assert (found.evidence["asked_again"], found.evidence["asked_again_differing"]) == (3, 0 if trusted else 3)
        told = () if trusted else ("speed and quality not from the same system: 3 of 3 texts differ",)
        assert greyed(found) == told


def test_one_text_of_twenty_may_differ():
    machine = Machine()
    asked = [Request(id=str(i), seed=i, max_tokens=4) for i in range(20)]
    scored = {str(i): ("cd",) if i == 3 else ("ab",) for i in range(20)}
    sizes = dataclasses.replace(TINY, latency_requests=20)
    found = measure(
        contestant(FakeModel(machine, lambda: 1.0)), baseline=None, requests=asked, profile=sizes, batch=2, seed=0,
        device=FakeDevice(machine), scored=scored,
    )  # fmt: skip
    assert greyed(found) == ()
    assert "asked again, 1 of 20 texts differ from those scored" in found.values["latency_ms_p50"].flags


# --- what a request costs --------------------------------------------------------------------------------------------
def test_what_candidate_and_baseline_do_not_share_stands_at_the_ratios():
    machine = Machine()
    ours = contestant(FakeModel(machine, lambda: 1.0), parameters=1_200_000, trained_tokens=5_000, data="a")
    theirs = contestant(FakeModel(machine, lambda: 2.0, "ar"), parameters=1_000_000, trained_tokens=5_000, data="b")
    settling = dataclasses.replace(TINY, warmup_cap=6)
    found = timed(ours, theirs, machine, settling).values
    for name in ("ratio_to_ar", "batched_ratio_to_ar", "natural_ratio_to_ar"):
        assert found[name].flags == ("unmatched: parameters (1.2e+06 against 1e+06)", "unmatched: data or tokenizer")
    assert found["latency_ms_p50"].flags == ()
    matched = dataclasses.replace(theirs, parameters=1_150_000, data="a")
    assert timed(ours, matched, machine, settling).values["ratio_to_ar"].flags == ()


def test_flops_are_those_of_all_positions():
    machine = Machine()
    found = timed(contestant(FakeModel(machine, lambda: 1.0), parameters=1000), None, machine).values["flops_per_request"]
    assert found.value == 2 * 1000 * 48
    assert found.flags[0].startswith("analytic")
    assert timed(FakeModel(machine, lambda: 1.0), None, machine).values["flops_per_request"].value is None


def test_energy_is_that_above_idle():
    machine = Machine()
    found = timed(FakeModel(machine, lambda: 100.0), None, machine, device=FakeDevice(machine, watts=30.0)).values
    assert found["joules_per_sequence"].value == pytest.approx((30 - 10) * 0.1)
    none = timed(FakeModel(machine, lambda: 1.0), None, machine).values["joules_per_sequence"]
    assert (none.value, none.reason) == (None, "the device has no energy counter that can be read")


def test_a_batch_costs_what_its_requests_cost_one_by_one():
    machine = Machine()
    found = timed(FakeModel(machine, lambda: 7.0), None, machine, batch=5).values
    assert found["throughput_seq_per_s"].value * found["latency_ms_p50"].value == pytest.approx(1000)
