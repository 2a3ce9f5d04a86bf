"""What every system of masked diffusion is held against: bounds, samplers, network calls, conditions, guidance, saving.

The strength of guidance is one question to systems of uniform noise too.
"""

from dataclasses import replace

import pytest
import torch
from masked_cases import (
    WORDS,
    agree,
    answers,
    asked,
    behind_a_source,
    opening,
    plausible,
    sharpened,
    steps_that_reveal,
    to_write,
)
from toy_sentences import EXAMPLES, LENGTH, requests, tiny, trained

from baselines.discrete import SCORED_TOGETHER, STRATA, DiscreteAdapter
from baselines.encoding import conditions, targets
from baselines.enumeration import decided, drawn, exact_bound, exact_law, without_mask
from baselines.parts.estimates import Changed
from baselines.parts.guidance import ConditionDropout, Guided
from baselines.parts.objectives_discrete import bound_term
from baselines.parts.randomness import Noise
from baselines.parts.samplers_discrete import reveal_first
from baselines.systems.duo import Duo
from baselines.systems.llada import LLaDA
from baselines.systems.md4 import MD4
from baselines.systems.mdlm import MDLM
from baselines.systems.udlm import UDLM
from baselines.training import Draws
from harness.contracts import Budget, FitContext, Sampling, stream_seed
from harness.errors import ModelError
from harness.tokenizer import PAD

SYSTEMS = pytest.mark.parametrize("system", [MDLM, MD4])


MOST_DRAWS = DiscreteAdapter.most_draws  # read before tests ask for fewer


def taught(model, updates=3, family="t2t"):
    """A model behind sources after a few updates."""
    examples = answers(family)
    budget = Budget(tokens=updates * model.optimisation.batch * model.layout.length)
    return model.fit(examples, examples[:8], budget, FitContext(seed=0))


# --- as a text model -------------------------------------------------------------------------------------------------
@SYSTEMS
@pytest.mark.parametrize("schedule", [None, "linear-alpha-bar@20"])
def test_it_trains_samples_scores_and_survives_saving(system, schedule, tmp_path):
    model = tiny(system, schedule)
    assert trained(model, 5).updates == 5
    found = model.generate(requests(3), Sampling(steps=5))
    scores = model.likelihood(EXAMPLES[:4])
    assert (scores.kind, scores.estimator) == ("bound", "continuous" if schedule is None else "discrete-T")
    assert all(0 < value < 1000 for value in scores.nats)
    model.save(tmp_path)
    again = system.load(tmp_path, "cpu")
    assert again.generate(requests(3), Sampling(steps=5)) == found
    assert again.likelihood(EXAMPLES[:4]) == scores


@SYSTEMS
@pytest.mark.parametrize("family", ["a2t", "t2t"])
def test_it_is_conditioned_in_sequence(system, family, tmp_path):
    model = behind_a_source(system, family=family)
    assert taught(model, family=family).updates == 3
    found = model.generate(asked(3, family), Sampling(steps=5))
    assert all(len(answer.ids[0]) <= LENGTH for answer in found)
    assert model.likelihood(answers(family)[:4]).tokens == (5, 5, 5, 5)
    model.save(tmp_path)
    assert system.load(tmp_path, "cpu").generate(asked(3, family), Sampling(steps=5)) == found


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (
            "model.safetensors",
            b"PK\x03\x04 pickled weights, by their beginning",
            "model.safetensors is no whole file of safetensors",
        ),
        ("model.safetensors", b"", "model.safetensors is no whole file of safetensors"),
        ("model.json", b'{"schedule": ', "model.json is no JSON"),
    ],
    ids=["pickled", "cut", "no configuration"],
)
def test_spoilt_files_are_one_clear_error(file, content, message, tmp_path):
    tiny(MDLM).save(tmp_path)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ModelError, match=message):
        MDLM.load(tmp_path, "cpu")


@SYSTEMS
def test_its_design_is_complete(system):
    design = system.design_for()
    assert (design.kernel, design.space, design.predicts) == ("absorbing", "discrete", "x0")
    assert (design.likelihood, design.last_step) == ("bound", "argmax of what is masked still; a draw on a schedule with steps")
    assert all((design.schedule, design.conditioning, design.unmasking, design.loss_mask, design.paper))
    assert set(design.families) == {"ucg", "a2t", "t2t"}


