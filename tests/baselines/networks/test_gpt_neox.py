import runpy
from pathlib import Path

import pytest
import torch

from baselines.networks.incremental import Incremental
from baselines.networks.initialise import initialise
from baselines.networks.language_model import LanguageModel

YARDSTICK = Path(__file__).parents[2] / "benchmarks" / "gpt_neox.py"


@torch.inference_mode()
@pytest.mark.filterwarnings("ignore")
def test_logits_equal_those_of_gpt_neox_with_and_without_cache():
    pytest.importorskip("transformers")
    model = LanguageModel(50, 48, 3, 4).eval()
    initialise(model, torch.Generator().manual_seed(0))
    torch.nn.init.normal_(model.embedding.weight, std=0.5, generator=torch.Generator().manual_seed(1))
    ids = torch.randint(5, 50, (3, 20), generator=torch.Generator().manual_seed(2))
    expected = runpy.run_path(str(YARDSTICK))["as_gpt_neox"](model)(ids).logits
    assert expected.std() > 0.1
    assert torch.allclose(model(ids), expected, atol=1e-5, rtol=1e-5)
    run = Incremental(model.transformer).start(
        model.embedding(ids[:, :4]), present=torch.ones(3, 4, dtype=torch.bool), capacity=20
    )
    for place in range(4, 20):
        assert torch.allclose(model.head(run.step(model.embedding(ids[:, place]))), expected[:, place], atol=1e-5, rtol=1e-5)
