"""DiffGLAT-style, reconstructed: glancing, what the network reads and is held to, the sampler's law, calls, training, saving."""

import random
import statistics
from dataclasses import replace
from functools import partial
from itertools import pairwise, product

import pytest
import torch
from torch import nn
from toy_sentences import LENGTH, SENTENCES, view

from baselines.adapter import canvas_of
from baselines.encoding import conditions
from baselines.engine import Diffusion
from baselines.parts.categorical import Absorbing
from baselines.parts.clocks import Chain
from baselines.parts.conditioning import Canvas
from baselines.parts.estimates import Estimate
from baselines.parts.glancing import glanced, guess_and_write
from baselines.parts.objectives_discrete import token_error
from baselines.parts.randomness import Noise
from baselines.parts.remasking import probability
from baselines.parts.spaces import DiscreteSpace
from baselines.parts.timesteps import UniformTimes
from baselines.systems.diff_glat import GLANCING, DiffGLAT, ratio_at
from baselines.training import Draws
from harness.construction import construct
from harness.contracts import Budget, Content, Example, FitContext, Request, Sampling
from harness.errors import ModelError, UnknownName
from harness.schedules.names import build
from harness.tokenizer import PAD, Tokenizer

LONGEST = 5
PAIRS = [Example(id=str(i), source=" ".join(reversed(text.split())), target=text) for i, text in enumerate(SENTENCES)]
MANY = PAIRS * 8


def model_of(schedule="linear-alpha-bar", *, family="t2t", **size):
    task = replace(view(), family=family, max_source_tokens=LONGEST)
    return construct(DiffGLAT, schedule, task, {"width": 32, "layers": 2, "heads": 2, **size})


def trained(model, updates, examples=MANY, **run):
    tokens = updates * model.optimisation.batch * LENGTH
    return model.fit(examples, examples[:8], Budget(tokens=tokens), FitContext(seed=1, **run))


def asking(examples=PAIRS, *, seed=0):
    return [
        Request(id=item.id, seed=seed + i, max_tokens=LENGTH, source=item.source, control=item.control)
        for i, item in enumerate(examples)
    ]


def draws_of(rows, progress=0.0, seed=1):
    return Draws(seed=seed, batch=rows, rows=slice(rows), device=torch.device("cpu"), progress=progress)


def step_at(model, t, examples=MANY, progress=0.0):
    """A step of training at time t, its canvases, and what was drawn for it."""
    canvas, draws = canvas_of(model._data(examples)), draws_of(len(examples), progress)
    times = torch.full((len(examples), 1), t, dtype=torch.float64)
    return model.diffusion.step(canvas, times, times, draws), canvas, draws


def guess_of(model, canvas, draws):
    diffusion = model.diffusion
    return diffusion.guess(diffusion.reading(canvas), canvas, draws)


def glanced_at(draws):
    return draws.uniform("glancing") < GLANCING


def shown_by_schedule(canvas, draws, alpha):
    return draws.uniform("corrupt", canvas.ids.shape[1], 2)[..., 0] < alpha


# --- glancing --------------------------------------------------------------------------------------------------------
def test_the_ratio_falls_in_a_line():
    assert [ratio_at(share) for share in (0.0, 0.5, 1.0)] == pytest.approx([0.5, 0.4, 0.3])


