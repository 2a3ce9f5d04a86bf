"""MD4: grids, shared times, reconstruction, what is decoded at t = 0, bounds in continuous time."""

from math import cos, log, pi

import pytest
import torch
from masked_cases import WORDS, agree, inside, level, opening, plausible, sharpened, to_write
from toy_sentences import LENGTH, learns, requests, tiny, trained

from baselines.encoding import targets
from baselines.enumeration import decided, drawn, exact_law, without_mask
from baselines.parts.randomness import Noise
from baselines.systems.md4 import LAST_TIME, MD4
from harness.contracts import Sampling

NATIVE = MD4.design.schedule


# --- times and levels ------------------------------------------------------------------------------------------------
def test_the_native_schedule_is_linear_between_two_ten_thousandths():
    model = tiny(MD4)
    assert [level(model, t) for t in (0.0, 0.5, 1.0)] == pytest.approx([0.9999, 0.5, 0.0001], rel=1e-12)
    assert model.diffusion.clock.first == 0


def test_the_times_of_a_batch_share_one_offset():
    t, weights = tiny(MD4).diffusion.times.sample(8, torch.Generator().manual_seed(0))
    other, _ = tiny(MD4).diffusion.times.sample(8, torch.Generator().manual_seed(1))
    assert torch.allclose(t.diff(), torch.full((7,), 1 / 8, dtype=torch.float64))
    assert 0 <= t[0] < 1 / 8
    assert t[0] != other[0]
    assert weights.tolist() == [1.0] * 8


def test_the_network_is_told_the_time():
    model, seen = tiny(MD4), []
    trained(model, 2)
    ids = torch.zeros(2, LENGTH, dtype=torch.int64)
    estimate = model.diffusion.denoiser(ids, torch.tensor([1.0, 999.0]), ids.bool(), None).x0_hat
    assert (estimate[0] - estimate[1]).abs().max() > 1e-4
    model.network.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[1][0].item()))
    model.diffusion.sample(to_write(model, 1), Noise(torch.arange(1)), model.diffusion.clock.grid(5))
    assert set(seen) <= {1000 * t for t in model.diffusion.clock.grid(5).tolist()}


# --- bound -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("schedule", [NATIVE, "log-linear", "between(of=linear-alpha-bar,low=0.3,high=0.8)"])
def test_its_bound_by_draws_is_the_exact_one(schedule):
    """The integral, the step from nothing but masks to t = 1, and log V for every mask that is left at t = 0."""
    model = tiny(MD4, schedule, length=2)
    trained(model, 3, WORDS * 8)
    scores = model.likelihood(WORDS * 16)
    left = 2 * (1 - level(model, 0.0)) * log(len(model.task.tokenizer))
    assert agree(
        scores, [inside(model, ids) + opening(model, ids) + left for ids in map(torch.tensor, targets(model.task, WORDS))]
    )


# --- sampler ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("grid", "times"),
    [("cosine", [1.0, cos(pi / 8), cos(pi / 4), cos(3 * pi / 8)]), ("uniform", [1.0, 0.75, 0.5, 0.25])],
)
def test_grids_lead_to_t_0_and_from_there_to_the_data(grid, times):
    found = tiny(MD4, grid=grid).diffusion.clock.grid(4).tolist()
    assert found == pytest.approx([*times, LAST_TIME, 0.0], abs=1e-8)


def test_the_cosine_grid_writes_few_tokens_at_first():
    """Expected shares of tokens written in each of 8 steps."""
    shares = {}
    for grid in ("cosine", "uniform"):
        times = tiny(MD4, grid=grid).diffusion.clock.grid(8)[:-1]
        shares[grid] = -times.diff()
    assert (shares["cosine"].diff() > 0).all()
    assert shares["cosine"][0] < shares["uniform"][0] / 5


def test_what_is_masked_at_t_0_is_decoded_by_the_mode():
    """A schedule that keeps nothing at all before the data: every token is decoded at t = 0, alike for every request."""
    model = sharpened(tiny(MD4, "between(of=linear-alpha-bar,low=0,high=0)"))
    trained(model, 1)
    found = model.generate(requests(20), Sampling(steps=6))
    assert len({answer.ids for answer in found}) == 1
    assert [answer.network_calls for answer in found] == [1] * 20
    masks, nothing = torch.full((1, LENGTH), model.kernel.mask), torch.zeros(1, LENGTH, dtype=torch.bool)
    best = model.diffusion.denoiser(masks, torch.zeros(1, dtype=torch.float64), nothing, None).x0_hat.argmax(-1)
    ids = found[0].ids[0]
    assert list(ids) == best[0].tolist()[: len(ids)]


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_in_steps_the_last_one_draws_as_its_bound_says(steps):
    """The native schedule in six steps; modes in the last one would make another law."""
    model = sharpened(tiny(MD4, "between(of=linear-alpha-bar@6,low=0.0001,high=0.9999)", length=2)).eval()
    diffusion, tokens, states = model.diffusion, len(model.task.tokenizer), model.kernel.states
    grid = diffusion.clock.grid(steps)
    laws = [without_mask(exact_law(diffusion, 2, grid, ending), states, 2, tokens) for ending in (drawn, decided)]
    found = diffusion.sample(to_write(model, 20_000), Noise(torch.arange(20_000)), grid)
    assert [plausible(found, law, tokens) for law in laws] == [True, False]


def test_one_training_serves_both_grids(tmp_path):
    model = sharpened(tiny(MD4))
    trained(model, 2)
    model.save(tmp_path)
    again = MD4.load(tmp_path, "cpu", grid="uniform")
    assert again.keys["grid"] == "uniform"
    assert torch.equal(again.network.head.weight, model.network.head.weight)
    usual, other = (one.generate(requests(20), Sampling(steps=4)) for one in (model, again))
    assert [answer.texts for answer in usual] != [answer.texts for answer in other]
    assert "grid" in MD4.sampling_keys


def test_other_grids_are_refused():
    with pytest.raises(ValueError, match="grid 'sine' is none of cosine, uniform"):
        tiny(MD4, grid="sine")


@pytest.mark.slow
@pytest.mark.parametrize("schedule", [NATIVE, "linear-alpha-bar@100"])
def test_it_learns(schedule):
    learns(tiny(MD4, schedule, width=48), updates=500, steps=50, bound=2.8, known=50)