@SYSTEMS
@pytest.mark.parametrize(
    ("size", "message"),
    [
        ({"depth": 3}, "unknown key 'depth'"),
        ({"guidance": -1}, "guidance -1, expected null"),
        ({"guidance": True}, "guidance True, expected null"),
        ({"guidance": float("nan")}, "guidance nan, expected null"),
        ({"guidance": float("inf")}, "guidance inf, expected null"),
        ({"condition_dropout": 1.0}, "condition_dropout 1.0, expected a number from 0 to below 1"),
        ({"layers": 0}, "layers 0, expected a whole number"),
    ],
)
def test_wrong_keys_are_refused(system, size, message):
    with pytest.raises(ValueError, match=message):
        tiny(system, **size)


@SYSTEMS
@pytest.mark.parametrize("family", ["ucg", "t2t"])
def test_a_parameter_target_is_met(system, family):
    make = tiny if family == "ucg" else behind_a_source
    task = make(system).task
    keys = system.size_for(200_000, task, layers=2)
    model = make(system, layers=2, heads=4, **keys)
    found = sum(parameter.numel() for parameter in model.parameters())
    assert 0.8 < found / 200_000 < 1.25


# --- bounds ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        (lambda law: law + 5, "12 tokens and sum to between 148 and 148"),
        (lambda law: 0.5 * law - 1, "12 tokens and sum to between"),
        (lambda law: torch.nn.functional.pad(law, (0, 1), value=-50.0), "name 13 tokens and sum to between 1 and 1"),
    ],
    ids=["too much", "logits", "a mask"],
)
def test_of_estimates_that_are_no_law_over_the_tokens_nothing_is_bounded(spoilt, message):
    model = tiny(MDLM)
    denoiser = model.diffusion.denoiser
    denoiser.forward = lambda *told, _asked=denoiser.forward: Changed(_asked(*told), spoilt)
    with pytest.raises(ModelError, match=message):
        model.likelihood(EXAMPLES[:4])


@SYSTEMS
def test_texts_of_a_length_that_the_canvas_does_not_hold_are_refused(system):
    model, asked_for = tiny(system), [replace(request, max_tokens=LENGTH + 3) for request in requests(2)]
    with pytest.raises(ModelError, match=f"{LENGTH + 3} tokens are asked for, .* the canvas of .* holds {LENGTH}"):
        model.generate(asked_for, Sampling(steps=5, fixed_length=True))
    assert model.generate(asked_for, Sampling(steps=5)) == model.generate(requests(2), Sampling(steps=5))


@SYSTEMS
@pytest.mark.parametrize("schedule", ["linear-alpha-bar@20", "between(of=linear-alpha-bar@7,low=0.3)"])
def test_its_bound_in_steps_by_draws_is_the_exact_one(system, schedule):
    """Beside the chain, the step from nothing but masks to what the schedule keeps at t = 1."""
    model = tiny(system, schedule, length=2)
    trained(model, 3, WORDS * 8)
    scores = model.likelihood(WORDS * 16)
    ids = [torch.tensor(row) for row in targets(model.task, WORDS)]
    exact = [exact_bound(model.diffusion.eval(), row).terms.sum().item() + opening(model, row) for row in ids]
    assert agree(scores, exact)


def test_in_steps_nothing_but_the_chain_is_charged_where_it_ends_in_masks():
    model = tiny(MDLM, "linear-alpha-bar@5", length=2)
    ids = torch.tensor([5, 6])
    assert exact_bound(model.diffusion, ids).prior == 0
    assert opening(model, ids) == 0


@pytest.mark.parametrize("system", [MDLM, MD4, LLaDA])
def test_the_loss_of_a_chain_is_its_length_times_a_step_of_the_bound(system):
    """So that its mean over the steps is the whole, as in continuous time."""
    model = tiny(system, "linear-alpha-bar@8")
    canvas, draws = canvas_of(model, 8), draws_of(8)
    t = (torch.arange(1, 9, dtype=torch.float64) / 8)[:, None]
    step = model.diffusion.step(canvas, t, t - 1 / 8, draws)
    expected = 8 * bound_term(model.kernel)(step)
    assert (expected > 0).any()
    assert torch.allclose(model.diffusion.objective(step), expected, rtol=1e-6)


@SYSTEMS
def test_every_round_of_a_bound_has_draws_of_its_own(system):
    model = sharpened(tiny(system)).eval()
    first, second = (model._bounds(EXAMPLES[:8], drawn) for drawn in (0, STRATA))
    assert (first != second).any(-1).all()


@SYSTEMS
def test_texts_that_are_scored_apart_have_draws_of_their_own(system):
    model = sharpened(tiny(system)).eval()
    first, second = model._bounds(EXAMPLES[:1] * 2 * SCORED_TOGETHER, 0).split(SCORED_TOGETHER)
    assert (first != second).any(-1).all()


