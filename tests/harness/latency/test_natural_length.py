import dataclasses

import pytest
from fake_machine import FakeModel, Machine, timed

from harness.tokenizer import EOS, PAD


def test_at_natural_length_only_what_was_written_counts():
    machine = Machine()
    found = timed(FakeModel(machine, lambda: 10.0, natural=(5, 6, EOS), text="äb"), None, machine).values
    assert found["natural_tokens"].value == 3
    assert found["natural_tokens_per_s"].value == pytest.approx(300)
    assert found["natural_bytes_per_s"].value == pytest.approx(300)
    assert found["natural_ms_p50"].value == pytest.approx(10.0)
    assert found["tokens_per_call"].value == pytest.approx(1.0)
    assert found["natural_bytes_per_s"].signature.endswith("length:natural")
    assert found["latency_ms_p50"].signature.endswith("length:fixed")


@pytest.mark.parametrize("padding", [(EOS,) * 40, (PAD,) * 40, (PAD, 7, EOS)])
def test_who_pads_gains_nothing(padding):
    machine = Machine()
    bare, padded = (
        timed(FakeModel(machine, lambda: 10.0, natural=ids), None, machine).values for ids in ((5, 6, EOS), (5, 6, EOS, *padding))
    )
    for name in ("natural_tokens", "natural_tokens_per_s", "natural_bytes_per_s", "tokens_per_call"):
        assert padded[name].value == bare[name].value


def test_the_ratio_at_natural_length_is_that_of_whole_answers():
    machine = Machine()
    found = timed(FakeModel(machine, lambda: 2.0, natural=(EOS,)), FakeModel(machine, lambda: 8.0, "ar"), machine)
    assert found.values["natural_ratio_to_ar"].value == pytest.approx(0.25)
    assert set(found.raw) >= {"candidate natural", "baseline natural", "candidate natural warm-up"}


def test_a_model_without_ids_has_bytes_but_no_tokens():
    machine = Machine()

    class Bare(FakeModel):
        def generate(self, requests, settings):
            return [dataclasses.replace(answer, ids=None) for answer in super().generate(requests, settings)]

    found = timed(Bare(machine, lambda: 4.0), None, machine).values
    assert found["natural_bytes_per_s"].value == pytest.approx(500)
    for name in ("natural_tokens", "natural_tokens_per_s", "tokens_per_call"):
        assert (found[name].value, found[name].reason is not None) == (None, True)


# --- integrity -------------------------------------------------------------------------------------------------------
