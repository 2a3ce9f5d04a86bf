"""BD3-LM as a text model: what blocks see, the cache, the law of its samplers, its bound and both its limits, how texts end."""

import json
import math
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import pytest
import torch
from toy_sentences import EXAMPLES, LENGTH, SENTENCES, learns, requests, tiny, trained

from baselines.adapter import canvas_of
from baselines.blocks import BlockDiffusion
from baselines.engine import Diffusion
from baselines.enumeration import every_sequence, exact_integral
from baselines.networks.block_denoiser import BlockDenoiser
from baselines.parts.blocks import BlockTimes, block_numbers, hitting_times, spread, turns
from baselines.parts.categorical import Absorbing, normalised
from baselines.parts.clocks import Continuum
from baselines.parts.conditioning import Canvas, Source
from baselines.parts.estimates import Readout
from baselines.parts.objectives_discrete import masked_bound
from baselines.parts.randomness import Noise
from baselines.parts.samplers_discrete import reveal_first, with_tokens_at
from baselines.parts.spaces import DiscreteSpace
from baselines.systems.bd3_lm import BD3LM, clipping, sharpened
from baselines.training import Draws
from harness.check.case import Case
from harness.construction import construct
from harness.contracts import Budget, Example, FitContext, Request, Sampling, TaskView, stream_seed
from harness.errors import ModelError, UnknownName
from harness.schedules.names import build
from harness.tokenizer import EOS, PAD, Tokenizer

NATIVE = "linear-alpha-bar"
GOLDEN = Path(__file__).parents[2] / "golden" / "exact_toy_enumeration.json"


def of_two_words(length, **size):
    """A model of seven tokens with weights that make its estimates differ, in float64."""
    view = TaskView(name="toy", family="ucg", tokenizer=Tokenizer.train("words", ["a b"]), max_tokens=length)
    model = construct(BD3LM, NATIVE, view, {"width": 16, "layers": 2, "heads": 2, **size})
    generator = torch.Generator().manual_seed(3)
    for parameter in model.diffusion.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.5
    return model.double().eval()


def with_sources(**size):
    view = TaskView(
        name="toy", family="t2t", tokenizer=Tokenizer.train("words", SENTENCES), max_tokens=LENGTH, max_source_tokens=5
    )
    return construct(BD3LM, NATIVE, view, {"width": 32, "layers": 2, "heads": 2, **size}).eval()


PAIRS = [Example(id=str(i), source=" ".join(text.split()[:2]), target=text) for i, text in enumerate(SENTENCES)] * 2


def asked(count, n=1):
    return [Request(id=str(i), seed=i, max_tokens=LENGTH, source=" ".join(SENTENCES[i % 8].split()[: 1 + i % 4]), n=n)
            for i in range(count)]  # fmt: skip


def estimates(model, x_t, clean, source=None):
    """Log-probabilities by the pass of training, without a cache."""
    network = model.diffusion.network
    return normalised(network.logits(network.beside_clean(x_t, clean, source)))


# --- the whole ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("keys", [{}, {"block": 1}, {"block": LENGTH}, {"block": 2, "sampler": "first-hitting", "nucleus": 0.9}])
def test_it_trains_samples_scores_and_survives_saving(keys, tmp_path):
    model = tiny(BD3LM, **keys)
    assert trained(model, 5).updates == 5 * LENGTH // model.layout.length
    found = model.generate(requests(3), Sampling(steps=6))
    scores = model.likelihood(EXAMPLES[:4])
    assert (scores.kind, scores.estimator) == ("bound", "continuous")
    model.save(tmp_path)
    again = BD3LM.load(tmp_path, "cpu")
    assert again.generate(requests(3), Sampling(steps=6)) == found
    assert again.likelihood(EXAMPLES[:4]) == scores


def test_samples_do_not_depend_on_the_batch():
    model = with_sources()
    together = model.generate(asked(9, n=2), Sampling(steps=5))
    assert together == model.generate(asked(9, n=2), Sampling(steps=5, micro_batch=1))
    assert together[::-1] == model.generate(asked(9, n=2)[::-1], Sampling(steps=5, micro_batch=4))


def test_training_counts_what_stands_beside_the_noisy_blocks():
    """Eight positions in blocks of four: those, the start token and one clean block."""
    report = trained(tiny(BD3LM), 4)
    assert report.tokens == 3 * 16 * 8
    assert report.flops == 6 * report.parameters * report.tokens * 13 / 8