@SYSTEMS
def test_what_is_given_is_not_charged(system):
    """Only masks at positions to be written count, and the source is never masked."""
    model = behind_a_source(system)
    canvas, draws = canvas_of(model, 8), draws_of(8)
    t = torch.full((8, 1), 0.7, dtype=torch.float64)
    step = model.diffusion.step(canvas, t, t, draws)
    assert torch.equal(step.x_t[canvas.given], canvas.ids[canvas.given])
    masked = (step.x_t == model.kernel.mask) & ~canvas.given
    assert 0 < masked.sum() < (~canvas.given).sum()
    assert torch.equal(model.bound_term(step) > 0, masked)


def canvas_of(model, rows):
    examples = answers()[:rows]
    return model.layout.canvas(conditions(model.task, examples), targets(model.task, examples))


def draws_of(rows, seed=3):
    return Draws(seed=seed, batch=rows, rows=slice(rows), device=torch.device("cpu"))


# --- samplers --------------------------------------------------------------------------------------------------------
@SYSTEMS
@pytest.mark.parametrize("schedule", [None, "linear-alpha-bar@6", "between(of=linear-alpha-bar,low=0.2,high=0.6)"])
def test_its_samples_follow_the_exact_law(system, schedule):
    """Also on a schedule under which masks are left at t = 0: they are decoded by the mode, where a last step does not draw."""
    model = sharpened(tiny(system, schedule, length=2)).eval()
    diffusion, grid = model.diffusion, model.diffusion.clock.grid(3)
    tokens, states = len(model.task.tokenizer), model.kernel.states
    ending = decided if diffusion.reverse is reveal_first else drawn
    law = without_mask(exact_law(diffusion, 2, grid, ending), states, 2, tokens)
    assert law.sum().item() == pytest.approx(1, abs=1e-6)
    assert law.max() > 3 / len(law)
    assert plausible(diffusion.sample(to_write(model, 20_000), Noise(torch.arange(20_000)), grid), law, tokens)


@SYSTEMS
@pytest.mark.parametrize("steps", [1, 4, 50, 200])
@pytest.mark.parametrize("schedule", [None, "cosine-plain(s=0)", "linear-alpha-bar@200"])
def test_the_network_is_called_once_for_every_step_that_reveals(system, steps, schedule):
    """At most once for every position, whether few rows go through the network or all at once."""
    model = tiny(system, schedule)
    found = model.generate(requests(12), Sampling(steps=steps))
    assert model.generate(requests(2), Sampling(steps=steps)) == found[:2]
    calls = [answer.network_calls for answer in found]
    assert calls == steps_that_reveal(model, requests(12), steps)
    assert max(calls) <= min(LENGTH, steps + 1)
    assert [answer.positions_processed for answer in found] == [LENGTH * count for count in calls]
    assert [answer.steps_used for answer in found] == [steps] * 12


@SYSTEMS
def test_the_counts_are_those_of_what_the_network_sees(system):
    model, seen = tiny(system), []
    model.network.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0].shape))
    found = model.generate(requests(12), Sampling(steps=20))
    assert sum(rows for rows, _ in seen) == sum(answer.network_calls for answer in found)
    assert {length for _, length in seen} == {LENGTH}


@SYSTEMS
def test_samples_do_not_depend_on_the_batch(system):
    model = sharpened(behind_a_source(system, guidance=1.5))
    together = model.generate(asked(6), Sampling(steps=7, micro_batch=6))
    assert model.generate(asked(6), Sampling(steps=7, micro_batch=1)) == together
    assert [model.generate([request], Sampling(steps=7))[0] for request in asked(6)] == together
    assert len({answer.texts for answer in together}) > 3


@SYSTEMS
def test_what_is_written_stays_and_sources_are_seen_whole(system):
    """Carry-over: a token once written is never changed, and nothing but a mask is ever changed."""
    model, seen = behind_a_source(system), []
    model.network.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0].clone()))
    canvas = model.layout.canvas(conditions(model.task, asked(1)), None)
    final = model.diffusion.sample(canvas, Noise(torch.tensor([1])), model.diffusion.clock.grid(30))
    assert len(seen) > 5
    for before, after in zip(seen, [*seen[1:], final], strict=True):
        assert torch.equal(before[canvas.given], canvas.ids[canvas.given])
        assert torch.equal(torch.where(before == model.kernel.mask, before, after), before)
        assert (before != after).any()
    assert (final < len(model.task.tokenizer)).all()
    assert torch.equal(final[canvas.given], canvas.ids[canvas.given])