def test_revealed_positions_are_as_many_as_due_and_any_of_the_hidden_ones():
    """Four counted, three of them wrong, half of that is one: each of the three hidden positions as often; 4.5 errors."""
    rows = 6000
    ids, guess = torch.tensor([[5, 6, 7, 8, 0]]).expand(rows, -1), torch.tensor([[5, 1, 2, 3, 4]]).expand(rows, -1)
    counted = torch.tensor([[True, True, True, True, False]]).expand(rows, -1)
    hidden = torch.tensor([[False, True, True, True, False]]).expand(rows, -1)
    places = torch.rand(rows, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    revealed = glanced(ids, guess, counted, hidden, 0.5, places)
    assert (revealed.sum(-1) == 1).all()
    assert not (revealed & ~hidden).any()
    shares = revealed.double().mean(0)[1:4]
    assert (shares - 1 / 3).abs().max() < 4.5 * (2 / 9 / rows) ** 0.5
    assert not glanced(ids, ids, counted, hidden, 0.5, places).any()


# --- what is read, and what is learnt ---------------------------------------------------------------------------------
@pytest.mark.parametrize("schedule", ["linear-alpha-bar", "cosine-squared"])
def test_the_reference_shows_where_the_schedule_says_and_the_guess_elsewhere(schedule):
    """A share alpha-bar of positions, within 4.5 standard errors; what glancing adds is counted in the next test."""
    model, t = model_of(schedule, guess="argmax"), 0.6
    step, canvas, draws = step_at(model, t)
    alpha = build(schedule).alpha_bar(torch.tensor([[t]]).double()).item()
    shown = shown_by_schedule(canvas, draws, alpha)
    assert abs(shown.double().mean().item() - alpha) < 4.5 * (alpha * (1 - alpha) / shown.numel()) ** 0.5
    hidden = step.estimate.layers[0][1]
    assert not (hidden & shown).any()
    behind = len(model.task.tokenizer) + 1
    assert torch.equal(step.x_t, torch.where(hidden, behind + guess_of(model, canvas, draws), canvas.ids))


@pytest.mark.parametrize("progress", [0.0, 1.0])
@pytest.mark.parametrize("t", [1.0, 0.6, 0.1])
def test_glancing_counts_what_the_mixture_has_wrong_on_the_canvas(t, progress):
    model = model_of()
    step, canvas, draws = step_at(model, t, progress=progress)
    shown = shown_by_schedule(canvas, draws, 1 - t)
    wrong = (~shown & (guess_of(model, canvas, draws) != canvas.ids)).sum(-1)
    revealed = ~shown & ~step.estimate.layers[0][1]
    due = ((0.5 if progress == 0 else 0.3) * wrong.float()).long()
    assert torch.equal(revealed.sum(-1), torch.where(glanced_at(draws), due, 0))
    assert wrong.sum() > 0


def test_half_of_the_examples_are_shown_nothing_as_where_sampling_begins():
    """4.5 standard errors; at t = 1 the first layer reads masks alone, and no later layer is shown more."""
    model = model_of()
    step, _, draws = step_at(model, 1.0, MANY * 4)
    glanced_rows = glanced_at(draws)
    assert abs(glanced_rows.double().mean().item() - 0.5) < 4.5 * (0.25 / len(glanced_rows)) ** 0.5
    assert (step.x_t[~glanced_rows] == model.diffusion.mask).all()
    assert (step.x_t[glanced_rows] != model.diffusion.mask).any(-1).all()
    assert all(hidden[~glanced_rows].all() for _, hidden in step.estimate.layers)
    assert not step.estimate.layers[1][1][glanced_rows].all(-1).any()


def test_padding_is_revealed_as_often_as_text_is():
    """What is hidden tells nothing of where a text ends: 4.5 standard errors."""
    model = model_of()
    step, canvas, draws = step_at(model, 1.0, MANY * 32)
    revealed, padding = (~step.estimate.layers[0][1])[glanced_at(draws)], (canvas.ids == PAD)[glanced_at(draws)]
    shares = [revealed[where].double().mean().item() for where in (padding, ~padding)]
    assert abs(shares[0] - shares[1]) < 4.5 * sum(0.25 / where.sum().item() for where in (padding, ~padding)) ** 0.5
    assert min(shares) > 0.2


def test_where_everything_is_noise_the_network_reads_masks():
    model = model_of()
    step, canvas, _ = step_at(model, 1.0)
    hidden = step.estimate.layers[0][1]
    assert torch.equal(step.x_t, torch.where(hidden, model.diffusion.mask, canvas.ids))
    assert 0 < (~hidden).sum() < hidden.sum()


@pytest.mark.parametrize("schedule", ["linear-alpha-bar(scale=2)", "linear-beta-fixed@50"])
def test_at_the_end_of_time_nothing_is_shown_whatever_the_schedule_keeps(schedule):
    """Sampling begins there, from masks alone."""
    model = model_of(schedule)
    step, _, draws = step_at(model, 1.0)
    assert (step.x_t[~glanced_at(draws)] == model.diffusion.mask).all()
    earlier, canvas, draws = step_at(model, 0.98)
    assert (earlier.x_t[~glanced_at(draws)] == canvas.ids[~glanced_at(draws)]).any()


def test_the_guess_is_made_without_a_gradient():
    model, seen = model_of(), []
    model.diffusion.denoiser.decoder.blocks[0].mlp.register_forward_pre_hook(lambda *_: seen.append(torch.is_grad_enabled()))
    step_at(model, 0.5)
    assert seen == [False, True]


def test_the_guess_is_the_answer_to_an_unknown_canvas():
    model = model_of(guess="argmax")
    canvas = canvas_of(model._data(MANY))
    unknown, told = torch.full_like(canvas.ids, len(model.task.tokenizer)), torch.zeros(len(MANY))
    estimate = model.diffusion.reading(canvas)(unknown, told, canvas.given, None)
    assert torch.equal(guess_of(model, canvas, draws_of(len(MANY))), estimate.x0_hat.argmax(-1))
    drawing = model_of()
    drawing.load_state_dict(model.state_dict())
    drawn = guess_of(drawing, canvas, draws_of(len(MANY)))
    chances = estimate.x0_hat.exp().double().detach()
    expected = chances.sum((0, 1))
    counts = torch.bincount(drawn.flatten(), minlength=len(expected))
    assert ((counts - expected).abs() < 4.5 * (chances * (1 - chances)).sum((0, 1)).sqrt() + 1).all()


def test_each_training_step_reads_the_source_once_and_the_canvas_twice():
    model, seen = model_of(), {"encoder": 0, "decoder": 0}
    network = model.diffusion.denoiser
    network.encoder.register_forward_pre_hook(lambda *_: seen.update(encoder=seen["encoder"] + 1))
    network.decoder.blocks[0].mlp.register_forward_pre_hook(lambda *_: seen.update(decoder=seen["decoder"] + 1))
    step_at(model, 0.5)
    assert seen == {"encoder": 1, "decoder": 2}


def test_the_loss_is_the_mean_over_layers_of_what_is_hidden_from_each():
    model = model_of()
    step, canvas, _ = step_at(model, 0.7)
    values = model.diffusion.objective(step)
    by_hand = torch.zeros_like(values)
    for layer, hidden in step.estimate.layers:
        errors = nn.functional.cross_entropy(layer.raw.flatten(0, 1), canvas.ids.flatten(), reduction="none")
        by_hand += errors.view_as(by_hand) * hidden / len(step.estimate.layers)
    assert torch.allclose(values, by_hand, atol=1e-6)
    first = step.estimate.layers[0][1]
    assert (values[~first] == 0).all()
    assert (values[first] > 0).any()
    assert (first & (canvas.ids == PAD)).any()


def test_layers_are_shown_a_share_of_what_the_layer_before_still_has_wrong():
    model = model_of(layers=3)
    step, canvas, draws = step_at(model, 0.9)
    layers = step.estimate.layers
    assert len(layers) == 3
    for (before, hidden), (_, left) in pairwise(layers):
        wrong = (hidden & (before.x0_hat.argmax(-1) != canvas.ids)).sum(-1)
        assert not (left & ~hidden).any()
        assert torch.equal((hidden & ~left).sum(-1), torch.where(glanced_at(draws), (0.5 * wrong.float()).long(), 0))
        assert wrong.sum() > 0


def test_what_a_layer_is_shown_reaches_it_and_not_the_layers_before():
    model = model_of().eval()
    network, canvas = model.diffusion.denoiser, canvas_of(model._data(PAIRS))
    read = network.encode(canvas.source), canvas.source.present
    x_t, told = torch.full_like(canvas.ids, model.diffusion.mask), torch.zeros(len(PAIRS))
    hidden = torch.ones_like(canvas.given)
    some = torch.zeros_like(hidden).index_fill(1, torch.tensor([0]), True)
    nothing, first = (
        network.layered(x_t, told, *read, ids=canvas.ids, hidden=hidden, reveal=lambda *_, chosen=chosen: chosen)
        for chosen in (torch.zeros_like(hidden), some)
    )
    alike = [torch.allclose(one[0].raw, other[0].raw) for one, other in zip(nothing.layers, first.layers, strict=True)]
    assert alike == [True, False]
    assert torch.equal(first.layers[1][1], hidden & ~some)
    assert torch.allclose(nothing.raw, network(x_t, told, *read).raw, atol=1e-6)


def test_training_falls_from_the_first_ratio_to_the_second():
    model, heard = model_of(), []
    usual = model.diffusion.step

    def listening(canvas, t, s, draws, alpha_t=None):
        heard.append(ratio_at(draws.progress))
        return usual(canvas, t, s, draws, alpha_t)

    model.diffusion.step = listening
    trained(model, 4)
    assert heard == pytest.approx([0.5, 0.45, 0.4, 0.35, 0.3])


@pytest.mark.parametrize(("schedule", "expected"), [("linear-alpha-bar@4", 0.625), ("linear-alpha-bar", 0.5)])
def test_a_share_of_training_begins_at_the_end_of_time(schedule, expected):
    """Half of it, and of four steps the last one's quarter of the other half."""
    diffusion = model_of(schedule).diffusion
    places, weights = diffusion.times.sample(400, torch.Generator().manual_seed(0))
    t, _ = diffusion.clock.interval(places)
    assert (t == 1).double().mean().item() == pytest.approx(expected, abs=0.01)
    rest = t[t < 1]
    assert rest.mean().item() == pytest.approx(0.5, abs=0.01)
    assert (weights == 1).all()


def test_micro_batches_give_the_same_weights():
    whole, parts = model_of(), model_of()
    trained(whole, 3)
    trained(parts, 3, micro_batch=4)
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


# --- sampling --------------------------------------------------------------------------------------------------------
TOKENS, PLACES = 3, 2
STATES = 2 * TOKENS + 1


class Table(nn.Module):
    """Estimates two positions of three tokens from a table of every state."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.laws = torch.randn(STATES, STATES, PLACES, TOKENS, generator=generator, dtype=torch.float64).log_softmax(-1)

    def forward(self, x_t, time, given, previous):
        law = self.laws[x_t[:, 0], x_t[:, 1]]
        return Estimate(law, law)


def table_diffusion(steps=3, confidence=None):
    clock, reverse = Chain(steps), partial(guess_and_write, mode=False, confidence=confidence)
    return Diffusion(
        space=DiscreteSpace(TOKENS), kernel=Absorbing(TOKENS), schedule=build(f"linear-alpha-bar@{steps}"), denoiser=Table(),
        objective=token_error, times=UniformTimes(steps), reverse=reverse, clock=clock, time_input=clock.network_time,
    )  # fmt: skip


def exact_law(laws, surest_first):
    """Probability of each text after three steps that are to leave 4/3, 2/3 and 0 positions, rounded to 1, 1 and 0.

    The first step draws both tokens, writes one of them, either as often or the more probable one, and marks the other as
    guessed; the second has nothing to write; the third decides the other.
    """
    start, found = laws[TOKENS, TOKENS].exp(), torch.zeros(TOKENS, TOKENS, dtype=torch.float64)
    for *drawn, place in product(range(TOKENS), range(TOKENS), range(PLACES)):
        chances = [start[here, token].item() for here, token in enumerate(drawn)]
        share = float(chances[place] == max(chances)) if surest_first else 1 / PLACES
        state = [token if place == here else TOKENS + 1 + token for here, token in enumerate(drawn)]
        state[1 - place] = laws[tuple(state)][1 - place].argmax().item()
        found[tuple(state)] += chances[0] * chances[1] * share
    return found


@pytest.mark.parametrize("confidence", [None, probability])
def test_samples_follow_the_exact_law(confidence):
    """4.5 standard errors at nine texts, twice: a false alarm in 8,000."""
    diffusion, rows = table_diffusion(confidence=confidence), 20_000
    ids = torch.zeros(rows, PLACES, dtype=torch.int64)
    drawn = diffusion.sample(Canvas(ids=ids, given=ids.bool()), Noise(torch.arange(rows)), diffusion.clock.grid(3))
    expected = exact_law(diffusion.denoiser.laws, surest_first=confidence is not None)
    shares = torch.bincount(drawn @ torch.tensor([TOKENS, 1]), minlength=TOKENS**2).double().view(TOKENS, TOKENS) / rows
    assert expected.sum().item() == pytest.approx(1)
    assert (expected > 0.01).sum() > 3
    assert ((shares - expected).abs() <= 4.5 * (expected * (1 - expected) / rows).sqrt()).all()


def test_a_step_writes_at_random_places_until_as_many_stand_as_the_schedule_says():
    """Four positions, one of which stands; token 0 is the best; places are drawn in the order first, third, fourth, second."""
    kernel, law = Absorbing(5), torch.tensor([0.6, 0.1, 0.1, 0.1, 0.1]).double().log().expand(1, 4, 5)
    noise = torch.tensor([[[0.1, 0.5], [0.9, 0.5], [0.2, 0.5], [0.8, 0.5]]]).double()
    step = partial(guess_and_write, kernel, noise=noise, mode=True)
    level = partial(torch.full, (1, 1), dtype=torch.float64)
    some, guessed = torch.tensor([[3, 7, 8, 9]]), torch.tensor([[7, 8, 9, 10]])
    for x_t, alpha_s, final, expected in (
        (some, 0.25, False, [3, 7, 8, 9]), (some, 0.5, False, [3, 7, 0, 9]), (some, 0.75, False, [3, 7, 0, 0]),
        (some, 0.9, True, [3, 0, 0, 0]), (guessed, 0.25, False, [0, 8, 9, 10]), (guessed, 0.0, False, [7, 8, 9, 10]),
        (torch.full_like(some, 5), 0.0, False, [6, 6, 6, 6]), (torch.full_like(some, 5), 0.5, False, [0, 6, 0, 6]),
    ):  # fmt: skip
        found = step(x_t, Estimate(law, law), level(0.0), level(alpha_s), final=final)
        assert found.tolist() == [expected]


def test_a_step_writes_the_surest_places_and_leaves_the_others_guesses():
    """Four positions, the second of which stands; of what is drawn the third is the surest, then the first, then the fourth."""
    kernel, best = Absorbing(3), torch.tensor([0.6, 0.9, 0.8, 0.5])
    law = torch.stack([best, 0.9 * (1 - best), 0.1 * (1 - best)], -1).double().log()[None]
    noise = torch.tensor([[[0.9, 0.5], [0.1, 0.5], [0.5, 0.5], [0.2, 0.4]]]).double()
    step = partial(guess_and_write, kernel, noise=noise, mode=False, confidence=probability)
    level = partial(torch.full, (1, 1), dtype=torch.float64)
    some, unknown = torch.tensor([[6, 1, 6, 6]]), torch.full((1, 4), 3)
    for x_t, alpha_s, final, expected in (
        (some, 0.25, False, [6, 1, 6, 6]), (some, 0.5, False, [6, 1, 0, 6]), (some, 0.75, False, [0, 1, 0, 6]),
        (some, 0.75, True, [0, 1, 0, 0]), (unknown, 0.0, False, [4, 4, 4, 4]), (unknown, 0.25, False, [4, 0, 4, 4]),
        (unknown, 0.75, False, [0, 0, 0, 4]), (unknown, 0.0, True, [0, 0, 0, 0]),
    ):  # fmt: skip
        found = step(x_t, Estimate(law, law), level(0.0), level(alpha_s), final=final)
        assert found.tolist() == [expected]


def test_which_places_are_written_does_not_depend_on_what_is_drawn_there():
    """The rare token is written as often as it is drawn, where a choice by confidence would leave it out; 4.5 standard errors."""
    rows = 4000
    noise = torch.rand(rows, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    law = torch.tensor([0.7, 0.3]).double().log().expand(rows, 2, 2)
    level = partial(torch.full, (rows, 1), dtype=torch.float64)
    unknown = torch.full((rows, 2), 2)
    found = guess_and_write(
        Absorbing(2), unknown, Estimate(law, law), level(0.0), level(0.5), noise=noise, final=False, mode=False
    )
    assert ((found < 2).sum(-1) == 1).all()
    rare = (found[found < 2] == 1).double().mean().item()
    assert abs(rare - 0.3) < 4.5 * (0.21 / rows) ** 0.5


def calls_of(steps):
    """The first step, and each later one after which fewer positions are to be left; halves round to even."""
    left = [round((1 - k / steps) * LENGTH) for k in range(1, steps + 1)]
    return 1 + sum(after < before for before, after in pairwise(left))


@pytest.mark.parametrize("remasking", ["random", "low-confidence"])
@pytest.mark.parametrize("family", ["t2t", "a2t"])
@pytest.mark.parametrize(("steps", "expected"), [(1, 1), (2, 2), (4, 4), (6, 6), (7, 6), (9, 6), (30, 7)])
def test_every_step_in_which_a_token_is_due_is_one_call(family, steps, expected, remasking):
    """The first step makes a guess in any case, so there is at most one call more than there are positions."""
    examples = PAIRS if family == "t2t" else [replace(p, source=None, control=Content((("said", p.source),))) for p in PAIRS]
    assert calls_of(steps) == expected
    answers = model_of(family=family, remasking=remasking).generate(asking(examples), Sampling(steps=steps))
    assert [answer.network_calls for answer in answers] == [expected] * len(PAIRS)
    assert [answer.positions_processed for answer in answers] == [LONGEST + 1 + expected * LENGTH] * len(PAIRS)
    assert [answer.steps_used for answer in answers] == [steps] * len(PAIRS)


def test_a_chain_is_walked_whole_where_nothing_is_asked():
    assert model_of("linear-alpha-bar@4").generate(asking(), Sampling())[0].network_calls == 4


def test_sources_are_encoded_once():
    """What passes through encoder and decoder is what is counted."""
    model, read, written = model_of(), [], []
    network = model.diffusion.denoiser
    network.encoder.register_forward_pre_hook(lambda module, given: read.append(given[0].shape[:2].numel()))
    network.register_forward_pre_hook(lambda module, given: written.append(given[0].numel()))
    answers = model.generate(asking(), Sampling(steps=5))
    assert len(read) == 1
    assert sum(answer.positions_processed for answer in answers) == sum(read) + sum(written)


def test_the_last_step_decides_and_one_step_is_the_answer_to_an_unknown_canvas():
    model = model_of()
    canvas = canvas_of(model._data(PAIRS))
    unknown, told = torch.full_like(canvas.ids, model.diffusion.mask), torch.zeros(len(PAIRS))
    best = model.diffusion.reading(canvas)(unknown, told, canvas.given, None).x0_hat.argmax(-1)
    answers = model.generate(asking(), Sampling(steps=1, fixed_length=True))
    assert [answer.ids[0] for answer in answers] == [tuple(row) for row in best.tolist()]


def test_draws_differ_by_request_and_decisions_by_the_order_of_places_alone():
    request = [replace(PAIRS[0], id=str(i)) for i in range(20)]
    drawing, deciding = model_of(), model_of(guess="argmax")
    deciding.load_state_dict(drawing.state_dict())
    assert len({answer.texts for answer in drawing.generate(asking(request), Sampling(steps=3))}) > 1
    assert len({answer.texts for answer in deciding.generate(asking(request), Sampling(steps=1))}) == 1
    unknown, noise = torch.full((2, LENGTH), deciding.diffusion.mask), torch.rand(2, LENGTH, 2, dtype=torch.float64)
    noise[1, :, 0] = noise[0, :, 0]
    canvas = deciding.layout.canvas(conditions(deciding.task, request[:2]), None)
    estimate = deciding.diffusion.reading(canvas)(unknown, torch.zeros(2), canvas.given, None)
    level = partial(torch.full, (2, 1), dtype=torch.float64)
    one, other = deciding.diffusion.reverse(
        deciding.diffusion.kernel, unknown, estimate, level(0.0), level(0.5), noise=noise, final=False
    )
    assert torch.equal(one, other)


def test_answers_do_not_depend_on_their_batch():
    model = model_of()
    together = model.generate(asking(), Sampling(steps=4))
    assert model.generate(asking(), Sampling(steps=4, micro_batch=3)) == together


# --- keys, saving, learning ------------------------------------------------------------------------------------------
def test_the_design_says_that_it_is_reconstructed_and_has_no_bound():
    design = DiffGLAT.design
    assert design.reconstructed
    assert (design.families, design.likelihood) == (("t2t", "a2t"), None)
    assert not DiffGLAT.design_for(guess="argmax").temperature
    assert [DiffGLAT.design_for(remasking=order).unmasking for order in ("random", "low-confidence")] == [
        "exact-count", "low-confidence",
    ]  # fmt: skip
    assert model_of().likelihood(PAIRS) is None
    with pytest.raises(ModelError, match="temperature"):
        model_of(guess="argmax").generate(asking(), Sampling(steps=2, temperature=0.5))


def test_wrong_keys_are_refused():
    with pytest.raises(ValueError, match="guess 'beam' is none of draw, argmax"):
        model_of(guess="beam")
    with pytest.raises(ValueError, match="remasking 'entropy' is none of random, low-confidence"):
        model_of(remasking="entropy")
    with pytest.raises(ValueError, match="layers 0"):
        model_of(layers=0)
    with pytest.raises(UnknownName, match="glance"):
        model_of(glance=0.5)


def test_its_size_meets_a_target():
    task = replace(view(), family="t2t", max_source_tokens=LONGEST)
    size = DiffGLAT.size_for(200_000, task, heads=2)
    model = construct(DiffGLAT, "linear-alpha-bar", task, {"heads": 2, **size})
    assert sum(parameter.numel() for parameter in model.parameters()) == pytest.approx(200_000, rel=0.15)


@pytest.mark.parametrize("schedule", ["linear-alpha-bar", "linear-alpha-bar@4", "sqrt@20"])
def test_it_trains_samples_and_survives_saving(schedule, tmp_path):
    model = model_of(schedule)
    report = trained(model, 5)
    assert report.updates == 5
    assert report.valid_loss > 0
    found = model.generate(asking(), Sampling(steps=4))
    model.save(tmp_path)
    assert DiffGLAT.load(tmp_path, "cpu").generate(asking(), Sampling(steps=4)) == found
    other = DiffGLAT.load(tmp_path, "cpu", remasking="low-confidence").generate(asking(), Sampling(steps=4))
    assert [answer.ids for answer in other] != [answer.ids for answer in found]


@pytest.mark.slow
@pytest.mark.parametrize(("schedule", "guess"), [("linear-alpha-bar", "draw"), ("linear-alpha-bar@4", "argmax")])
def test_learning_answers_what_is_asked(schedule, guess):
    model = model_of(schedule, guess=guess)
    trained(model, 400)
    for steps in (1, 2, 4):
        answers = model.generate(asking(), Sampling(steps=steps))
        assert [answer.texts[0] for answer in answers] == SENTENCES


@pytest.mark.slow
def test_learning_keeps_together_what_belongs_together():
    """Dogs see and cats hear: one step writes both words alone, as many steps as positions do not."""
    texts = [text for text in SENTENCES if text.split()[2:] in (["dog", "sees"], ["cat", "hears"])]
    pairs = [Example(id=str(i), source=text.split()[1], target=text) for i, text in enumerate(texts)]
    model = model_of()
    trained(model, 600, pairs * 16)
    parts = [model.generate(asking(pairs, seed=100 * i), Sampling(steps=LENGTH)) for i in range(16)]
    said = [(answer.texts[0], pair.source) for part in parts for answer, pair in zip(part, pairs, strict=True)]
    assert sum(pair in {(pair.target, pair.source) for pair in pairs} for pair in said) >= 0.9 * len(said)
    assert set(texts) <= {text for text, _ in said}


@pytest.mark.slow
def test_learning_texts_of_many_lengths_leaves_none_empty():
    """A source says nothing of its text: in one step and in many, lengths are those of the texts that were learnt."""
    generator, letters = random.Random(0), list("abcdefghij")
    lengths = [max(2, min(20, round(generator.gauss(10, 3)))) for _ in range(256)]
    texts = [
        " ".join(letters[i % 10] if generator.random() < 0.6 else generator.choice(letters) for i in range(length))
        for length in lengths
    ]
    pairs = [Example(id=str(i), source="x", target=text) for i, text in enumerate(texts)]
    tokenizer = Tokenizer.train("words", [*texts, "x"])
    task = replace(view(24), family="t2t", max_source_tokens=2, tokenizer=tokenizer, unigram=(1,) * len(tokenizer))
    model = construct(DiffGLAT, "linear-alpha-bar", task, {"width": 32, "layers": 2, "heads": 2})
    model.fit(pairs, [], Budget(tokens=600 * model.optimisation.batch * 24), FitContext(seed=1))
    asked = [Request(id=str(i), seed=i, max_tokens=24, source="x") for i in range(100)]
    for steps in (1, 4, 24):
        found = [len(answer.texts[0].split()) for answer in model.generate(asked, Sampling(steps=steps))]
        assert min(found) > 0
        assert sum(found) / 100 == pytest.approx(10, abs=2)
    assert statistics.pstdev(found) == pytest.approx(3, abs=1)
