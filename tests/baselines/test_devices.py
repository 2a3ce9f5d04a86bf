"""Whatever a diffusion system makes, it makes where its weights are: tried on a stand-in for an accelerator."""

import pytest
import torch
from fake_device import fake_device

from baselines.discrete import DiscreteAdapter
from harness.check import Case
from harness.construction import design_of
from harness.contracts import Budget
from harness.registry import known, resolve

SYSTEMS = [name for name in known("models") if resolve("models", name).load().design.kind == "diffusion"]
VARIANTS = [
    ("mdlm", {"window": 4}), ("mdlm", {"times": "importance"}), ("mdlm", {"guidance": 2.0}), ("md4", {"guidance": 2.0}),
    ("udlm", {"guidance": 2.0}), ("udlm", {"last_step": "greedy"}), ("sedd", {"kernel": "uniform"}),
    ("sedd", {"sampler": "euler"}), ("bd3-lm", {"sampler": "first-hitting"}), ("llada", {"remasking": "random"}),
    ("llada", {"guidance": 1.0}), ("d3pm", {"kernel": "uniform"}),
]  # fmt: skip
BRIEF = Budget(tokens=1_200)


@pytest.mark.parametrize(
    ("model", "keys"),
    [*((model, {}) for model in SYSTEMS), *(pytest.param(*variant, marks=pytest.mark.slow) for variant in VARIANTS)],
    ids=str,
)
def test_a_system_learns_writes_and_scores_away_from_the_cpu(model, keys, tmp_path, monkeypatch):
    model_class = resolve("models", model).load()
    design = design_of(model_class, keys)
    monkeypatch.setattr(DiscreteAdapter, "most_draws", 1)
    with fake_device(monkeypatch) as device:
        case = Case(model_class, design, design.families[-1], keys, tmp_path, device)
        case.budget = BRIEF
        assert len(case.generate(case.requests()[:2])) == 2
        case.model.likelihood(case.test[:2])


def test_tensors_of_two_devices_do_not_meet(monkeypatch):
    with fake_device(monkeypatch) as device:
        away, here = torch.ones(2, device=device), torch.ones(2)
        assert (away + here.sum()).tolist() == [3, 3]
        assert (away + here.to(device))[torch.tensor([0])].tolist() == [2]
        with pytest.raises(RuntimeError, match="two devices"):
            away + here
        with pytest.raises(RuntimeError, match="two devices"):
            here[torch.tensor([0], device=device)]