@SYSTEMS
def test_the_move_to_the_data_takes_the_mode_of_every_mask(system):
    model = sharpened(tiny(system)).eval()
    prompt = to_write(model, 30)
    one_move = torch.tensor([1.0, 0.0], dtype=torch.float64)
    found = model.diffusion.sample(prompt, Noise(torch.arange(30)), one_move)
    masks = torch.full_like(prompt.ids[:1], model.kernel.mask)
    told = model.diffusion.time_input(torch.ones(1, 1, dtype=torch.float64))
    best = model.diffusion.denoiser(masks, told, prompt.given[:1], None).x0_hat.argmax(-1)
    assert torch.equal(found, best.expand_as(found))


@SYSTEMS
def test_temperature_sharpens_what_is_drawn(system):
    """Near 0 every draw is the mode."""
    model = sharpened(tiny(system, length=1))
    asked_for = [replace(request, max_tokens=1) for request in requests(30)]
    cold, warm = (
        {answer.ids for answer in model.generate(asked_for, Sampling(steps=4, temperature=heat))} for heat in (1e-3, 1.0)
    )
    assert len(cold) == 1 < len(warm)


# --- conditions and guidance -----------------------------------------------------------------------------------------
@SYSTEMS
def test_guidance_of_weight_1_is_none(system):
    plain, guided = (sharpened(behind_a_source(system, guidance=gamma)) for gamma in (None, 1.0))
    usual, found = (model.generate(asked(8), Sampling(steps=10)) for model in (plain, guided))
    assert found == usual
    assert "guidance" in system.sampling_keys


@SYSTEMS
@pytest.mark.parametrize(("gamma", "calls"), [(0.0, 1), (0.5, 2), (1.0, 1), (2.0, 2)])
def test_guidance_calls_twice_where_it_mixes(system, gamma, calls):
    plain, guided = (sharpened(behind_a_source(system, guidance=weight)) for weight in (None, gamma))
    usual, found = (model.generate(asked(8), Sampling(steps=10)) for model in (plain, guided))
    assert [answer.network_calls for answer in found] == [calls * answer.network_calls for answer in usual]
    assert [answer.positions_processed for answer in found] == [calls * answer.positions_processed for answer in usual]


@SYSTEMS
def test_guidance_needs_training_without_the_condition(system):
    with pytest.raises(ValueError, match="with condition_dropout 0 they never are"):
        behind_a_source(system, guidance=2.0, condition_dropout=0)
    assert behind_a_source(system, guidance=1, condition_dropout=0).keys["guidance"] == 1
    assert behind_a_source(system, condition_dropout=0).diffusion.hide is None


@SYSTEMS
def test_guidance_needs_a_condition(system):
    assert system.design_for().families == ("ucg", "a2t", "t2t")
    assert system.design_for(guidance=1.0).families == ("a2t", "t2t")


@SYSTEMS
def test_guidance_of_weight_0_ignores_the_condition(system):
    """Sources of one length leave the same positions to be written."""
    ignoring, hearing = (sharpened(behind_a_source(system, guidance=gamma)) for gamma in (0.0, 1.0))
    for model, same in ((ignoring, True), (hearing, False)):
        old, small = (model.generate(asked(8, source=source), Sampling(steps=10)) for source in ("old dog", "small cat"))
        assert ([answer.texts for answer in old] == [answer.texts for answer in small]) is same


@SYSTEMS
@pytest.mark.parametrize("gamma", [0.3, 2.5])
def test_guidance_mixes_log_probabilities(system, gamma):
    """Proportional to p(x_0 | x_t, y) ^ gamma p(x_0 | x_t) ^ (1 - gamma), at every position, read whole or in part."""
    model = sharpened(behind_a_source(system)).double().eval()
    canvas = canvas_of(model, 4)
    x_t = torch.where(canvas.given, canvas.ids, model.kernel.mask)
    told = torch.full((4,), 300.0, dtype=torch.float64)
    hidden = x_t.masked_fill(canvas.given, model.kernel.mask)
    with_it, without = (model.diffusion.denoiser(ids, told, canvas.given, None).x0_hat.exp() for ids in (x_t, hidden))
    wanted = with_it**gamma * without ** (1 - gamma)
    wanted = wanted / wanted.sum(-1, keepdim=True)
    guided = Guided(model.diffusion.denoiser, gamma, model.kernel.mask)(x_t, told, canvas.given, None)
    assert torch.allclose(guided.x0_hat.exp(), wanted, atol=1e-9)
    assert torch.allclose(guided.at(~canvas.given).exp(), wanted[~canvas.given], atol=1e-9)
    assert (wanted - with_it).abs().max() > 1e-3