def test_training_counts_the_prefix_too():
    """Eight positions in blocks of four, of a source of five the start token and its tokens, and one clean block."""
    report = trained(with_sources(), 4, PAIRS)
    assert report.flops == 6 * report.parameters * report.tokens * (8 + 4 + 6) / 8


@pytest.mark.parametrize("sampler", ["ancestral", "first-hitting"])
def test_texts_may_be_longer_than_in_training(sampler):
    """They are those of a model with the same weights and a canvas of their length, beside others or not."""
    short, long = (tiny(BD3LM, sampler=sampler, length=length) for length in (8, 50))
    trained(short, 4)
    long.load_state_dict(short.state_dict())
    asked_for = [Request(id=str(size), seed=size, max_tokens=size) for size in (50, 8, 30, 5)]
    settings = Sampling(steps=50, fixed_length=True)
    answers = short.generate(asked_for, settings)
    assert [len(answer.ids[0]) for answer in answers] == [50, 8, 30, 5]
    assert [answer.id for answer in answers] == ["50", "8", "30", "5"]
    assert answers[:1] == long.generate(asked_for[:1], settings)
    assert answers[1:2] == short.generate(asked_for[1:2], settings)
    assert short.layout.length == 8


def test_more_blocks_than_steps_are_refused_where_texts_are_longer_too():
    with pytest.raises(ModelError, match="8 steps for 10 blocks"):
        tiny(BD3LM).generate([Request(id="0", seed=0, max_tokens=40)], Sampling(steps=8))


# --- what sees what ----------------------------------------------------------------------------------------------------
def test_a_noisy_block_sees_itself_the_prefix_and_the_clean_blocks_before_it_and_nothing_else():
    model, generator = with_sources(block=2), torch.Generator().manual_seed(0)
    x_t, clean, ids = (torch.randint(12, (1, size), generator=generator) for size in (6, 6, 5))
    present = torch.tensor([[True, True, True, False, False]])
    before = estimates(model, x_t, clean, Source(ids=ids, present=present))

    def moved(x_t=x_t, clean=clean, ids=ids):
        after = estimates(model, x_t, clean, Source(ids=ids, present=present))
        return [not torch.allclose(*pair, atol=1e-6) for pair in zip(before[0].split(2), after[0].split(2), strict=True)]

    def changed(ids, place):
        return ids.index_fill(1, torch.tensor(place), 12)

    assert [moved(clean=changed(clean, place)) for place in (1, 2, 5)] == [
        [False, True, True], [False, False, True], [False, False, False],
    ]  # fmt: skip
    assert moved(x_t=changed(x_t, 2)) == [False, True, False]
    assert moved(ids=changed(ids, 0)) == [True, True, True]
    assert moved(ids=changed(ids, 4)) == [False, False, False]


def test_training_sees_the_source():
    """The losses of texts that hold masks are others where their sources are, and of the texts behind them they are not."""
    model, losses = with_sources(block=2), []
    for source in ("old dog", "small cat"):
        changed = [*(replace(pair, source=source) for pair in PAIRS[:8]), *PAIRS[8:]]
        draws = Draws(seed=0, batch=16, rows=slice(16), device=torch.device("cpu"))
        losses.append(model.diffusion.loss(canvas_of(model._data(changed)), draws))
    masked = losses[0] > 0
    assert masked[:8].any()
    assert torch.equal((losses[0] != losses[1])[:8], masked[:8])
    assert torch.equal(losses[0][8:], losses[1][8:])


def test_masks_are_told_apart_by_their_distance_to_the_start():
    model = of_two_words(4, block=4)
    masks = torch.full((1, 4), 7)
    law = estimates(model, masks, masks)
    assert (law[0, 1:] - law[0, :-1]).abs().amax(-1).min() > 1e-3


def test_block_numbers():
    assert block_numbers(5, 2, before=3).tolist() == [-1, -1, -1, 0, 0, 1, 1, 2]


