"""Chains of matrices: their steps, their levels, what they refuse."""

import pytest
import torch
from scipy.linalg import expm

from baselines.parts.chains import (
    MOST_NEIGHBOURS,
    MOST_STATES,
    DiscretisedGaussian,
    NearestNeighbour,
    gaussian_transition,
    joint_information,
    mask_and_uniform_transition,
    masking_rates,
    neighbour_rate,
    neighbourhood_embeddings,
    neighbours,
)
from harness.schedules.names import build

EMBEDDINGS = torch.randn(12, 5, generator=torch.Generator().manual_seed(3))
COUNTS = torch.arange(1, 13)


def test_gaussian_steps_are_doubly_stochastic_and_local():
    matrix = gaussian_transition(20, 0.01)
    torch.testing.assert_close(matrix.sum(0), torch.ones(20).double())
    torch.testing.assert_close(matrix, matrix.mT)
    assert (matrix >= 0).all()
    assert (matrix[10, 10:].diff() < 0).all()


def test_the_native_schedule_visits_the_gaussian_chain_step_by_step():
    kernel = DiscretisedGaussian.of_length(6, 1000)
    schedule = build("linear-beta-fixed@1000")
    levels = schedule.alpha_bar(torch.arange(1001).double()[:, None] / 1000)
    assert kernel.index(levels)[:, 0].tolist() == list(range(1001))


@pytest.mark.parametrize("name", ["linear-beta-rescaled@1000", "linear-beta"])
def test_alpha_alone_decides_which_step_of_the_gaussian_chain_is_meant(name):
    """An equal table by another name goes step by step too, and so, nearly, does its closed form: no schedule is special."""
    kernel = DiscretisedGaussian.of_length(6, 1000)
    visited = kernel.index(build(name).alpha_bar(torch.arange(1001).double()[:, None] / 1000))[:, 0]
    assert (visited - torch.arange(1001)).abs().max() <= (0 if "@" in name else 3)


def test_gaussian_levels_are_signal_and_mutual_information_is_solved_through_them():
    """The share kept at alpha = 0.5 is small; the schedule that asks for shares gets them, as closely as there are steps."""
    kernel, law = DiscretisedGaussian.of_length(27, 1000), torch.full((27,), 1 / 27, dtype=torch.float64)
    time = torch.linspace(0, 1, 21, dtype=torch.float64)[:, None]
    alpha = build("mutual-information", kernel=kernel, unigram=law).alpha_bar(time)
    steps = kernel.index(torch.cat([alpha, torch.full((1, 1), 0.5, dtype=torch.float64)]))[:, 0]
    shares = torch.stack([joint_information(kernel.products[step], law) for step in steps]) / -law[0].log()
    torch.testing.assert_close(shares[:-1], 1 - time[:, 0], rtol=0, atol=0.01)
    assert shares[-1].item() == pytest.approx(0.1, abs=0.01)


def test_a_move_composes_the_steps_in_between():
    kernel = DiscretisedGaussian.of_length(6, 20)
    composed = kernel.transition_matrix(kernel.levels[9], kernel.levels[4])
    by_hand = torch.linalg.multi_dot([gaussian_transition(6, float(b)) for b in build("linear-beta-rescaled@20").betas[4:9]])
    torch.testing.assert_close(composed, by_hand)


def test_too_many_states_are_refused():
    with pytest.raises(ValueError, match="at most"):
        DiscretisedGaussian(MOST_STATES + 1, torch.tensor([0.1]))
    with pytest.raises(ValueError, match="others"):
        NearestNeighbour(EMBEDDINGS, 12, steps=5, unigram=COUNTS)


def test_a_gaussian_chain_that_does_not_exist_is_refused():
    """20 / T is a beta from 20 steps on."""
    assert len(DiscretisedGaussian.of_length(6, 20).levels) == 21
    with pytest.raises(ValueError, match=r"beta at step 5 of 10 is 1\.1.*outside \(0, 1\]"):
        DiscretisedGaussian.of_length(6, 10)


@pytest.mark.parametrize("steps", [1, 2, 10, 50])
def test_short_walks_among_neighbours_end_where_samplers_begin(steps):
    assert NearestNeighbour(EMBEDDINGS, 11, steps=steps, unigram=COUNTS).levels[-1] < 2e-3


