import dataclasses

import pytest
import torch
from fake_machine import REQUESTS, FakeDevice, FakeModel, Machine, contestant

from harness.errors import MeasurementRefused
from harness.latency import measure
from harness.latency.largest import largest_batch
from harness.metrics.profiles import profile


class Limited(FakeModel):
    """Has memory for so many requests at a time."""

    def __init__(self, machine, room, name="limited", error=torch.OutOfMemoryError):
        super().__init__(machine, lambda: 1.0, name)
        self.room, self.error = room, error

    def generate(self, requests, settings):
        if settings.micro_batch > self.room:
            raise self.error("too much")
        return super().generate(requests, settings)


@pytest.fixture
def machine():
    return Machine()


@pytest.mark.parametrize(("rooms", "expected"), [((5,), 4), ((8, 100), 8), ((100, 8), 8), ((2,), 2), ((10**6,), 4096)])
def test_it_is_the_largest_power_of_two_for_which_all_have_memory(machine, rooms, expected):
    models = [contestant(Limited(machine, room, f"model {room}")) for room in rooms]
    assert largest_batch(models, REQUESTS, FakeDevice(machine)) == expected


def test_candidates_count_too(machine):
    asked = [type(request)(id=request.id, seed=0, max_tokens=4, n=3) for request in REQUESTS]
    assert largest_batch([contestant(Limited(machine, 12))], asked, FakeDevice(machine)) == 4


def test_a_model_without_room_for_two_is_named(machine):
    models = [contestant(Limited(machine, 100)), contestant(Limited(machine, 1, "big"))]
    with pytest.raises(MeasurementRefused, match="the largest batch: big runs out of memory at 2 requests at a time"):
        largest_batch(models, REQUESTS, FakeDevice(machine))


def test_other_errors_are_not_taken_for_a_lack_of_memory(machine):
    with pytest.raises(RuntimeError, match="too much"):
        largest_batch([contestant(Limited(machine, 4, error=RuntimeError))], REQUESTS, FakeDevice(machine))


def test_a_pass_is_made_at_the_size_that_was_found(machine):
    found = measure(
        contestant(Limited(machine, 9)), baseline=contestant(Limited(machine, 17, "ar")), requests=REQUESTS,
        profile=dataclasses.replace(profile("quick"), latency_seconds=0.0), batch="largest", seed=0, device=FakeDevice(machine),
    )  # fmt: skip
    assert found.evidence["batch"] == 8
    assert "batch:8" in found.values["throughput_seq_per_s"].signature
    assert found.raw["candidate batch 8"]
    assert found.values["batched_ratio_to_ar"].value == pytest.approx(1)