@pytest.mark.parametrize("system", [MDLM, MD4, LLaDA, UDLM, Duo])
def test_guidance_is_as_strong_as_it_is_asked_to_be(system):
    """2.5 log p(x_0 | x_t, y) - 1.5 log p(x_0 | x_t), normalised, where a system hides its condition by masks or by padding."""
    model = sharpened(behind_a_source(system, guidance=2.5)).double().eval()
    diffusion, canvas = model.diffusion, canvas_of(model, 4)
    prior = diffusion.kernel.prior(diffusion.kernel.noise(Noise(torch.arange(4)), 0, model.layout.length))
    x_t, told = diffusion.pin(prior, canvas), diffusion.time_input(torch.full((4, 1), 0.5, dtype=torch.float64))
    null = PAD if system in (UDLM, Duo) else len(model.task.tokenizer)
    with_it, without = (
        diffusion.denoiser(ids, told, canvas.given, None).x0_hat for ids in (x_t, x_t.masked_fill(canvas.given, null))
    )
    free, wanted = ~canvas.given, (2.5 * with_it - 1.5 * without).log_softmax(-1)
    guided = model.denoiser_for(canvas, Sampling())(x_t, told, canvas.given, None)
    assert torch.allclose(guided.x0_hat[free], wanted[free], atol=1e-6)
    assert (wanted - with_it)[free].abs().max() > 1e-2


@SYSTEMS
def test_condition_dropout_changes_only_what_the_network_sees(system):
    """About half of the rows lose their source, in training alone; what is corrupted and scored stays."""
    rows = 64
    steps, seen = [], []
    for dropped in (0.0, 0.5):
        model = behind_a_source(system, condition_dropout=dropped)
        model.network.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0].clone()))
        canvas, t = canvas_of(model, rows), torch.full((rows, 1), 0.4, dtype=torch.float64)
        for train in (True, False):
            model.train(train)
            steps.append(model.diffusion.step(canvas, t, t, draws_of(rows)))
    assert all(torch.equal(step.x_t, steps[0].x_t) and torch.equal(step.ids, steps[0].ids) for step in steps)
    whole, in_training = seen[0], seen[2]
    assert torch.equal(seen[1], whole)
    assert torch.equal(seen[3], whole)
    assert torch.equal(in_training[~canvas.given], whole[~canvas.given])
    lost = (in_training != whole).any(-1)
    assert torch.equal(in_training == whole, ~(canvas.given & lost[:, None]))
    assert (in_training[canvas.given & lost[:, None]] == model.kernel.mask).all()
    assert abs(lost.double().mean().item() - 0.5) < 4.5 * (0.25 / rows) ** 0.5


@SYSTEMS
def test_without_a_condition_nothing_is_dropped(system):
    assert tiny(system, condition_dropout=0.5).diffusion.hide is None
    assert isinstance(behind_a_source(system, condition_dropout=0.5).diffusion.hide, ConditionDropout)


@SYSTEMS
def test_each_candidate_has_noise_of_its_own(system):
    model = sharpened(behind_a_source(system))
    (answer,) = model.generate([replace(asked(1)[0], n=6)], Sampling(steps=8))
    assert len(set(answer.ids)) > 3
    alone = model.generate(asked(1), Sampling(steps=8))[0]
    assert answer.texts[0] == alone.texts[0]
    assert stream_seed(0, 0) != stream_seed(0, 1)


@pytest.mark.parametrize(("spread", "rounds"), [(0.0, 1), (1.9, 1), (2.1, 2), (3.9, 4), (7.9, 16), (50.0, 16)])
def test_a_bound_is_drawn_until_its_error_is_below_half_a_percent_or_256_draws_are_made(spread, rounds, monkeypatch):
    """A text of 100 nats, give or take the spread in every other draw: after n draws the error is the spread / (n - 1) ** 0.5."""
    model, asked_for = tiny(MDLM), []
    estimates = 100 + spread * torch.tensor([1.0, -1.0]).double().repeat(STRATA // 2)[None]
    model.most_draws = MOST_DRAWS
    monkeypatch.setattr(model, "bounds", lambda canvas, stream: asked_for.append(stream) or estimates)
    scores = model.likelihood(EXAMPLES[:1])
    assert len(asked_for) == rounds
    assert scores.nats == (pytest.approx(100),)
    assert (scores.mc_errors[0] < 0.5) == (spread < 8)
