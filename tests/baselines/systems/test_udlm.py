"""UDLM as a text model: exactness of its bound and sampler, conditions and guidance, its last step, training, saving."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from toy_sentences import EXAMPLES, LENGTH, SENTENCES, learns, requests, tiny, trained, view

from baselines.encoding import targets
from baselines.enumeration import arrived, drawn, every_sequence, exact_integral, exact_law
from baselines.parts.categorical import point
from baselines.parts.conditioning import Canvas
from baselines.parts.estimates import Estimate
from baselines.parts.objectives_discrete import bound_term
from baselines.parts.steps import Step
from baselines.systems.udlm import UDLM
from baselines.training import Draws
from harness.construction import construct
from harness.contracts import Budget, Example, FitContext, Request, Sampling, TaskView
from harness.errors import UnknownName
from harness.schedules.names import build
from harness.tokenizer import PAD

STEPS = 5
WORDS = [Example(id=str(index), target=word) for index, word in enumerate(("old", "dog", "the", "cat"))]


# --- training, sampling, saving --------------------------------------------------------------------------------------
def test_it_trains_samples_scores_and_survives_saving(tmp_path):
    model = tiny(UDLM)
    assert trained(model, 5).updates == 5
    found = model.generate(requests(3), Sampling(steps=STEPS))
    assert [answer.network_calls for answer in found] == [STEPS] * 3
    scores = model.likelihood(EXAMPLES[:4])
    assert (scores.kind, scores.estimator) == ("bound", "continuous")
    model.save(tmp_path)
    again = UDLM.load(tmp_path, "cpu")
    assert again.generate(requests(3), Sampling(steps=STEPS)) == found
    assert again.likelihood(EXAMPLES[:4]) == scores


@pytest.mark.parametrize(("last_step", "calls"), [("none", STEPS), ("ancestral", STEPS + 1), ("greedy", STEPS + 1)])
def test_the_last_step_is_one_more_call_and_not_a_matter_of_training(tmp_path, last_step, calls):
    model = tiny(UDLM)
    trained(model, 3)
    model.save(tmp_path)
    again = UDLM.load(tmp_path, "cpu", last_step=last_step)
    assert "last_step" in UDLM.sampling_keys
    assert [answer.network_calls for answer in again.generate(requests(2), Sampling(steps=STEPS))] == [calls] * 2
    assert again.design.last_step.startswith({"none": "none", "ancestral": "sample", "greedy": "argmax"}[last_step])


def test_a_greedy_last_step_ends_in_modes_of_the_estimate():
    model = tiny(UDLM, last_step="greedy")
    with torch.no_grad():
        model.diffusion.denoiser.head.bias[7] = 50.0
    assert {answer.ids[0] for answer in model.generate(requests(4), Sampling(steps=1, fixed_length=True))} == {(7,) * LENGTH}


def test_the_network_is_told_the_time_and_listens():
    model = tiny(UDLM)
    assert model.diffusion.time_input(torch.tensor([[0.25], [1.0]]).double()).tolist() == [250.0, 1000.0]
    trained(model, 3)
    ids = torch.zeros(2, LENGTH, dtype=torch.int64)
    early, late = model.diffusion.denoiser(ids, torch.tensor([10.0, 990.0]), ids.bool(), None).x0_hat
    assert not torch.allclose(early, late, atol=1e-4)


def test_any_token_may_change_at_any_step():
    """Nothing is carried over: tokens of the first half of sampling are replaced in the second."""
    model, seen = tiny(UDLM), []
    model.diffusion.denoiser.register_forward_pre_hook(lambda module, given: seen.append(given[0].clone()))
    model.generate(requests(20), Sampling(steps=8))
    changes = torch.stack([(before != after).sum() for before, after in pairwise(seen)])
    assert (changes > 0).all()
    settled = (seen[3] != seen[2]) & (seen[3] != seen[7])
    assert settled.any()


# --- exactness -------------------------------------------------------------------------------------------------------
def ends(diffusion, ids):
    """The two reverse steps that lie beyond the times of training, by going through every x_t."""
    x_t = every_sequence(diffusion.kernel.states, len(ids))
    rows = ids.expand(len(x_t), -1)
    canvas = Canvas(ids=rows, given=torch.zeros_like(rows, dtype=torch.bool))
    one = torch.ones(len(x_t), 1, dtype=torch.float64)
    last = arrived(diffusion, canvas, x_t, 1e-3 * one, 0 * one)
    opening = replace(arrived(diffusion, canvas, x_t, one, one), alpha_t=torch.zeros(rows.shape, dtype=torch.float64))
    total = 0.0
    for step in (last, opening):
        law = diffusion.kernel.log_marginal(point(rows, diffusion.kernel.states), step.alpha_t)
        reached = law.gather(-1, x_t[..., None])[..., 0].sum(-1).exp()
        total += (reached * bound_term(diffusion.kernel)(step).sum(-1)).sum().item()
    return total


@torch.no_grad()
def exact(model, ids):
    model.eval().double()
    return exact_integral(model.diffusion, model.bound_term, ids, nodes=64).item() + ends(model.diffusion, ids)


@pytest.mark.parametrize("schedule", ["log-linear(eps=0.001)", "cosine-squared(s=0)", "linear-beta"])
def test_an_estimate_that_knows_nothing_has_the_bound_of_a_uniform_law(schedule):
    """Its reverse process is the exact one of tokens that are drawn evenly, so the bound is tight: L log V, on any schedule."""
    model = tiny(UDLM, schedule, length=2)
    for parameter in model.diffusion.denoiser.head.parameters():
        parameter.data.zero_()
    for ids in ([0, 1], [5, 5]):
        assert exact(model, torch.tensor(ids)) == pytest.approx(2 * math.log(len(model.task.tokenizer)), rel=1e-5)


def test_its_bound_by_draws_is_the_exact_one():
    """4.5 standard errors: a false alarm in 150,000."""
    model = tiny(UDLM, length=2)
    trained(model, 3, WORDS * 8)
    scores = model.likelihood(WORDS * 64)
    expected = sum(exact(model, torch.tensor(row)) for row in targets(model.task, WORDS)) / len(WORDS)
    mean, error = sum(scores.nats) / 256, sum(value**2 for value in scores.mc_errors) ** 0.5 / 256
    assert error < 0.035 * expected
    assert abs(mean - expected) < 4.5 * error


def test_its_bound_adds_up_in_float64():
    """Over 50,000 tokens of an estimate in bfloat16, where a sum in its own format would be wrong by more than a thousandth."""
    model, tokens = tiny(UDLM), 50_000
    law = torch.randn(1, 1, tokens, generator=torch.Generator().manual_seed(0)).log_softmax(-1).bfloat16()
    ids, level, t = torch.tensor([[7]]), torch.tensor([[0.5]], dtype=torch.float64), torch.tensor([[0.5]], dtype=torch.float64)
    step = Step(
        ids=ids, given=torch.zeros_like(ids, dtype=torch.bool), clean=ids, x0=ids, x_t=ids + 1, estimate=Estimate(law, law), t=t,
        alpha_t=level, alpha_s=level, alpha_T=0 * level, first=torch.tensor([[False]]),
    )  # fmt: skip
    exact = replace(step, estimate=Estimate(law.double(), law))
    assert model.bound_term(step).item() == pytest.approx(model.bound_term(exact).item(), rel=1e-3)


@pytest.mark.parametrize("last_step", ["none", "ancestral"])
def test_its_texts_have_the_exact_law_of_the_sampler(last_step):
    """3,000 texts of two tokens, cells of at least 8 expected: 4.8 standard errors each, a false alarm in thousands."""
    model, n = tiny(UDLM, length=2, last_step=last_step), 3000
    trained(model, 20, WORDS * 8)
    asked = [replace(request, max_tokens=2) for request in requests(n)]
    ids = [answer.ids[0] for answer in model.generate(asked, Sampling(steps=3, fixed_length=True, micro_batch=500))]
    tokens = model.diffusion.kernel.states
    model.double()
    law = exact_law(model.diffusion, 2, model.diffusion.clock.grid(3), drawn)
    counts = torch.bincount(torch.tensor([first * tokens + second for first, second in ids]), minlength=tokens**2)
    assert law.sum().item() == pytest.approx(1)
    common = law * n >= 8
    assert common.sum() > 5
    assert ((counts - n * law).abs() < 4.8 * (n * law * (1 - law)).sqrt())[common].all()
    rare = law[~common].sum()
    assert abs(counts[~common].sum() - n * rare) < 4.8 * (n * rare * (1 - rare)).sqrt()


# --- conditions ------------------------------------------------------------------------------------------------------
PAIRS = [Example(id=str(i), source=text, target=text) for i, text in enumerate(SENTENCES * 8)]
ASKED = [Request(id=str(i), seed=i, max_tokens=LENGTH, source=text) for i, text in enumerate(SENTENCES[:3])]


def conditional(**size):
    task = TaskView(name="toy", family="t2t", tokenizer=view().tokenizer, max_tokens=LENGTH, max_source_tokens=4)
    return construct(UDLM, UDLM.design.schedule, task, {"width": 32, "layers": 1, "heads": 2, **size})


def fitted(model, updates=3):
    model.fit(PAIRS, [], Budget(tokens=updates * model.optimisation.batch * model.layout.length), FitContext(seed=0))
    return model


def canvases(model, draws=64):
    data = model._data(PAIRS)
    rows = len(data["ids"])
    drawn = Draws(seed=draws, batch=rows, rows=slice(rows), device=torch.device("cpu"))
    return Canvas(ids=data["ids"], given=data["given"]), drawn


def test_sources_stand_before_their_targets_untouched():
    model, seen = fitted(conditional()), []
    source = model.layout.canvas([model.task.tokenizer.encode(request.source) for request in ASKED], None)
    model.diffusion.denoiser.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    answers = model.generate(ASKED, Sampling(steps=STEPS))
    assert [answer.network_calls for answer in answers] == [STEPS] * 3
    for x_t in seen:
        assert torch.equal(x_t[source.given], source.ids[source.given])
    assert model.likelihood(PAIRS[:2]).estimator == "continuous"


def test_the_loss_of_given_positions_is_nothing_and_of_all_others_something():
    model = fitted(conditional(condition_dropout=0.0))
    canvas, draws = canvases(model)
    half = torch.full((len(canvas.ids), 1), 0.5, dtype=torch.float64)
    term = model.diffusion.objective(model.diffusion.step(canvas, half, half, draws))
    assert not term[canvas.given].any()
    assert (term[~canvas.given] > 0).all()


def test_conditions_are_left_out_in_training_alone_as_padding():
    model, seen = conditional(condition_dropout=0.5), []
    model.diffusion.denoiser.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    canvas, draws = canvases(model)
    for mode in (True, False):
        model.train(mode)
        model.diffusion.loss(canvas, draws)
    left_out = [(x_t.masked_fill(~canvas.given, PAD) == PAD).all(-1) for x_t in seen]
    assert 10 < left_out[0].sum() < 54
    assert not left_out[1].any()
    assert torch.equal(seen[0][~canvas.given], seen[1][~canvas.given])
    assert torch.equal(seen[1][canvas.given], canvas.ids[canvas.given])


def test_guidance_needs_a_condition():
    assert UDLM.design_for().families == ("ucg", "a2t", "t2t")
    assert UDLM.design_for(guidance=2.0).families == ("a2t", "t2t")


def test_guidance_asks_twice_and_shows_padding_for_the_condition():
    plain, guided, seen = fitted(conditional()), fitted(conditional(guidance=2.0)), []
    guided.diffusion.denoiser.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    answers = guided.generate(ASKED, Sampling(steps=STEPS))
    assert [answer.network_calls for answer in answers] == [2 * STEPS] * 3
    given = guided.layout.canvas([guided.task.tokenizer.encode(request.source) for request in ASKED], None).given
    assert all((x_t[given] == PAD).all() for x_t in seen[1::2])
    assert all((x_t[given] != PAD).all() for x_t in seen[::2])
    assert [answer.ids for answer in answers] != [answer.ids for answer in plain.generate(ASKED, Sampling(steps=STEPS))]
    as_trained = fitted(conditional(guidance=1.0)).generate(ASKED, Sampling(steps=STEPS))
    assert [answer.ids for answer in as_trained] == [answer.ids for answer in plain.generate(ASKED, Sampling(steps=STEPS))]


# --- what is refused -------------------------------------------------------------------------------------------------
def test_schedules_with_steps_are_refused():
    with pytest.raises(ValueError, match=r"has 50 steps; udlm is trained in continuous time .* log-linear"):
        tiny(UDLM, "cosine-plain@50")


@pytest.mark.parametrize("keys", [{"guidance": -1.0}, {"guidance": "2"}, {"last_step": "argmax"}, {"condition_dropout": 1.0}])
def test_keys_without_meaning_are_refused(keys):
    with pytest.raises(ValueError, match=next(iter(keys))):
        tiny(UDLM, **keys)


def test_unknown_keys_are_refused():
    with pytest.raises(UnknownName, match="chain"):
        tiny(UDLM, chain=100)


def test_a_size_is_found():
    keys = UDLM.size_for(200_000, view(), layers=2)
    found = sum(parameter.numel() for parameter in tiny(UDLM, **{"layers": 2, "heads": 4, **keys}).parameters())
    assert 0.8 < found / 200_000 < 1.25


@pytest.mark.slow
def test_learning_lowers_the_bound_towards_the_entropy():
    learns(tiny(UDLM, width=48), updates=800, steps=100, bound=3.2, known=48)


def test_the_native_schedule_is_one():
    assert build(UDLM.design.schedule).alpha_bar(torch.tensor([[1.0]]).double()).item() == pytest.approx(0.001)
