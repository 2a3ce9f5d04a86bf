"""What the enumeration tests do not see: precision, scale, ties between parts."""

import pytest
import torch

from baselines.parts.categorical import Absorbing, Categorical, Uniform, Unmasking, joint, normalised, point
from baselines.parts.randomness import Noise
from baselines.parts.samplers_discrete import lowest
from baselines.parts.timesteps import StratifiedTimes


def level(value):
    return torch.tensor([[value]], dtype=torch.float64)


def test_a_tiny_chance_of_being_revealed_is_not_lost():
    """alpha moves by 1e-9 in float64; in float32 nothing would happen."""
    kernel = Absorbing(3)
    assert kernel.reveal(level(0.5), level(0.5 + 1e-9)).item() == pytest.approx(2e-9, rel=1e-6)


def test_where_nothing_stays_masked_every_mask_is_revealed():
    """Even where nothing was masked at t: a level that is believed of a token may say so of a position that is masked."""
    kernel = Absorbing(3)
    assert kernel.reveal(level(0.4), level(1.0)) == 1
    assert kernel.reveal(level(1.0), level(1.0)) == 1
    assert kernel.reveal(level(0.4), level(0.4)) == 0


def test_tokens_are_drawn_only_where_masks_are_revealed():
    x_t = torch.tensor([[3, 1, 3, 3]])
    log_x0 = torch.full((1, 4, 3), 1 / 3).log()
    law = Unmasking(x_t, 3, torch.tensor([[1.0, 1.0, 0.0, 0.4]]).double(), log_x0)
    noise = torch.tensor([[[0.5, 0.1], [0.5, 0.9], [0.5, 0.5], [0.41, 0.5]]], dtype=torch.float64)
    assert law.sample(noise).tolist() == [[0, 1, 3, 3]]
    noise[0, 3] = torch.tensor([0.39, 0.99])
    assert law.sample(noise).tolist() == [[0, 1, 3, 2]]


def test_the_mode_of_an_unmasking_is_the_mode_of_its_law():
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randint(0, 6, (50, 4), generator=generator)
    log_x0 = torch.randn(50, 4, 5, generator=generator).log_softmax(-1)
    law = Unmasking(x_t, 5, torch.rand(50, 4, generator=generator).double(), log_x0)
    assert torch.equal(law.mode(), law.log_probabilities().argmax(-1))


def test_divergence_stays_exact_where_the_law_hardly_moves():
    """One step in a million: the closed form of a uniform kernel against float32 and float64."""
    kernel = Uniform(50)
    x_t, x0 = torch.tensor([[7, 9]]), torch.tensor([[7, 3]])
    logits = torch.randn(1, 2, 50, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    pair = level(0.3), level(0.300001)
    exact = kernel.divergence(x_t, x0, normalised(logits), *pair)
    single = kernel.divergence(x_t, x0, normalised(logits.float()), *pair)
    assert (exact > 0).all()
    torch.testing.assert_close(single.double(), exact, rtol=0.2, atol=3e-6)


def test_uniform_noise_draws_every_token_equally_often():
    """n = 40,000; |z| < 4.5."""
    kernel = Uniform(7)
    drawn = kernel.prior(Noise(torch.arange(40_000)).uniform(0, 1, 2))
    count = torch.bincount(drawn[:, 0], minlength=7).double()
    assert ((count - 40_000 / 7) / (40_000 * 6 / 49) ** 0.5).abs().max() < 4.5


def test_the_floor_raises_both_factors():
    transition, marginal = torch.tensor([[[0.5, 0.0]]]).log(), torch.tensor([[[0.2, 0.8]]]).log()
    law = joint(transition, marginal, floor=0.1).probabilities()[0, 0]
    expected = torch.tensor([0.6 * 0.3, 0.1 * 0.9])
    torch.testing.assert_close(law, expected / expected.sum())


def test_logits_are_normalised_in_float32_at_least():
    assert normalised(torch.zeros(2, 3, dtype=torch.bfloat16)).dtype == torch.float32
    assert normalised(torch.zeros(2, 3, dtype=torch.float64)).dtype == torch.float64


def test_point_is_a_law():
    assert point(torch.tensor([[1]]), 3).exp().tolist() == [[[0.0, 1.0, 0.0]]]
    assert Categorical(point(torch.tensor([[1]]), 3)).mode().item() == 1


def test_lowest_never_takes_what_is_not_masked():
    priority = torch.tensor([[0.1, 0.2, 0.3, 0.4]])
    masked = torch.tensor([[False, True, True, True]])
    assert lowest(priority, masked, torch.tensor([1])).tolist() == [[False, True, True, False]]
    assert lowest(priority, masked, torch.tensor([4])).sum() == 0


def test_a_swapped_schedule_that_has_lost_everything_gives_no_nan():
    for kernel in (Absorbing(3), Uniform(3)):
        x_t = kernel.prior(Noise(torch.tensor([1])).uniform(0, 2, 2))
        law = kernel.posterior(x_t, torch.full((1, 2, 3), 1 / 3).log(), level(0.0), level(0.0))
        assert not law.log_probabilities().isnan().any()


def test_stratified_times_visit_every_part_and_every_step_equally_often():
    """n = 40,000; |z| < 4.5 against the variance of independent draws, which is larger."""
    times, generator = StratifiedTimes(10), torch.Generator().manual_seed(0)
    drawn = torch.cat([times.sample(8, generator)[0] for _ in range(5000)])
    count = torch.bincount(drawn, minlength=10).double()
    assert ((count - 4000) / (40_000 * 0.09) ** 0.5).abs().max() < 4.5
    once, weight = times.sample(5, generator)
    assert (once // 2).tolist() == [0, 1, 2, 3, 4]
    assert (weight == 1).all()
