"""LLaDA as a text model: loss, likelihood from exactly k masks, network calls, keys, training, saving."""

from functools import partial
from itertools import combinations

import pytest
import torch
from toy_sentences import EXAMPLES, LENGTH, SENTENCES, learns, requests, tiny, trained, view

from baselines.adapter import canvas_of
from baselines.enumeration import exact_integral
from baselines.masked import MaskedAdapter
from baselines.parts.categorical import Absorbing
from baselines.parts.clocks import Continuum
from baselines.parts.estimates import Estimate
from baselines.systems.llada import LLaDA, grid_of, reverse_of, strata
from baselines.training import Draws
from harness.construction import construct
from harness.contracts import Budget, Example, FitContext, Request, Sampling, TaskView
from harness.errors import ModelError, UnknownName

PAIRS = [Example(id=str(i), source=text.removeprefix("the "), target=text) for i, text in enumerate(SENTENCES)]
SOURCE = 4


def answering(**size):
    """A tiny model that is given a sentence without its article, and is to answer with the whole."""
    task = TaskView(
        name="toy", family="t2t", tokenizer=view().tokenizer, max_tokens=LENGTH, max_source_tokens=SOURCE, unigram=view().unigram
    )
    return construct(LLaDA, "linear-alpha-bar", task, {"width": 32, "layers": 1, "heads": 2, **size})


def asking(*sources):
    return [Request(id=str(i), seed=i, max_tokens=LENGTH, source=source) for i, source in enumerate(sources)]


def draws_of(count, rows):
    return [Draws(seed=k, batch=rows, rows=slice(rows), device=torch.device("cpu")) for k in range(count)]


def calls(answers):
    return [answer.network_calls for answer in answers]


# --- the loss --------------------------------------------------------------------------------------------------------
def test_masks_come_as_often_as_released_and_weigh_one_over_that():
    """p_mask = (1 - eps) t + eps, eps = 1e-3."""
    diffusion = tiny(LLaDA).diffusion
    t = torch.tensor([0.0, 0.25, 0.999], dtype=torch.float64)
    p_mask = (1 - 1e-3) * t + 1e-3
    times = diffusion.times.between(t)[:, None]
    assert torch.allclose(1 - diffusion.schedule.alpha_bar(times)[:, 0], p_mask, rtol=1e-12)
    canvas = canvas_of(tiny(LLaDA)._data(EXAMPLES[:3]))
    step = diffusion.step(canvas, times, times, draws_of(1, 3)[0])
    error = -step.estimate.x0_hat.gather(-1, step.ids[..., None])[..., 0] * (step.x_t == diffusion.kernel.mask)
    assert torch.allclose(diffusion.objective(step), error / p_mask[:, None].float(), rtol=1e-5)


def test_losses_are_per_position_of_the_answer_padding_included():
    model = answering().eval()
    short = Example(id="short", source="dog", target="dog")
    data = model._data([PAIRS[0], short])
    canvas, draws = canvas_of(data), draws_of(1, 2)[0]
    loss = model.diffusion.loss(canvas, draws)
    (place,) = draws.kept["time"][:1]
    step = model.diffusion.step(canvas, place[:, None], place[:, None], draws)
    masked = (step.x_t == model.diffusion.kernel.mask).double()
    error = -step.estimate.x0_hat.gather(-1, step.ids[..., None])[..., 0].double() * masked
    answers = (~canvas.given).sum(-1)
    assert answers.tolist() == [model.task.max_tokens] * 2
    assert (masked * canvas.given).sum() == 0
    assert torch.allclose(loss, error.sum(-1) / place / answers, rtol=1e-5)


