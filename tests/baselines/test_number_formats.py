"""Trained models sampled in another number format, as noise floors need it."""

import pytest
import torch

from harness.check.case import Case
from harness.contracts import Sampling
from harness.registry import resolve

SIZES = {
    "gpt": {"width": 16, "layers": 1, "heads": 2}, "seq2seq": {"width": 16, "layers": 1, "heads": 2},
    "d3pm": {"width": 16, "layers": 1, "heads": 2}, "diffusion-lm": {"width": 16, "layers": 1, "heads": 2, "embedding": 8},
    "diffuseq": {"width": 16, "layers": 1, "heads": 2, "embedding": 8},
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", SIZES)
def test_a_trained_model_samples_in_another_format(name, dtype, tmp_path):
    system, size = resolve("models", name).load(), SIZES[name]
    family = system.design_for(**size).families[-1] if hasattr(system, "design_for") else system.design.families[-1]
    case = Case(system, system.design, family, size, tmp_path, "cpu")
    case.briefly_fitted.save(tmp_path / "saved")
    model = system.load(tmp_path / "saved", "cpu").to(dtype)
    steps = 4 if system.design.kind == "diffusion" else None
    found = model.generate(case.requests(), Sampling(steps=steps))
    usual = case.briefly_fitted.generate(case.requests(), Sampling(steps=steps))
    assert [len(answer.texts) for answer in found] == [1] * len(usual)
    if dtype == torch.float64:
        alike = sum(a.texts == b.texts for a, b in zip(found, usual, strict=True))
        assert alike >= len(usual) - 1
