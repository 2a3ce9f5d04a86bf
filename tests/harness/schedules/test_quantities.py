import pytest
import torch

from harness.schedules import quantities
from harness.schedules.names import build

TIMES = torch.linspace(0.05, 0.95, 7, dtype=torch.float64).unsqueeze(-1)


@pytest.mark.parametrize("text", ["log-linear", "cosine-plain", "geometric"])
def test_the_two_published_forms_of_the_weight_agree(text: str) -> None:
    schedule = build(text)
    alpha, rate = schedule.alpha_bar(TIMES), schedule.rate(TIMES)
    score = quantities.score_weight(quantities.total_noise(alpha), quantities.noise_rate(alpha, rate))
    assert torch.allclose(score, -quantities.masked_weight(alpha, rate), rtol=1e-9)


def test_amplitudes_and_ratios_belong_together() -> None:
    alpha = torch.tensor([0.1, 0.5, 0.99], dtype=torch.float64)
    assert torch.allclose(quantities.amplitude(alpha) ** 2 + quantities.noise_std(alpha) ** 2, torch.ones(3).double())
    assert torch.allclose(quantities.snr(alpha), torch.exp(quantities.log_snr(alpha)))
    assert torch.allclose(quantities.velocity_weight(alpha), quantities.snr(alpha) + 1)
    assert torch.allclose(quantities.destroyed(alpha), 1 - alpha)


def test_probability_is_used_up() -> None:
    kept, masked = torch.tensor([0.6]), torch.tensor([0.3])
    assert torch.allclose(kept + masked + 5 * quantities.spread(kept, masked, 5), torch.ones(1))
