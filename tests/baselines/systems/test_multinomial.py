"""Multinomial diffusion as a text model: exactness of its bound and sampler, loss-aware times, training, saving."""

import math

import pytest
import torch
from toy_sentences import EXAMPLES, LENGTH, learns, requests, tiny, trained

from baselines.adapter import canvas_of
from baselines.encoding import targets
from baselines.enumeration import exact_bound
from baselines.networks.initialise import initialise
from baselines.parts.objectives_discrete import bound_term
from baselines.parts.timesteps import LossAware
from baselines.systems.multinomial import FLOORED_COSINE, Multinomial
from baselines.training import Draws
from harness.contracts import Example, Sampling


def model_of(schedule="cosine-plain", **size):
    return tiny(Multinomial, schedule, **{"chain": 50, **size})


def test_it_trains_samples_scores_and_survives_saving(tmp_path):
    model = model_of()
    assert trained(model, 5).updates == 5
    found = model.generate(requests(3), Sampling(steps=5))
    assert [answer.network_calls for answer in found] == [5, 5, 5]
    scores = model.likelihood(EXAMPLES[:4])
    assert (scores.kind, scores.estimator) == ("bound", "discrete-T")
    model.save(tmp_path)
    again = Multinomial.load(tmp_path, "cpu")
    assert again.generate(requests(3), Sampling(steps=5)) == found
    assert again.likelihood(EXAMPLES[:4]) == scores


def test_untrained_it_estimates_every_token_alike():
    """The gate begins at 0."""
    model = model_of()
    initialise(model.diffusion, torch.Generator().manual_seed(0))
    ids = torch.randint(len(model.task.tokenizer), (3, LENGTH))
    estimate = model.diffusion.denoiser(ids, torch.zeros(3), torch.zeros_like(ids, dtype=torch.bool), None)
    assert torch.allclose(estimate.x0_hat.exp(), torch.full_like(estimate.x0_hat, 1 / len(model.task.tokenizer)))


def test_untrained_its_bound_is_that_of_a_uniform_law():
    """An estimate that knows nothing gives the exact reverse of a chain that begins anywhere: the bound is L log V."""
    model = model_of(FLOORED_COSINE.replace("@1000", "@20"))
    states = len(model.task.tokenizer)
    for ids in ([0, 1], [states - 1, 3]):
        bound = exact_bound(model.diffusion.double(), torch.tensor(ids))
        assert bound.total.item() == pytest.approx(2 * math.log(states), rel=1e-6)
        assert bound.prior > 1e-6


def test_its_bound_by_draws_is_the_exact_one():
    model = model_of(FLOORED_COSINE.replace("@1000", "@20"), length=2)
    examples = [Example(id=str(index), target=word) for index, word in enumerate(("old", "dog", "the", "cat"))]
    trained(model, 3, examples * 8)
    scores = model.likelihood(examples * 16)
    ids = [torch.tensor(row) for row in targets(model.task, examples)]
    exact = sum(exact_bound(model.diffusion.eval(), row).total.item() for row in ids) / len(ids)
    mean, error = sum(scores.nats) / 64, sum(value**2 for value in scores.mc_errors) ** 0.5 / 64
    assert error < 0.05 * exact
    assert abs(mean - exact) < 4.5 * error


def test_what_the_chain_leaves_is_charged():
    """The divergence from the prior alone, which draws would hide."""
    model = model_of(FLOORED_COSINE.replace("@1000", "@10"), length=2).eval()
    canvas = canvas_of(model._data([Example(id="0", target="old")]))
    expected = exact_bound(model.diffusion, canvas.ids[0]).prior
    assert expected > 1e-6
    assert torch.allclose(model.beginning(canvas, []), expected.view(1, 1), rtol=1e-9)