@pytest.mark.parametrize("block", [1, 2, 3, 6])
def test_estimates_behind_a_cache_are_those_of_the_pass_of_training(block):
    model, generator = with_sources(block=block), torch.Generator().manual_seed(1)
    network = model.diffusion.network
    x_t, clean, ids = (torch.randint(13 - (size != 6), (4, size), generator=generator) for size in (6, 6, 7))
    source = Source(ids=ids, present=torch.arange(7) < torch.tensor([[7], [2], [5], [1]]))
    whole = network.beside_clean(x_t, clean, source)
    past = network.past(source, 4, length=6)
    before = ids
    for noisy, finished, expected in zip(x_t.split(block, 1), clean.split(block, 1), whole.split(block, 1), strict=True):
        network(before, past)
        past.length += before.shape[1]
        assert torch.allclose(network(noisy, past), expected, atol=1e-5)
        assert torch.allclose(network(noisy[:2], past), expected[:2], atol=1e-5)
        before = finished


def without_cache(model, request, steps):
    """The sampler once more, a request at a time, all of the canvas in each call."""
    block, length = model.keys["block"], model.layout.length
    prompt = model.layout.canvas([model.task.tokenizer.encode(request.source)], None)
    ids = torch.full((1, length), len(model.task.tokenizer))
    noise = Noise(torch.tensor([stream_seed(request.seed, 0)]))
    for number in range(length // block):
        count = (steps + length // block - 1 - number) // (length // block)
        draws = noise.uniform(number, block, 3)
        first_hitting = model.keys["sampler"] == "first-hitting"
        turn = turns(draws[..., :2], None if first_hitting else 1 - torch.arange(1, count, dtype=torch.float64) / count)
        here = slice(number * block, (number + 1) * block)
        for now in range(int(turn.max()) + 1):
            hidden = model.diffusion.network.beside_clean(ids, ids, prompt.source)[:, here]
            estimate = Readout(hidden, model.diffusion.network.logits, normalised)
            ids[:, here] = with_tokens_at(ids[:, here], turn == now, estimate, draws[..., 1:])
        if (ids[:, here] == EOS).any():
            break
    return tuple(token for token in ids[0].tolist() if token < len(model.task.tokenizer))


@pytest.mark.parametrize("keys", [{"block": 2}, {"block": 3, "sampler": "first-hitting"}, {"block": 1}])
def test_texts_are_those_of_a_sampler_without_cache(keys):
    model = with_sources(**keys)
    with torch.no_grad():
        model.diffusion.network.logits.bias[EOS] = 1.0
    given = model.generate(asked(20), Sampling(steps=LENGTH))
    for request, answer in zip(asked(20), given, strict=True):
        ids = without_cache(model, request, LENGTH)
        assert answer.ids[0] == (ids[: ids.index(EOS) + 1] if EOS in ids else ids)
    assert {len(answer.ids[0]) for answer in given} > {LENGTH}


# --- when masks are revealed -------------------------------------------------------------------------------------------
def test_turns_are_the_order_of_independent_times():
    """4.5 standard errors: a false alarm in 150,000."""
    draws = Noise(torch.arange(20_000)).uniform(0, 3, 2)
    turn = turns(draws, None)
    for order in permutations(range(3)):
        share = (turn == torch.tensor(order)).all(-1).double().mean().item()
        assert share == pytest.approx(1 / 6, abs=4.5 * (5 / 36 / 20_000) ** 0.5)
    assert torch.equal(turns(draws, torch.zeros(0, dtype=torch.float64)), torch.zeros_like(turn))
    shares = torch.tensor([0.7, 0.2], dtype=torch.float64)
    turn = turns(draws, shares)
    alone = (turn.amax(-1) == 0).double().mean().item()
    expected = 0.3**3 + 0.5**3 + 0.2**3
    assert alone == pytest.approx(expected, abs=4.5 * (expected * (1 - expected) / 20_000) ** 0.5)


def test_hitting_times_are_those_of_the_largest_of_uniform_draws():
    times = hitting_times(Noise(torch.arange(20_000)).uniform(0, 4))
    assert bool((times.diff(dim=-1) < 0).all())
    means = torch.tensor([0.8, 0.6, 0.4, 0.2], dtype=torch.float64)
    assert torch.allclose(times.mean(0), means, atol=4.5 * 0.2 / 20_000**0.5)


def plans(block, steps):
    """Every way in which masks of a block are revealed: its probability, and the turn of each mask."""
    if steps is None:
        return [(1 / math.factorial(block), order) for order in permutations(range(block))]
    ways = product(range(steps), repeat=block)
    return [(steps**-block, tuple(sorted(set(way)).index(step) for step in way)) for way in ways]


def law_of_a_block(model, before, steps):
    """Probability of every block of tokens behind a clean past."""
    block, tokens = model.keys["block"], len(model.task.tokenizer)
    states = every_sequence(tokens + 1, block)
    row = dict(zip(map(tuple, states.tolist()), range(len(states)), strict=True))
    canvas = torch.cat([torch.tensor(before, dtype=torch.int64), torch.zeros(block, dtype=torch.int64)])
    filled = torch.nn.functional.pad(canvas, (0, model.layout.length - len(canvas)))
    x_t = filled.repeat(len(states), 1)
    x_t[:, len(before) : len(before) + block] = states
    law = estimates(model, x_t, x_t)[:, len(before) : len(before) + block].exp()
    found = torch.zeros(tokens**block, dtype=torch.float64)
    for place, text in enumerate(product(range(tokens), repeat=block)):
        for probability, turn in plans(block, steps):
            chance = probability
            for now in range(max(turn) + 1):
                state = tuple(token if at < now else tokens for token, at in zip(text, turn, strict=True))
                for position in (position for position, at in enumerate(turn) if at == now):
                    chance *= law[row[state], position, text[position]].item()
            found[place] += chance
    return found


@pytest.mark.parametrize(("keys", "steps"), [({}, 4), ({"sampler": "first-hitting"}, None)])
def test_the_law_of_the_sampler(keys, steps):
    """By going through all ways of revealing; 4.5 standard errors, for 98 shares: a false alarm in 1,500."""
    model, count = of_two_words(4, block=2, **keys), 8000
    asked_for = [Request(id=str(i), seed=i, max_tokens=4) for i in range(count)]
    given = model.generate(asked_for, Sampling(steps=4, micro_batch=1000, fixed_length=True))
    ids = torch.tensor([answer.ids[0] for answer in given])
    first = law_of_a_block(model, [], steps and 2)
    second = sum(chance * law_of_a_block(model, [at // 7, at % 7], steps and 2) for at, chance in enumerate(first))
    assert first.sum().item() == pytest.approx(1)
    for law, block in ((first, ids[:, :2]), (second, ids[:, 2:])):
        shares = torch.bincount(block[:, 0] * 7 + block[:, 1], minlength=49) / count
        assert bool(((shares - law).abs() < 4.5 * (law * (1 - law) / count).sqrt() + 1e-12).all())


def test_a_swapped_schedule_moves_the_turns():
    """With 1 - t^2 a mask lasts over the first of two steps with chance 1/4."""
    model = tiny(BD3LM, "power(k=2)", block=1, length=1)
    shares = model.diffusion._shares(model.grid(2))
    assert shares.tolist() == [0.25]


def test_of_a_schedule_that_keeps_some_at_its_end_shares_are_of_the_masks_that_there_are():
    """Half are masks at t = 1, a quarter at t = 1/2: of the first, half are left."""
    model = tiny(BD3LM, "between(of=linear-alpha-bar,low=0.5)", block=1, length=1)
    assert model.diffusion._shares(model.grid(2)).tolist() == [0.5]


def test_steps_are_spread_over_blocks_and_the_first_get_what_is_over():
    assert [spread(7, 3), spread(6, 3), spread(3, 3)] == [[3, 2, 2], [2, 2, 2], [1, 1, 1]]


# --- what it costs -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("keys", [{"block": 2}, {"block": 3}, {"block": 2, "sampler": "first-hitting"}])
@pytest.mark.parametrize("fixed_length", [False, True])
def test_calls_and_positions_follow_the_formula(keys, fixed_length):
    model, block, steps = with_sources(**keys), keys["block"], 6
    given = model.generate(asked(12), Sampling(steps=steps, fixed_length=fixed_length))
    for request, answer in zip(asked(12), given, strict=True):
        written_blocks = -(-len(answer.ids[0]) // block)
        noise, revealing = Noise(torch.tensor([stream_seed(request.seed, 0)])), 0
        for number in range(written_blocks):
            shares = 1 - torch.arange(1, block, dtype=torch.float64) / block
            turn = turns(noise.uniform(number, block, 3)[..., :2], None if "sampler" in keys else shares)
            revealing += int(turn.max()) + 1
        assert answer.network_calls == written_blocks + revealing
        assert answer.positions_processed == 6 + (written_blocks - 1) * block + block * revealing
        assert answer.steps_used == steps
        if "sampler" in keys and fixed_length:
            assert answer.network_calls == written_blocks + LENGTH


def test_calls_are_those_that_hooks_see():
    model, seen = with_sources(block=2), []
    model.network.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0].shape[1]))
    (alone,) = model.generate(asked(1), Sampling(steps=6))
    assert (alone.network_calls, alone.positions_processed) == (len(seen), sum(seen))


def test_first_hitting_takes_a_step_for_each_position_whatever_is_asked_for():
    model = tiny(BD3LM, sampler="first-hitting")
    (few,), (many,) = (model.generate(requests(1), Sampling(steps=steps)) for steps in (1, 50))
    assert few == many
    assert few.steps_used == 8


def test_fewer_steps_than_blocks_are_refused():
    with pytest.raises(ModelError, match="2 steps for 3 blocks, expected one for each at least; ask for 3 steps or more"):
        tiny(BD3LM, block=2).generate(requests(1), Sampling(steps=2))


@pytest.mark.parametrize("keys", [{}, {"block": 2}, {"block": 4}, {"block": 6}, {"sampler": "first-hitting"}], ids=str)
def test_the_least_steps_that_a_grid_hears_of_are_enough(keys):
    least = BD3LM.least_steps(LENGTH, **keys)
    model = tiny(BD3LM, **keys)
    assert len(model.generate(requests(2), Sampling(steps=least))) == 2
    if least > 1:
        with pytest.raises(ModelError):
            model.generate(requests(2), Sampling(steps=least - 1))


# --- how texts end -----------------------------------------------------------------------------------------------------
def test_what_stands_behind_the_block_of_the_end_is_given():
    layout = tiny(BD3LM, block=2).layout
    canvas = layout.canvas([[]] * 3, [[5, EOS], [5, 6, EOS], [5, 6, 7, 8, 9, 10]])
    assert canvas.given.long().tolist() == [[0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0]]
    assert canvas.ids[1].tolist() == [5, 6, EOS, PAD, PAD, PAD]
    assert not bool(layout.canvas([[]] * 2, None).given.any())


def test_ends_of_texts_are_heeded_unless_a_length_is_asked_for():
    model = tiny(BD3LM, block=2)
    with torch.no_grad():
        model.diffusion.network.logits.bias[EOS] = 20.0
    (short,) = model.generate(requests(1), Sampling(steps=6))
    assert (short.ids[0], short.finish_reasons, short.positions_processed) == (
        (EOS,),
        ("eos",),
        1 + 2 * (short.network_calls - 1),
    )
    (long,) = model.generate(requests(1), Sampling(steps=6, fixed_length=True))
    assert long.ids[0] == (EOS,) * 6


# --- times of training -------------------------------------------------------------------------------------------------
def test_each_block_has_a_time_of_its_own_clipped_in_training_alone():
    model, heard = tiny(BD3LM, block=2, clip_low=0.4, clip_high=0.6), []
    step = model.diffusion.step

    def listening(canvas, t, *others):
        heard.append(t)
        return step(canvas, t, *others)

    model.diffusion.step = listening
    canvas = Canvas(ids=torch.zeros(32, 6, dtype=torch.int64), given=torch.zeros(32, 6, dtype=torch.bool))
    for mode in (True, False):
        model.train(mode)
        model.diffusion.loss(canvas, Draws(seed=0, batch=32, rows=slice(32), device=torch.device("cpu")))
    for t, (low, high) in zip(heard, ((0.4, 0.6), (1e-3, 1)), strict=True):
        blocks = t.view(32, 3, 2)
        assert bool((blocks[..., 0] == blocks[..., 1]).all())
        assert low <= t.min() < low + (high - low) / 96
        assert high - (high - low) / 96 < t.max() <= high
        assert len(blocks[..., 0].unique()) == 96


@pytest.mark.parametrize(
    ("block", "expected"), [(1, (1.0, 1.0)), (2, (0.45, 0.95)), (4, (0.45, 0.95)), (16, (0.3, 0.8)), (128, (0.0, 0.5))]
)
def test_times_are_clipped_by_the_size_of_a_block(block, expected):
    assert clipping(BD3LM.checked({"block": block})) == expected
    assert clipping(BD3LM.checked({"block": block, "clip_low": 0, "clip_high": 1})) == (0, 1)


# --- the bound ---------------------------------------------------------------------------------------------------------
def test_a_bound_is_estimated_at_one_time_for_each_block():
    model = tiny(BD3LM, block=2)
    shares = model.shares(Draws(seed=0, batch=4, rows=slice(4), device=torch.device("cpu"))).view(4, 3, 2)
    assert torch.equal(shares[..., 0], shares[..., 1])
    assert len(shares.unique()) == 12


def exact(model, ids):
    """The bound, block by block up to that of EOS, over every set S of masks: B(|S|, B - |S| + 1) times the error at them."""
    block, mask, total = model.keys["block"], len(model.task.tokenizer), 0.0
    for start in range(0, len(ids), block):
        for masked in product((False, True), repeat=block):
            size = sum(masked)
            if size:
                x_t = ids.clone()
                x_t[start : start + block][torch.tensor(masked)] = mask
                law = estimates(model, x_t[None], ids[None])[0, start : start + block]
                errors = -law.gather(-1, ids[start : start + block, None])[:, 0][torch.tensor(masked)]
                weight = math.gamma(size) * math.gamma(block - size + 1) / math.gamma(block + 1)
                total += weight * errors.sum().item()
        if (ids[start : start + block] == EOS).any():
            break
    return total


def integral(model, ids, diffusion=None):
    """The same by quadrature over time; exact, as what it sums is a polynomial in t of low degree."""
    diffusion = diffusion or model.diffusion
    diffusion.clock = Continuum(0.0, model.grid)
    return exact_integral(diffusion, masked_bound(diffusion.kernel, diffusion.schedule), ids, nodes=4).item()


@pytest.mark.parametrize("block", [1, 2, 4])
def test_the_bound_is_the_sum_over_blocks_behind_clean_ones(block):
    model, ids = of_two_words(4, block=block), torch.tensor([5, 6, 0, 5])
    assert integral(model, ids) == pytest.approx(exact(model, ids), rel=1e-9)


def test_blocks_of_one_give_the_exact_likelihood():
    """The bound is the sum of -log p(x_i | x_<i), whose law over all texts adds up to 1."""
    model = of_two_words(2, block=1)
    texts = every_sequence(7, 2)
    masks = torch.full_like(texts, 7)
    errors = -estimates(model, masks, texts).gather(-1, texts[..., None])[..., 0].sum(-1)
    assert (-errors).exp().sum().item() == pytest.approx(1)
    for place in (0, 13, 48):
        assert integral(model, texts[place]) == pytest.approx(errors[place].item(), rel=1e-9)


class Whole(torch.nn.Module):
    """The same weights as a masked diffusion of the whole canvas, behind a start token that sees itself alone."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x_t, time, given, previous):
        ids = torch.cat([self.network.prefix(None, len(x_t)).ids, x_t], 1)
        visible = torch.ones(1, 1, ids.shape[1], ids.shape[1], dtype=torch.bool)
        visible[..., 0, 1:] = False
        hidden = self.network._through(ids, self.network.transformer.rotary(ids.shape[1], ids.device), visible)
        return Readout(hidden[:, 1:], self.network.logits, normalised)


def test_one_block_gives_the_bound_of_masked_diffusion():
    model, ids = of_two_words(3, block=3), torch.tensor([5, 1, 6])
    kernel, schedule = model.kernel, model.diffusion.schedule
    whole = Diffusion(
        space=DiscreteSpace(7), kernel=kernel, schedule=schedule, denoiser=Whole(model.diffusion.network),
        objective=masked_bound(kernel, schedule), times=model.diffusion.times, reverse=model.reverse(),
        clock=model.diffusion.clock, time_input=lambda t: t[:, 0],
    )  # fmt: skip
    assert integral(model, ids, whole) == pytest.approx(exact(model, ids), rel=1e-9)


class Toy(BlockDenoiser):
    """The network that golden cases write out: of a block it sees the clean ones before it, and masks behind it."""

    def __init__(self, P, W, E, block):
        torch.nn.Module.__init__(self)
        self.P, self.W, self.E = (torch.tensor(table, dtype=torch.float64) for table in (P, W, E))
        self.block, self.logits = block, torch.nn.Identity()

    def beside_clean(self, x_t, clean, source):
        seen, length = [], x_t.shape[1]
        for start in range(0, length, self.block):
            end = start + self.block
            whole = torch.cat([clean[:, :start], x_t[:, start:end], torch.full_like(x_t[:, end:], self.P.shape[1])], 1)
            logits = self.P + self.W[whole].sum(1, keepdim=True) - self.W[whole] + self.E[whole]
            seen.append(logits[:, start:end])
        return torch.cat(seen, 1)


@pytest.mark.parametrize("case", [case for case in json.loads(GOLDEN.read_text())["cases"] if case["kind"] == "toy.masked_exact"])
def test_bounds_of_the_golden_network(case):
    given, found = case["inputs"], []
    for block in given["block_lengths"]:
        kernel, schedule, clock = Absorbing(given["K"]), build(NATIVE), Continuum(0.0, lambda steps: torch.ones(steps))
        diffusion = BlockDiffusion(
            space=DiscreteSpace(given["K"]), kernel=kernel, schedule=schedule, objective=masked_bound(kernel, schedule),
            denoiser=Toy(given["P"], given["W"], given["E"], block), reverse=reveal_first, clock=clock,
            times=BlockTimes(given["L"] // block, block, low=0.0, high=1.0), time_input=lambda t: t[:, 0],
        )  # fmt: skip
        found.append(exact_integral(diffusion, masked_bound(kernel, schedule), torch.tensor(given["x0"]), nodes=8).item())
    assert found == pytest.approx(case["expected"]["block_nelbo"], rel=1e-9)


def test_its_bound_by_draws_is_the_exact_one():
    """4.5 standard errors; the text "a" ends in the first block, and the second is not scored."""
    model = of_two_words(4, block=2)
    examples = [Example(id=text, target=text) for text in ("a", "b a b", "a b a b", "b b a a")]
    scores = model.likelihood(examples * 32)
    rows = [
        torch.tensor([*ids, EOS, PAD, PAD, PAD][:4]) for ids in model.task.tokenizer.encode_batch([e.target for e in examples])
    ]
    for place, ids in enumerate(rows):
        mean, error = (sum(scores.nats[place::4]) / 32, sum(value**2 for value in scores.mc_errors[place::4]) ** 0.5 / 32)
        assert error < 0.05 * mean
        assert abs(mean - exact(model, ids)) < 4.5 * error


# --- keys --------------------------------------------------------------------------------------------------------------
def test_estimates_are_sharpened_before_the_nucleus_is_taken():
    law = torch.tensor([[0.5, 0.3, 0.2]]).log()
    assert torch.allclose(sharpened(law, temperature=1.0, nucleus=0.8).exp(), torch.tensor([[0.625, 0.375, 0.0]]))
    squared = torch.tensor([[25.0, 9.0, 4.0]]) / 38
    assert torch.allclose(sharpened(law, temperature=0.5, nucleus=None).exp(), squared)
    assert torch.allclose(sharpened(law, temperature=0.5, nucleus=0.8).exp(), torch.tensor([[1.0, 0.0, 0.0]]))


@pytest.mark.parametrize("nucleus", [1, 1.0, None])
def test_a_nucleus_of_1_is_all_tokens(nucleus):
    """Where float32 adds the probabilities up to more than 1, too."""
    law = torch.randn(200, 500, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    assert (law.exp().sort(descending=True).values.cumsum(-1) > 1).any()
    assert sharpened(law, temperature=1.0, nucleus=nucleus) is law
    assert torch.equal(sharpened(law, temperature=0.5, nucleus=nucleus), (law / 0.5).log_softmax(-1))


def test_a_low_temperature_takes_the_most_probable_token():
    """In blocks of one the order is given, so that nothing else is left to chance."""
    model, asked_for = with_sources(block=1), [Request(id="0", seed=i, max_tokens=LENGTH, source="the") for i in range(9)]
    cold, warm = (
        {answer.texts for answer in model.generate(asked_for, Sampling(steps=LENGTH, temperature=heat))} for heat in (1e-4, 1.0)
    )
    assert len(cold) == 1
    assert len(warm) > 3


def test_a_narrow_nucleus_takes_the_most_probable_token():
    model = with_sources(nucleus=1e-6, sampler="first-hitting", block=1)
    texts = {
        answer.texts
        for answer in model.generate([Request(id="0", seed=i, max_tokens=6, source="the") for i in range(9)], Sampling())
    }
    assert len(texts) == 1


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ({"block": 0}, "whole number from 1 on"),
        ({"clip_low": 0.5}, "expected both null"),
        ({"clip_low": 0.5, "clip_high": 0.4}, "clip_low <= clip_high"),
        ({"clip_low": 0.5, "clip_high": 1.4}, "clip_high <= 1"),
        ({"sampler": "first"}, "one of ancestral, first-hitting"),
        ({"clip_low": "0.3", "clip_high": "0.8"}, "expected both null, or numbers"),
        ({"clip_low": 0.0, "clip_high": 5e-4}, "clip_high 0.001 at least"),
        ({"nucleus": 0}, "above 0, up to 1"),
        ({"nucleus": "0.9"}, "above 0, up to 1"),
        ({"nucleus": True}, "above 0, up to 1"),
    ],
)
def test_wrong_keys_are_refused(size, message):
    with pytest.raises(ValueError, match=message):
        BD3LM.design_for(**size)
    with pytest.raises(UnknownName):
        BD3LM.design_for(depth=3)


@pytest.mark.parametrize("schedule", [NATIVE, "one-minus-cosine", "sqrt", "cosine-squared", "geometric"])
def test_blocks_of_one_are_learnt_alike_whatever_the_slope_of_the_schedule_at_its_end(schedule):
    """All are masks, as in autoregression: a mask counts 1 over the share of masks, which is 1, or nearly so."""
    native, model = tiny(BD3LM, NATIVE, block=1), tiny(BD3LM, schedule, block=1)
    model.load_state_dict(native.state_dict())
    batch = canvas_of(native._data(EXAMPLES[:16]))
    draws = Draws(seed=1, batch=16, rows=slice(16), device=torch.device("cpu"))
    own, others = (which.diffusion.train().loss(batch, draws).mean().item() for which in (native, model))
    assert own > 0.5
    assert others == pytest.approx(own, rel=0.1)


def test_designs_tell_how_masks_are_revealed():
    assert BD3LM.design_for().unmasking == "independent"
    assert BD3LM.design_for(sampler="first-hitting").unmasking == "one by one"


def test_schedules_with_steps_are_refused():
    with pytest.raises(ValueError, match="counts no steps"):
        tiny(BD3LM, "linear-alpha-bar@50")


def test_a_parameter_target_is_met():
    model = tiny(BD3LM)
    keys = BD3LM.size_for(200_000, model.task, layers=2)
    built = construct(BD3LM, NATIVE, model.task, {"layers": 2, **keys})
    assert sum(parameter.numel() for parameter in built.parameters()) == pytest.approx(200_000, rel=0.15)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_it_samples_in_another_format(dtype, tmp_path):
    case = Case(BD3LM, BD3LM.design, "t2t", {"width": 16, "layers": 1, "heads": 2}, tmp_path, "cpu")
    case.briefly_fitted.save(tmp_path / "saved")
    model = BD3LM.load(tmp_path / "saved", "cpu").to(dtype)
    found, usual = (which.generate(case.requests(), Sampling(steps=4)) for which in (model, case.briefly_fitted))
    assert all(0 <= token < len(model.task.tokenizer) for answer in found for token in answer.ids[0])
    if dtype == torch.float64:
        assert sum(a.texts == b.texts for a, b in zip(found, usual, strict=True)) >= len(usual) - 1


# --- learning ----------------------------------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize("keys", [{"block": 2}, {"block": 1}, {"block": 6, "clip_low": 0.0, "clip_high": 1.0}])
def test_learning_lowers_the_bound_towards_the_entropy(keys):
    learns(tiny(BD3LM, width=48, **keys), updates=400, steps=60, bound=3.0, known=50)


@pytest.mark.slow
def test_it_learns_to_follow_a_source():
    """Each source names the one text that answers it."""
    pairs = [Example(id=str(i), target=SENTENCES[i % 8], source=SENTENCES[(i + 3) % 8]) for i in range(64)]
    model = with_sources(block=2)
    model.fit(pairs, [], Budget(tokens=400 * 16 * LENGTH), FitContext(seed=1))
    wanted = [Request(id=pair.id, seed=7, max_tokens=LENGTH, source=pair.source) for pair in pairs]
    found = model.generate(wanted, Sampling(steps=LENGTH))
    assert sum(answer.texts[0] == pair.target for answer, pair in zip(found, pairs, strict=True)) > 60
