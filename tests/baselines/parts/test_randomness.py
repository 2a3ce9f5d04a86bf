import pytest
import torch

from baselines.parts.randomness import Noise, categorical

SEEDS = torch.tensor([3, 2**62 + 5, 3, 17])


def test_a_request_keeps_its_noise_in_any_batch():
    together = Noise(SEEDS).uniform(4, 3, 2)
    alone = Noise(SEEDS[1:2]).uniform(4, 3, 2)
    assert torch.equal(together[1:2], alone)
    assert torch.equal(together[0], together[2])


def test_steps_streams_and_seeds_differ():
    noise = Noise(SEEDS)
    assert not torch.equal(noise.uniform(0, 8), noise.uniform(1, 8))
    assert not torch.equal(noise.uniform(0, 8), noise.split(1).uniform(0, 8))
    assert not torch.equal(noise.uniform(0, 8)[0], noise.uniform(0, 8)[1])


def test_one_step_per_request():
    steps = torch.tensor([0, 1, 2, 3])
    mixed = Noise(SEEDS).uniform(steps, 5)
    assert all(torch.equal(mixed[row], Noise(SEEDS).uniform(int(step), 5)[row]) for row, step in enumerate(steps))


def test_uniform_moments_and_serial_correlation():
    """n = 200,000; |z| < 4.5 for four statistics: false alarms below 3e-5."""
    draws = Noise(torch.arange(200)).uniform(0, 1000)
    n = draws.numel()
    assert abs(draws.mean() - 0.5) * (12 * n) ** 0.5 < 4.5
    assert abs(draws.var() - 1 / 12) * (180 * n) ** 0.5 < 4.5
    centred = (draws - 0.5) * 12**0.5
    assert abs((centred[:, 1:] * centred[:, :-1]).sum()) / n**0.5 < 4.5
    assert abs((centred[1:] * centred[:-1]).sum()) / n**0.5 < 4.5


def test_normal_moments():
    """n = 200,000; |z| < 4.5 for mean, variance and kurtosis."""
    draws = Noise(torch.arange(200)).normal(7, 1000).double()
    n = draws.numel()
    assert abs(draws.mean()) * n**0.5 < 4.5
    assert abs(draws.var() - 1) * (n / 2) ** 0.5 < 4.5
    assert abs((draws**4).mean() - 3) * (n / 96) ** 0.5 < 4.5


@pytest.mark.parametrize("chunk", [3, 8192])
def test_categorical_law(chunk):
    """n = 40,000; every |z| < 4.5."""
    weights = torch.tensor([0.0, 5.0, 0.0, 1.0, 0.01, 0.0, 3.0, 0.0])
    uniform = Noise(torch.arange(40)).uniform(0, 1000).flatten()
    drawn = categorical(weights.expand(40_000, -1), uniform, chunk=chunk)
    expected = weights.double() / weights.double().sum()
    count = torch.bincount(drawn, minlength=8).double()
    deviation = (count - 40_000 * expected) / (40_000 * expected * (1 - expected)).clamp_min(1e-12).sqrt()
    assert (count[expected == 0] == 0).all()
    assert deviation[expected > 0].abs().max() < 4.5


def test_categorical_keeps_tails_that_float32_would_lose():
    weights = torch.full((1, 100_000), 1e-9)
    weights[0, 0] = 1.0
    drawn = categorical(weights, torch.tensor([1 - 0.25 * 1e-4], dtype=torch.float64))
    assert drawn.item() > 70_000


def test_categorical_accumulates_in_float64_where_one_chunk_holds_all():
    weights = torch.full((1, 8_000), 1e-9)
    weights[0, 0] = 1.0
    assert categorical(weights, torch.tensor([1 - 2e-6], dtype=torch.float64)).item() == 5_999


def test_categorical_never_leaves_the_support():
    weights = torch.tensor([[0.3, 0.7, 0.0]])
    assert categorical(weights, torch.tensor([1 - 1e-16], dtype=torch.float64)).item() == 1
    assert categorical(weights, torch.tensor([1 - 1e-16], dtype=torch.float64), chunk=1).item() == 1
