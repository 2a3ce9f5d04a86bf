"""On an accelerator every adapter keeps its contract, and a model trained there scores texts as it does on the CPU."""

import pytest
import torch

from harness.check import Case, conformance
from harness.construction import design_of
from harness.registry import known, resolve

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
SILENT = ("floor", "imported", "pretrained")
TRAINED = [name for name in known("models") if resolve("models", name).load().design.kind not in SILENT]


@pytest.mark.parametrize("model", TRAINED)
def test_an_adapter_keeps_its_contract(model):
    assert [finding for finding in conformance(model, device="cuda") if finding.status == "failed"] == []


@pytest.mark.parametrize("model", TRAINED)
def test_scores_are_those_of_the_cpu(model, tmp_path):
    model_class = resolve("models", model).load()
    design = design_of(model_class, {})
    case = Case(model_class, design, design.families[0], {}, tmp_path, "cuda")
    case.model.save(tmp_path / "saved")
    there, here = case.model.likelihood(case.test), model_class.load(tmp_path / "saved", "cpu").likelihood(case.test)
    if design.likelihood_on(case.grain) is None:
        assert there is None
        assert here is None
    elif here.kind == "exact":
        assert there.nats == pytest.approx(here.nats, rel=1e-3)
    else:  # other draws on another device: equal on average only
        assert sum(there.nats) == pytest.approx(sum(here.nats), rel=0.05)
