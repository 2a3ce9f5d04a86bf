"""Every shipped diffusion model keeps the contract that `harness check` asks of others."""

import pytest

from harness.check import conformance
from harness.report.matrix import listing

pytestmark = pytest.mark.slow
MODELS = [entry["registered"] for entry in listing("models") if entry.get("kind") == "diffusion"]


@pytest.mark.parametrize("model", MODELS)
def test_a_shipped_model_keeps_the_contract(model):
    findings = conformance(model)
    assert [finding for finding in findings if finding.status == "failed"] == []
    assert [finding for finding in findings if finding.status == "passed"]
