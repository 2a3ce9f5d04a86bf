import pytest
import torch

from baselines.parts.timesteps import (
    LossAware,
    LossSecondMoment,
    TimeSampler,
    UniformTimes,
    Visited,
    evenly,
    from_the_end,
    network_time,
    respaced,
    strided,
    trailing,
)

SPACINGS = (evenly, strided, trailing)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize(("T", "steps"), [(1000, 50), (64, 64), (64, 32), (10, 1), (2000, 200)])
def test_every_spacing_visits_that_many_steps_in_ascending_order(spacing: Visited, T: int, steps: int) -> None:
    visited = spacing(T, steps)
    assert len(visited) == steps
    assert visited.dtype == torch.int64
    assert bool((visited.diff() > 0).all())
    assert visited[0] >= 0
    assert visited[-1] < T


@pytest.mark.parametrize("T", [7, 1000])
def test_all_steps_are_all_steps(T: int) -> None:
    for spacing in SPACINGS:
        assert torch.equal(spacing(T, T), torch.arange(T))


def test_trailing_ends_at_full_noise_with_equal_pieces() -> None:
    assert trailing(1000, 4).tolist() == [249, 499, 749, 999]
    assert trailing(10, 1).tolist() == [9]
    assert trailing(10, 6).tolist() == [1, 2, 4, 6, 7, 9]  # rounded, not cut off


def test_strided_begins_with_the_data() -> None:
    assert strided(100, 4).tolist() == [0, 25, 50, 75]


def test_evenly_has_both_ends() -> None:
    assert evenly(2000, 20).tolist()[:2] == [0, 105]
    assert evenly(2000, 20)[-1] == 1999
    assert evenly(9, 1).tolist() == [0]


def test_from_the_end_begins_at_full_noise() -> None:
    assert from_the_end(10, 4).tolist() == [1, 5, 9]


def test_sections_share_the_chain() -> None:
    assert respaced(10, "2,3").tolist() == [0, 4, 5, 7, 9]
    assert respaced(7, "1,1,1").tolist() == [0, 3, 5]


@pytest.mark.parametrize("sections", ["50", "ddim30", "0", "", "ten", "-3", "10,,10", "ddim", "41"])
def test_impossible_respacings_are_refused(sections: str) -> None:
    with pytest.raises(ValueError, match=r"cannot keep|no integer stride|expected step counts"):
        respaced(40, sections)


def test_more_steps_than_there_are_cannot_be_visited() -> None:
    with pytest.raises(ValueError, match="cannot visit 11 of 10"):
        trailing(10, 11)


def test_network_time_runs_to_a_thousand_whatever_the_chain() -> None:
    assert network_time(torch.tensor([0, 10, 19]), 20).tolist() == [0, 500, 950]


@pytest.mark.parametrize("sampler", [UniformTimes(5), LossSecondMoment(5, per_step=2)])
def test_draws_depend_on_the_generator_only(sampler: TimeSampler) -> None:
    first = sampler.sample(64, torch.Generator().manual_seed(3))
    again = sampler.sample(64, torch.Generator().manual_seed(3))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert set(first[0].tolist()) == set(range(5))
    assert torch.equal(first[1], torch.ones(64, dtype=torch.float64))


def test_times_live_where_the_history_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LossSecondMoment, "warm", False)
    assert LossSecondMoment(5, per_step=2).to("meta").loss_weights().device.type == "meta"


def warm(losses: torch.Tensor, share: float = 0.1) -> LossSecondMoment:
    sampler = LossSecondMoment(len(losses), per_step=2, uniform_share=share)
    for _ in range(2):
        sampler.observe(torch.arange(len(losses)), losses)
    return sampler


def test_large_losses_are_drawn_more_often_and_the_estimate_stays_unbiased() -> None:
    losses = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    sampler = warm(losses)
    expected = 0.9 * losses / losses.sum() + 0.1 / 3
    assert torch.allclose(sampler.probabilities(), expected)
    t, weights = sampler.sample(20_000, torch.Generator().manual_seed(0))
    assert torch.allclose(torch.bincount(t).double() / 20_000, expected, atol=0.02)
    assert (losses[t] * weights).mean().item() == pytest.approx(losses.mean().item(), abs=0.05)


def test_nothing_changes_before_every_step_has_a_history() -> None:
    sampler = LossSecondMoment(2, per_step=2)
    sampler.observe(torch.tensor([0, 0, 0, 1]), torch.tensor([9.0, 9.0, 9.0, 1.0]))
    assert not sampler.warm
    assert sampler.probabilities().tolist() == [0.5, 0.5]


def test_the_oldest_loss_is_forgotten() -> None:
    sampler = warm(torch.tensor([1.0, 1.0], dtype=torch.float64), share=0.0)
    sampler.observe(torch.tensor([0, 0]), torch.tensor([3.0, 3.0]))
    assert torch.allclose(sampler.probabilities(), torch.tensor([0.75, 0.25], dtype=torch.float64))


def test_the_history_survives_a_state_dict() -> None:
    sampler = warm(torch.tensor([1.0, 4.0], dtype=torch.float64))
    twin = LossSecondMoment(2, per_step=2, uniform_share=0.1)
    twin.load_state_dict(sampler.state_dict())
    assert torch.equal(twin.probabilities(), sampler.probabilities())


@pytest.mark.parametrize("steps", [1, 4])
def test_loss_aware_times_are_uniform_where_no_loss_was_left(steps: int) -> None:
    law = LossAware.by_loss(torch.zeros(steps, dtype=torch.float64))
    assert law.tolist() == pytest.approx([1 / steps] * steps)