def test_the_loss_is_the_bound_and_nothing_beside_it():
    model = model_of(chain=7)
    initialise(model.diffusion, torch.Generator().manual_seed(0))
    canvas, draws = canvas_of(model._data(EXAMPLES[:4])), Draws(seed=0, batch=4, rows=slice(4), device=torch.device("cpu"))
    t = torch.tensor([[1.0], [3.0], [4.0], [7.0]], dtype=torch.float64) / 7
    step = model.diffusion.step(canvas, t, t - 1 / 7, draws)
    assert (step.x_t != canvas.ids).any()
    assert torch.allclose(model.diffusion.objective(step), 7 * bound_term(model.kernel)(step), rtol=1e-6)


def test_the_native_schedule_leaves_what_the_prior_accounts_for():
    table = model_of(FLOORED_COSINE).diffusion.schedule
    assert table.alpha_bar(torch.tensor([[1.0]]).double()).item() == pytest.approx(4.9e-5, rel=0.02)
    short = model_of(FLOORED_COSINE.replace("@1000", "@10")).diffusion.schedule
    assert short.alpha_bar(torch.tensor([[1.0]]).double()).item() == pytest.approx(4.9e-3, rel=0.02)


def test_the_last_step_draws():
    """All requests have noise of their own: from equal states the last step gives different texts."""
    model = model_of(chain=1)
    texts = {answer.texts for answer in model.generate(requests(30), Sampling(steps=1))}
    assert len(texts) > 25


def test_losses_are_heard_in_nats_of_a_whole_canvas():
    """Beside the 1e-4 that is added to their roots: those of all steps make up the bound, while little is learnt."""
    model = model_of(chain=4)
    trained(model, 20)
    times, bound = model.diffusion.times, model.likelihood(EXAMPLES[:8]).nats
    assert times.warm
    assert times.squares.sqrt().sum().item() == pytest.approx(sum(bound) / 8, rel=0.5)


def test_times_follow_the_losses_once_all_were_drawn_often():
    times, generator = LossAware(3, scale=2.0), torch.Generator().manual_seed(0)
    _, weights = times.sample(5, generator)
    assert weights.tolist() == [1.0] * 5
    for step, loss in ((0, 9.0), (1, 1.0), (2, 3.0)):
        times.observe(torch.tensor([step] * 10), torch.tensor([loss] * 10))
    assert not times.warm
    assert times.probabilities().tolist() == [1 / 3] * 3
    times.observe(torch.arange(3), torch.tensor([9.0, 1.0, 3.0]))
    assert times.warm
    shrunk = 1 - 0.9**11
    expected = torch.tensor([4.0, 4.0, 36.0], dtype=torch.float64).mul(shrunk).add(1e-10).sqrt().add(1e-4)
    assert torch.allclose(times.probabilities(), expected / expected.sum(), rtol=1e-12)
    drawn, weights = times.sample(3000, generator)
    assert torch.allclose(weights, 1 / (3 * times.probabilities()[drawn]))
    shares = torch.bincount(drawn, minlength=3) / 3000
    assert torch.allclose(shares.double(), times.probabilities(), atol=4.5 * (0.25 / 3000) ** 0.5)
    assert (weights * torch.tensor([9.0, 1.0, 3.0])[drawn]).mean().item() == pytest.approx(13 / 3, rel=0.1)


def test_a_chain_of_one_step_has_one_time():
    times = LossAware(1)
    times.observe(torch.zeros(11, dtype=torch.int64), torch.ones(11))
    assert times.probabilities().tolist() == [1.0]


def test_times_resume_with_their_losses(tmp_path):
    model = model_of(chain=2)
    trained(model, 5)
    assert model.diffusion.times.warm
    model.save(tmp_path)
    again = Multinomial.load(tmp_path, "cpu")
    assert torch.equal(again.diffusion.times.squares, model.diffusion.times.squares)
    assert torch.equal(again.diffusion.times.seen, model.diffusion.times.seen)


@pytest.mark.slow
def test_learning_lowers_the_bound_towards_the_entropy():
    learns(model_of(width=48, chain=1000), updates=800, steps=100, bound=3.0, known=51)