# --- the likelihood --------------------------------------------------------------------------------------------------
def exact_by_subsets(model, ids, given=None):
    """The sum over all sets of masks: 1 / (k times as many sets of k) times the cross-entropy at the masks."""
    diffusion, total = model.diffusion, 0.0
    given, told = torch.zeros_like(ids, dtype=torch.bool) if given is None else given, torch.zeros(1)
    free = (~given).nonzero()[:, 0].tolist()
    for k in range(1, len(free) + 1):
        sets = list(combinations(free, k))
        for places in map(list, sets):
            x_t = ids.clone()
            x_t[places] = diffusion.kernel.mask
            law = diffusion.denoiser(x_t[None], told, given[None], None).x0_hat[0]
            total -= law[places, ids[places]].sum().item() / k / len(sets)
    return total


def masks_per_call(model, act):
    """Numbers of masks of every row, in each call of the network while something is done."""
    seen, mask = [], model.diffusion.kernel.mask
    handle = model.diffusion.denoiser.register_forward_pre_hook(
        lambda module, arguments: seen.append((arguments[0] == mask).sum(-1).tolist())
    )
    with torch.no_grad():
        act()
    handle.remove()
    return seen


def test_its_bound_by_draws_is_the_exact_one_and_the_continuous_one():
    """4.5 standard errors; those of stratified draws are overstated."""
    model = tiny(LLaDA, length=3, layers=2)
    examples = [Example(id=str(index), target=text) for index, text in enumerate(("old dog", "dog", "the cat", "cat"))]
    trained(model, 3, examples * 8)
    model.eval()
    model.diffusion.clock = Continuum(0.0, grid_of)
    ids = list(model._data(examples)["ids"])
    with torch.no_grad():
        subsets = [exact_by_subsets(model, row) for row in ids]
        integral = exact_integral(model.diffusion, model.bound_term, ids[0], nodes=4).item()
    assert integral == pytest.approx(subsets[0], rel=1e-5)
    scores = model.likelihood(examples * 32)
    mean, error = sum(scores.nats) / 128, sum(value**2 for value in scores.mc_errors) ** 0.5 / 128
    exact = sum(subsets) / len(subsets)
    assert error < 0.02 * exact
    assert abs(mean - exact) < 4.5 * error


def test_every_number_of_masks_once_is_the_bound_without_an_error_of_time():
    """Draws of all of 1..L from every first number: only the places are left to chance, and at k = L not even those."""
    model = tiny(LLaDA, length=3).eval()
    counts, shares = strata(torch.arange(1, 4), torch.tensor([3, 3, 3]), 3)
    assert [sorted(row) for row in counts.tolist()] == [[1, 2, 3]] * 3
    assert torch.allclose(shares, counts.double() / 3, rtol=1e-12)
    canvas = canvas_of(model._data(EXAMPLES[:1] * 600))
    with torch.no_grad():
        estimates = model.estimates(canvas, draws_of(3, 600)).mean(-1)
        exact = exact_by_subsets(model, canvas.ids[0])
    spread = estimates.std().item() / 600**0.5
    assert abs(estimates.mean().item() - exact) < 4.5 * spread
    assert spread < 0.01 * exact


def test_its_bound_behind_a_source_is_the_exact_one():
    """Shares are of the places that are written, not of the canvas; 4.5 standard errors of 600 rows of three draws."""
    model = answering().eval()
    row = canvas_of(model._data(PAIRS[:1]))
    with torch.no_grad():
        exact = exact_by_subsets(model, row.ids[0], row.given[0])
        estimates = model.estimates(canvas_of(model._data(PAIRS[:1] * 600)), draws_of(3, 600)).mean(-1)
    error = estimates.std().item() / 600**0.5
    assert row.given.any()
    assert abs(estimates.mean().item() - exact) < 4.5 * error
    assert error < 0.02 * exact


def test_the_first_number_of_masks_is_any_of_them():
    """Of 48 positions, one draw each of 1,000 rows: a number is missing once in 30 million."""
    model = tiny(LLaDA, length=48).eval()
    canvas = canvas_of(model._data(EXAMPLES[:1] * 1000))
    (counts,) = masks_per_call(model, lambda: model.estimates(canvas, draws_of(1, 1000)))
    assert sorted(set(counts)) == list(range(1, 49))