def test_neighbours_do_not_hold_the_token_itself():
    nearest = neighbours(EMBEDDINGS, 4)
    assert not (nearest == torch.arange(12)[:, None]).any()
    rate = neighbour_rate(nearest)
    torch.testing.assert_close(rate, rate.mT)
    torch.testing.assert_close(rate.sum(0), torch.zeros(12).double())


def test_neighbours_are_those_of_the_same_direction_whatever_their_length():
    embeddings = torch.tensor([[1.0, 0.0], [9.0, 1.0], [0.8, 0.6], [0.0, 5.0]])
    assert neighbours(embeddings, 1)[:, 0].tolist() == [1, 0, 1, 2]


def test_tokens_that_are_neighbours_of_each_other_go_over_twice_as_fast():
    """0 and 1 are each other's neighbour, 2 has 0, which does not have it."""
    rate = neighbour_rate(torch.tensor([[1], [0], [0]]))
    assert rate.tolist() == [[-1.5, 1.0, 0.5], [1.0, -1.0, 0.0], [0.5, 0.0, -0.5]]


def test_powers_by_eigenvectors_are_those_of_the_matrix_exponential():
    kernel = NearestNeighbour(EMBEDDINGS, 3, steps=50, unigram=COUNTS)
    rate = neighbour_rate(neighbours(EMBEDDINGS, 3)).numpy()
    base = torch.from_numpy(expm(0.37 * rate))
    torch.testing.assert_close(kernel.power(0.37, times=9), torch.linalg.matrix_power(base, 9))


def test_nearest_neighbour_levels_fall_evenly_and_its_steps_are_integer_powers():
    kernel = NearestNeighbour(EMBEDDINGS, 3, steps=50, unigram=COUNTS)
    goal = 1 - torch.arange(51).double() / 50
    torch.testing.assert_close(kernel.levels[:-1], goal[:-1], rtol=0, atol=5e-3)
    powers = kernel.exponents / kernel.exponents[1]
    torch.testing.assert_close(powers, powers.round())
    assert kernel.index(goal[:, None])[:, 0].tolist() == list(range(51))


def test_the_graph_follows_the_corpus_and_survives_the_state_dict():
    ids = torch.randint(0, 12, (200, 6), generator=torch.Generator().manual_seed(0))
    kernel = NearestNeighbour(EMBEDDINGS.clone(), 3, steps=20, unigram=COUNTS)
    before = kernel.vectors.clone()
    kernel.prepare(ids)
    assert not torch.equal(before, kernel.vectors)
    other = NearestNeighbour(EMBEDDINGS.clone(), 3, steps=20, unigram=COUNTS)
    other.load_state_dict(kernel.state_dict())
    torch.testing.assert_close(other.exponents, kernel.exponents)
    torch.testing.assert_close(other.power(0.5), kernel.power(0.5))


def test_tokens_with_the_same_neighbours_are_near():
    """Tokens 2 and 3 stand between the same words, 4 and 5 elsewhere."""
    rows = [[0, 2, 1], [0, 3, 1], [6, 4, 7], [6, 5, 7]] * 5
    found = neighbourhood_embeddings(torch.tensor(rows), 8, 4)
    nearest = neighbours(found, 1)[:, 0]
    assert nearest[2] == 3
    assert nearest[4] == 5


def test_words_behind_a_token_count_as_those_before_it():
    ids = torch.randint(0, 6, (50, 5), generator=torch.Generator().manual_seed(0))
    assert torch.equal(neighbourhood_embeddings(ids, 6, 3), neighbourhood_embeddings(ids.flip(-1), 6, 3))


def test_masking_rates_leave_the_share():
    kept = torch.cumprod(1 - masking_rates(10, 2 / 3), 0)
    assert kept[-1].item() == pytest.approx(1 / 3)
    torch.testing.assert_close(mask_and_uniform_transition(5, 0.3, 0.2).sum(-1), torch.ones(5).double())


def test_too_many_states_for_walks_are_refused():
    states = MOST_NEIGHBOURS + 1
    with pytest.raises(ValueError, match=f"at most {MOST_NEIGHBOURS} states; got {states}"):
        NearestNeighbour(torch.zeros(states, 2), 3, steps=4, unigram=torch.ones(states))


def test_texts_of_one_token_have_no_neighbours_and_do_no_harm():
    kernel = NearestNeighbour(EMBEDDINGS, 3, steps=4, unigram=COUNTS)
    kernel.prepare(torch.arange(12)[:, None])
    assert torch.isfinite(kernel.levels).all()
