"""Time in steps and without: intervals, grids, what networks are told."""

import pytest
import torch

from baselines.parts.clocks import Chain, Continuum, uniform_grid
from baselines.parts.timesteps import evenly


def test_the_step_of_a_chain_leads_from_its_beginning_to_its_end():
    t, s = Chain(4).interval(torch.tensor([0, 3]))
    assert t.tolist() == [[0.25], [1.0]]
    assert s.tolist() == [[0.0], [0.75]]


@pytest.mark.parametrize("steps", [1, 7, 50, 1000, 2048])
def test_a_chain_knows_its_steps_by_their_ends(steps):
    clock, places = Chain(steps), torch.arange(steps)
    t, _ = clock.interval(places)
    assert torch.equal(clock.index(t[:, 0]), places)
    assert torch.equal(clock.network_time(t), places.double() * (1000 / steps))


def test_a_chain_is_walked_from_noise_to_data_through_what_is_visited():
    assert Chain(10).grid(2).tolist() == [1.0, 0.5, 0.0]
    assert Chain(10, evenly).grid(2).tolist() == [1.0, 0.1, 0.0]
    assert Chain(10).grid(10).tolist() == [i / 10 for i in range(10, -1, -1)]
    with pytest.raises(ValueError, match="cannot visit 11 of 10"):
        Chain(10).grid(11)


def test_places_of_a_chain_are_its_steps_in_equal_shares():
    assert Chain(4).place(torch.tensor([0.0, 0.24, 0.25, 0.99, 1.0])).tolist() == [0, 0, 1, 3, 3]
    assert Chain(4).span == 4


def test_a_continuum_has_no_steps():
    clock = Continuum(0.01, lambda steps: uniform_grid(steps, last=1e-5))
    t, s = clock.interval(torch.tensor([0.3, 0.6], dtype=torch.float64))
    assert t.tolist() == s.tolist() == [[0.3], [0.6]]
    by_position = torch.tensor([[0.3, 0.6]]).double()
    assert torch.equal(clock.interval(by_position)[0], by_position)
    assert clock.place(torch.tensor([0.0, 0.5, 1.0]).double()).tolist() == pytest.approx([0.01, 0.505, 1.0])
    assert clock.span == pytest.approx(0.99)
    assert clock.network_time(t).tolist() == pytest.approx([300, 600])


def test_a_uniform_grid_ends_in_one_move_that_is_no_step():
    grid = uniform_grid(4, last=0.2)
    assert grid.tolist() == pytest.approx([1, 0.8, 0.6, 0.4, 0.2, 0])