@pytest.mark.parametrize(("positions", "draws"), [(8, 4), (10, 4), (7, 16), (6, 1)])
def test_every_number_of_masks_is_as_likely(positions, draws):
    """Also where positions / draws is halves, which rounding to even would turn into even numbers."""
    counts, _ = strata(torch.arange(1, positions + 1), torch.full((positions,), positions), draws)
    for column in counts.mT.tolist():
        assert sorted(column) == list(range(1, positions + 1))
    spread = counts[0].unique().diff()
    assert spread.numel() == 0 or spread.max() - spread.min() <= 1


def test_exactly_k_masks_vary_less_than_masks_at_a_time():
    model = tiny(LLaDA).eval()
    canvas = canvas_of(model._data(EXAMPLES[:32]))
    with torch.no_grad():
        counted, timed = (estimates(model, canvas, draws_of(16, 32)) for estimates in (LLaDA.estimates, MaskedAdapter.estimates))
    assert counted.var(-1).mean() < 0.5 * timed.var(-1).mean()
    error = (counted.var(-1).mean() / 512 + timed.var(-1).mean() / 512).sqrt()
    assert abs(counted.mean() - timed.mean()) < 4.5 * error


def test_the_source_is_never_masked_nor_scored():
    model = answering().eval()
    canvas = canvas_of(model._data(PAIRS[:4]))
    seen = []
    handle = model.diffusion.denoiser.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0].clone()))
    with torch.no_grad():
        model.estimates(canvas, draws_of(16, 4))
    handle.remove()
    masks = torch.stack(seen) == model.diffusion.kernel.mask
    assert not (masks & canvas.given).any()
    free = (~canvas.given).sum(-1)
    for row in range(4):
        assert set(masks.sum(-1)[:, row].tolist()) == set(range(1, free[row].item() + 1))


# --- sampling --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("steps", "expected"), [(1, 1), (4, 4), (6, 6), (9, 6), (50, 6)])
@pytest.mark.parametrize("remasking", ["low-confidence", "random", "entropy", "margin"])
def test_steps_beyond_the_positions_ask_nothing(remasking, steps, expected):
    found = tiny(LLaDA, remasking=remasking).generate(requests(3), Sampling(steps=steps))
    assert calls(found) == [expected] * 3
    assert [answer.positions_processed for answer in found] == [expected * LENGTH] * 3
    assert [answer.steps_used for answer in found] == [steps] * 3


@pytest.mark.parametrize(("remasking", "place"), [("low-confidence", 0), ("margin", 1), ("entropy", 2), ("random", 3)])
def test_every_order_goes_by_its_own_name(remasking, place):
    """One of four masks is due: the most probable token, the one furthest ahead, the surest law, or the lowest draw."""
    law = torch.tensor([[0.6, 0.3, *[0.0125] * 8], [0.55, *[0.05] * 9], [0.52, 0.48, *[0.0] * 8], [0.1] * 10]).double()[None]
    noise = torch.full((1, 4, 2), 0.5, dtype=torch.float64)
    noise[..., 3, 0] = 0.1
    estimate = Estimate(law.log(), law.log())
    undo = reverse_of({"remasking": remasking, "blocks": 1, "commits": "even", "tokens": "argmax"}, steps=4)
    alpha_t, alpha_s = (torch.full((1, 1), alpha, dtype=torch.float64) for alpha in (0.0, 0.25))
    x_s = undo(Absorbing(10), torch.full((1, 4), 10), estimate, alpha_t, alpha_s, noise=noise, final=False)
    assert (x_s[0] != 10).nonzero()[:, 0].tolist() == [place]


