"""What all trainable models have in common: a rate to be set, and sampling in another number format for noise floors."""

import pytest
import torch

from harness.check.case import Case
from harness.construction import construct
from harness.contracts import Sampling
from harness.registry import resolve

SIZES = {
    "gpt": {"width": 16, "layers": 1, "heads": 2}, "seq2seq": {"width": 16, "layers": 1, "heads": 2},
    "d3pm": {"width": 16, "layers": 1, "heads": 2}, "diffusion-lm": {"width": 16, "layers": 1, "heads": 2, "embedding": 8},
    "diffuseq": {"width": 16, "layers": 1, "heads": 2, "embedding": 8},
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_the_learning_rate_is_a_key(name, tmp_path):
    system, size = resolve("models", name).load(), SIZES[name] | {"learning_rate": 0.01}
    case = Case(system, system.design, system.design.families[0], size, tmp_path, "cpu")
    usual = Case(system, system.design, system.design.families[0], SIZES[name], tmp_path / "usual", "cpu")
    rates = [construct(system, system.design.schedule, made.view, made.size).optimisation.learning_rate for made in (case, usual)]
    assert rates[0] == 0.01 != rates[1]
    with pytest.raises(ValueError, match="learning_rate 2"):
        system.design_for(learning_rate=2)


DISCRETE = (
    "multinomial",
    "d3pm",
    "diffusion-bert",
    "diffusion-nat",
    "diff-glat",
    "sedd",
    "mdlm",
    "md4",
    "udlm",
    "duo",
    "bd3-lm",
    "llada",
)


@pytest.mark.parametrize("name", DISCRETE)
def test_the_learning_rate_falls_with_the_width(name, tmp_path):
    system = resolve("models", name).load()
    made = Case(system, system.design, system.design.families[0], {"width": 16, "layers": 1, "heads": 2}, tmp_path, "cpu")
    rates = [
        construct(system, system.design.schedule, made.view, made.size | {"width": width}).optimisation.learning_rate
        for width in (128, 256)
    ]
    assert rates[0] == 2 * rates[1]


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