def test_blocks_ask_as_often_as_their_steps_and_positions_let_them():
    assert calls(tiny(LLaDA, blocks=2).generate(requests(2), Sampling(steps=4))) == [4, 4]
    assert calls(tiny(LLaDA, blocks=2).generate(requests(2), Sampling(steps=12))) == [6, 6]
    assert calls(tiny(LLaDA, blocks=4).generate(requests(2), Sampling(steps=4))) == [4, 4]


def test_blocks_are_written_evenly_one_after_the_other():
    """Twelve positions in two blocks of two steps: three a step."""
    model = tiny(LLaDA, blocks=2, length=12)
    asked = [Request(id="0", seed=0, max_tokens=12)]
    assert masks_per_call(model, lambda: model.generate(asked, Sampling(steps=4))) == [[12], [9], [6], [3]]


def test_steps_by_the_schedule_ask_where_a_token_is_due():
    """Six positions in six steps: 0.999 is no token, then one a step, and the rest in the last."""
    model = tiny(LLaDA, commits="schedule")
    assert calls(model.generate(requests(2), Sampling(steps=6))) == [5, 5]
    assert calls(model.generate(requests(2), Sampling(steps=1))) == [1, 1]


@pytest.mark.parametrize("remasking", ["low-confidence", "random"])
def test_steps_by_the_schedule_are_as_many_behind_a_source(remasking):
    alone, behind = (make(commits="schedule", remasking=remasking) for make in (partial(tiny, LLaDA), answering))
    for steps in (1, 3, 6, 12, 48):
        settings = Sampling(steps=steps)
        assert calls(behind.generate(asking("dog", "old dog sees"), settings)) == calls(alone.generate(requests(2), settings))


@pytest.mark.parametrize(("schedule", "steps"), [("power(k=16)", 12), ("power(k=20)", 8)])
@pytest.mark.parametrize("keys", [{}, {"blocks": 2}, {"commits": "schedule"}, {"remasking": "random"}])
def test_no_mask_is_left_by_a_schedule_that_keeps_all_in_its_last_step(schedule, steps, keys):
    model = tiny(LLaDA, schedule, length=12, **keys)
    last = torch.tensor([[grid_of(steps)[-2]]])
    assert model.diffusion.schedule.alpha_bar(last).item() == 1
    asked = [Request(id=str(i), seed=i, max_tokens=12) for i in range(8)]
    for answer in model.generate(asked, Sampling(steps=steps, fixed_length=True)):
        assert max(answer.ids[0]) < model.diffusion.kernel.mask


def test_where_no_steps_are_asked_for_blocks_get_equally_many():
    """Six positions behind a source: in two blocks six steps, in four blocks eight."""
    for blocks, steps in ((1, 6), (2, 6), (4, 8)):
        (answer,) = answering(blocks=blocks).generate(asking("dog"), Sampling())
        assert answer.steps_used == steps


def test_rows_pay_for_their_own_answers_alone_and_twice_when_guided():
    """However long their sources are, and whoever shares the batch."""
    asked, settings = asking("old dog sees", "dog", "small cat hears"), Sampling(steps=30)
    model = answering()
    expected = [model.task.max_tokens] * 3
    found = model.generate(asked, settings)
    assert calls(found) == expected
    assert model.generate(asked, Sampling(steps=30, micro_batch=1)) == found
    assert calls(answering(guidance=2.0).generate(asked, settings)) == [2 * count for count in expected]


def test_released_decoding_is_the_same_for_every_request():
    settings = Sampling(steps=3)
    assert len({answer.texts for answer in tiny(LLaDA, tokens="argmax").generate(requests(20), settings)}) == 1
    assert len({answer.texts for answer in tiny(LLaDA).generate(requests(20), settings)}) > 10


def test_a_low_temperature_takes_the_most_probable_tokens(tmp_path):
    model = tiny(LLaDA, remasking="random")
    model.save(tmp_path)
    decided = LLaDA.load(tmp_path, "cpu", tokens="argmax")
    cold = model.generate(requests(10), Sampling(steps=3, temperature=1e-5))
    assert [answer.ids for answer in cold] == [answer.ids for answer in decided.generate(requests(10), Sampling(steps=3))]


def test_times_end_at_the_data():
    assert grid_of(4).tolist() == pytest.approx([1, 1 - 0.999 / 4, 1 - 0.999 / 2, 1 - 3 * 0.999 / 4, 0])
    assert len(grid_of(1)) == 2


# --- keys, saving, learning ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"remasking": "best"}, "remasking 'best' is none of low-confidence, random, entropy, margin"),
        ({"tokens": "beam"}, "tokens 'beam' is none of draw, argmax"),
        ({"commits": "all"}, "commits 'all' is none of even, schedule"),
        ({"blocks": 0}, "blocks 0, expected a whole number from 1 on"),
        ({"blocks": 2, "commits": "schedule"}, "commits 'schedule' needs blocks 1, got 2"),
        ({"guidance": -1.0}, "guidance -1.0"),
        ({"guidance": float("nan")}, "guidance nan, expected null"),
    ],
)
def test_wrong_keys_are_refused(keys, message):
    with pytest.raises(ValueError, match=message):
        tiny(LLaDA, **keys)


def test_unknown_keys_are_refused():
    with pytest.raises(UnknownName, match="greedy"):
        tiny(LLaDA, "linear-alpha-bar", greedy=True)


def test_steps_that_blocks_cannot_share_are_refused():
    with pytest.raises(ModelError, match="5 steps do not divide into 2 blocks"):
        tiny(LLaDA, blocks=2).generate(requests(1), Sampling(steps=5))


def test_the_design_says_how_it_samples():
    assert LLaDA.design_for().unmasking == "low-confidence"
    changed = LLaDA.design_for(remasking="margin", tokens="argmax", blocks=4)
    assert (changed.unmasking, changed.last_step, changed.equal_parts) == ("margin", "argmax", 4)


@pytest.mark.parametrize("schedule", ["linear-alpha-bar", "linear-alpha-bar@20"])
def test_it_trains_samples_scores_and_survives_saving(tmp_path, schedule):
    model = tiny(LLaDA, schedule)
    assert trained(model, 5).updates == 5
    found = model.generate(requests(3), Sampling(steps=4))
    scores = model.likelihood(EXAMPLES[:4])
    assert (scores.kind, scores.estimator) == ("bound", "masked-count")
    model.save(tmp_path)
    again = LLaDA.load(tmp_path, "cpu")
    assert again.generate(requests(3), Sampling(steps=4)) == found
    assert again.likelihood(EXAMPLES[:4]) == scores
    random = LLaDA.load(tmp_path, "cpu", remasking="random")
    assert random.generate(requests(3), Sampling(steps=4)) != found
    assert random.likelihood(EXAMPLES[:4]) == scores


def test_it_trains_and_scores_answers():
    model = answering()
    assert trained(model, 3, PAIRS * 8).updates >= 1
    assert len(model.likelihood(PAIRS).nats) == len(PAIRS)


@pytest.mark.slow
def test_learning_lowers_the_bound_towards_the_entropy():
    learns(tiny(LLaDA, width=48), updates=800, steps=LENGTH, bound=3.0, known=50)


@pytest.mark.slow
@pytest.mark.parametrize("keys", [{}, {"blocks": 2}, {"remasking": "entropy", "commits": "schedule"}, {"guidance": 1.5}])
def test_learning_answers_what_is_asked(keys, tmp_path):
    model = answering(width=48, layers=2)
    model.fit(PAIRS * 8, [], Budget(tokens=600 * 16 * model.layout.length), FitContext(seed=1))
    model.save(tmp_path)
    decided = LLaDA.load(tmp_path, "cpu", tokens="argmax", **keys)
    answers = decided.generate(asking(*[pair.source for pair in PAIRS]), Sampling(steps=4))
    assert sum(answer.texts[0] == pair.target for answer, pair in zip(answers, PAIRS, strict=True)) >= 7
