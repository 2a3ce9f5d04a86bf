"""Unmasking in an order: counts, blocks, ranks, and the exact law of the sampler against draws."""

from itertools import combinations, pairwise, product

import pytest
import torch

from baselines.engine import Diffusion
from baselines.parts import estimates, remasking
from baselines.parts.categorical import Absorbing, Uniform
from baselines.parts.clocks import Continuum, uniform_grid
from baselines.parts.conditioning import Canvas
from baselines.parts.estimates import Estimate
from baselines.parts.objectives_discrete import bound_term
from baselines.parts.randomness import Noise
from baselines.parts.remasking import Ordered, as_scheduled, evenly, margin, negative_entropy, parts_of, probability
from baselines.parts.spaces import DiscreteSpace
from baselines.parts.timesteps import ContinuousTimes
from harness.schedules.names import build

TOKENS, LENGTH = 3, 4
CONFIDENCES = {"probability": probability, "negative entropy": negative_entropy, "margin": margin, "random": None}


class Table(torch.nn.Module):
    """logits[i] = P[i] + the mean over j of W[j, x_j]; counts how often it is asked."""

    def __init__(self, seed=3):
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.P = torch.randn(LENGTH, TOKENS, generator=draw, dtype=torch.float64)
        self.W = 3 * torch.randn(LENGTH, TOKENS + 1, TOKENS, generator=draw, dtype=torch.float64)

    def forward(self, x_t, time, given, previous):
        logits = self.P + self.W[torch.arange(LENGTH), x_t].mean(1, keepdim=True)
        return Estimate(logits.log_softmax(-1), logits)


def model_of(steps_of=lambda steps: uniform_grid(steps, last=1e-3)[[*range(steps), -1]]):
    schedule, kernel = build("linear-alpha-bar"), Absorbing(TOKENS)
    clock = Continuum(1e-3, steps_of)
    return Diffusion(
        space=DiscreteSpace(TOKENS), kernel=kernel, schedule=schedule, denoiser=Table(), objective=bound_term(kernel),
        times=ContinuousTimes(1e-3), reverse=Ordered(quota=evenly(1), confidence=None), clock=clock,
        time_input=clock.network_time,
    )  # fmt: skip


def canvas(rows, given=()):
    """Canvases of token 1, given at some places."""
    marks = torch.zeros(rows, LENGTH, dtype=torch.bool)
    marks[:, list(given)] = True
    return Canvas(ids=torch.ones(rows, LENGTH, dtype=torch.int64), given=marks)


def walk(reverse, steps, prompt):
    """The states that the sampler passes, one a step."""
    model = model_of()
    noise = Noise(torch.arange(len(prompt.ids)))
    x = model.pin(model.kernel.prior(model.kernel.noise(noise, 0, LENGTH)), prompt)
    states = [x]
    for number, (t, s) in enumerate(pairwise(model.clock.grid(steps).tolist()), start=1):
        draws = model.kernel.noise(noise, number, LENGTH)
        x, _ = model.advance(x, prompt, t, s, draws, model.denoiser, None, reverse)
        states.append(x)
    return torch.stack(states)


# --- how many --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 12])
@pytest.mark.parametrize("positions", [1, 4, 7, 12, 30])
def test_even_counts_are_known_from_the_masks_that_are_left(positions, steps):
    each, more = divmod(positions, steps)
    left = positions
    for number in range(steps):
        count = evenly(steps)(torch.tensor([positions]), torch.tensor([left]), torch.tensor([0.5]).double()).item()
        assert count == each + (number < more)
        left -= count
    assert left == 0


def test_scheduled_counts_are_rounded_down():
    counts = as_scheduled(torch.tensor([9, 9, 9]), torch.tensor([8, 7, 0]), torch.tensor([0.2498, 1.0, 0.5]).double())
    assert counts.tolist() == [1, 7, 0]


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("confidence", CONFIDENCES)
def test_even_steps_write_the_remainder_first_and_nothing_once_all_is_written(confidence, steps):
    states = walk(Ordered(quota=evenly(steps), confidence=CONFIDENCES[confidence]), steps, canvas(40))
    each, more = divmod(LENGTH, steps)
    counts = (states[1:] != states[:-1]).sum(-1)
    assert counts.mT.tolist() == [[each + (number < more) for number in range(steps)]] * 40
    assert (states[-1] < TOKENS).all()


def test_the_schedule_leaves_what_is_left_to_the_final_step():
    states = walk(Ordered(quota=as_scheduled, confidence=probability), 5, canvas(3))
    assert (states[1:] != states[:-1]).sum(-1).mT.tolist() == [[0, 0, 1, 1, 2]] * 3


@pytest.mark.parametrize("confidence", CONFIDENCES)
def test_what_is_given_does_not_hurry_the_schedule(confidence):
    states = walk(Ordered(quota=as_scheduled, confidence=CONFIDENCES[confidence]), 5, canvas(3, given=[1]))
    assert (states[1:] != states[:-1]).sum(-1).mT.tolist() == [[0, 0, 0, 1, 2]] * 3


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("confidence", CONFIDENCES)
def test_the_final_step_writes_what_is_masked_though_the_schedule_keeps_all_by_then(confidence, blocks):
    x_t, law = torch.tensor([[3, 1, 3, 3], [0, 1, 2, 0]]), torch.randn(2, LENGTH, TOKENS).double().log_softmax(-1)
    whole, noise = torch.ones(2, 1, dtype=torch.float64), Noise(torch.arange(2)).uniform(1, LENGTH, 2)
    step = Ordered(quota=evenly(3), confidence=CONFIDENCES[confidence], blocks=blocks)
    x_s = step(Absorbing(TOKENS), x_t, Estimate(law, law), whole, whole, noise=noise, final=True)
    assert (x_s < TOKENS).all()
    assert torch.equal(x_s[x_t < TOKENS], x_t[x_t < TOKENS])


def test_what_is_written_stays():
    states = walk(Ordered(quota=evenly(5), confidence=probability, blocks=1), 5, canvas(50))
    kept = states[:-1] < TOKENS
    assert torch.equal(states[1:][kept], states[:-1][kept])


# --- where -----------------------------------------------------------------------------------------------------------
def test_parts_follow_the_rank_among_free_positions():
    free = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [0, 1, 0, 1, 1], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]]).bool()
    parts = parts_of(free, 2)
    chosen = [row[marks].tolist() for row, marks in zip(parts, free, strict=True)]
    assert chosen == [[0, 0, 0, 1, 1], [0, 0, 1], [0, 0, 1], [0], []]
    assert parts_of(free[:1], 5).tolist() == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("confidence", CONFIDENCES)
def test_blocks_are_written_from_left_to_right(confidence):
    states = walk(Ordered(quota=evenly(2), confidence=CONFIDENCES[confidence], blocks=2), 4, canvas(200, given=[1]))
    masks = states == TOKENS
    left = masks[:, :, [0, 2]].sum(-1), masks[:, :, 3]
    assert left[0].mT.tolist() == [[2, 1, 0, 0, 0]] * 200
    assert left[1].mT.tolist() == [[1, 1, 1, 0, 0]] * 200
    assert (states[:, :, 1] == 1).all()
    assert len(torch.unique(states[1, :, 0] == TOKENS)) == (1 if confidence in ("margin", "negative entropy") else 2)


# --- which first -----------------------------------------------------------------------------------------------------
LAW = torch.tensor([[0.5, 0.4, 0.1], [0.48, 0.26, 0.26], [0.9, 0.1, 0.0]], dtype=torch.float64).log()


def test_confidences():
    tokens = torch.tensor([1, 0, 1])
    assert torch.allclose(probability(LAW, tokens).exp(), torch.tensor([0.4, 0.48, 0.1]).double())
    assert torch.allclose(margin(LAW, tokens), torch.tensor([0.1, 0.22, 0.8]).double())
    entropies = [-sum(p * torch.tensor(p).log().item() for p in row if p) for row in LAW.exp().tolist()]
    assert torch.allclose(-negative_entropy(LAW, tokens), torch.tensor(entropies).double(), rtol=1e-6)


def step(reverse, places, *, free=None):
    """One step from nothing but masks, with LAW everywhere and the given draws of tokens."""
    noise = torch.full((1, 3, 2), 0.5, dtype=torch.float64)
    noise[0, :, 1] = torch.tensor(places)
    alpha = torch.zeros(1, 3, dtype=torch.float64) if free is None else 1 - torch.tensor([free]).double()
    x_t = torch.full((1, 3), 3)
    return reverse(Absorbing(3), x_t, Estimate(LAW[None], LAW[None]), alpha, alpha + 0.1, noise=noise, final=False)[0].tolist()


def test_the_confidence_is_that_of_the_drawn_token_without_its_noise():
    """The surest law comes last when its draw is an unlikely token, and first when that is the likely one."""
    reverse = Ordered(quota=evenly(3), confidence=probability)
    assert step(reverse, [0.1, 0.1, 0.95]) == [0, 3, 3]
    assert step(reverse, [0.6, 0.1, 0.95]) == [3, 0, 3]
    assert step(reverse, [0.6, 0.1, 0.5]) == [3, 3, 0]


def test_entropy_and_margin_do_not_look_at_what_was_drawn():
    """The first law is ahead of the second in entropy, behind it in margin; the third is ahead of both."""
    assert step(Ordered(quota=evenly(3), confidence=margin), [0.95, 0.95, 0.95]) == [3, 3, 1]
    both = Ordered(quota=evenly(2), confidence=margin), Ordered(quota=evenly(2), confidence=negative_entropy)
    assert [step(reverse, [0.95, 0.95, 0.95]) for reverse in both] == [[3, 2, 1], [2, 3, 1]]


def test_modes_are_taken_whatever_the_draws():
    reverse = Ordered(quota=evenly(2), confidence=probability, mode=True)
    assert step(reverse, [0.95, 0.95, 0.95]) == [0, 3, 0] == step(reverse, [0.1, 0.5, 0.3])


def test_pieces_change_nothing(monkeypatch):
    reverse = Ordered(quota=evenly(3), confidence=probability)
    whole = walk(reverse, 3, canvas(100))
    for module in (estimates, remasking):
        monkeypatch.setattr(module, "PIECE", 7)
    assert torch.equal(walk(reverse, 3, canvas(100)), whole)


def test_only_noise_with_a_mask_can_be_unmasked():
    law = torch.zeros(1, 3, dtype=torch.float64)
    with pytest.raises(TypeError, match="Uniform has no mask"):
        Ordered(quota=evenly(1), confidence=None)(
            Uniform(3), law.long(), Estimate(LAW[None], LAW[None]), law, law, noise=torch.zeros(1, 3, 2).double(), final=True
        )


class Seen(Estimate):
    """Keeps where it was looked at."""

    def __init__(self, law):
        super().__init__(law, law)
        self.looks = []

    def at(self, chosen):
        self.looks.append(chosen.clone())
        return super().at(chosen)


@pytest.mark.parametrize(("confidence", "looked"), [(probability, [2, 0]), (None, [1, 0])])
def test_the_estimate_is_read_at_masks_of_the_block_in_rows_where_a_token_is_due(confidence, looked):
    x_t = torch.tensor([[3, 3, 3, 3], [1, 2, 0, 0]])
    seen = Seen(torch.randn(2, LENGTH, TOKENS, dtype=torch.float64).log_softmax(-1))
    alpha = torch.full((2, LENGTH), 0.4, dtype=torch.float64)
    reverse = Ordered(quota=evenly(2), confidence=confidence, blocks=2)
    noise = Noise(torch.arange(2)).uniform(1, LENGTH, 2)
    reverse(Absorbing(TOKENS), x_t, seen, alpha, alpha + 0.1, noise=noise, final=False)
    (chosen,) = seen.looks
    assert chosen.sum(-1).tolist() == looked
    assert not chosen[:, 2:].any()


# --- the law ---------------------------------------------------------------------------------------------------------
def written_out(confidence, steps, blocks, given):
    """The sampler's law, from step numbers instead of masks: every draw of every step, with its probability."""
    network, free = Table(), [place for place in range(LENGTH) if place not in given]
    start = tuple(1 if place in given else TOKENS for place in range(LENGTH))
    law, in_block = {start: 1.0}, steps // blocks
    for number in range(steps):
        block, within = divmod(number, in_block)
        places = [place for rank, place in enumerate(free) if rank * blocks // len(free) == block]
        each, more = divmod(len(places), in_block)
        law = moved(law, network, confidence, places, each + (within < more))
    return law


def moved(law, network, confidence, places, count):
    after = {}
    for state, chance in law.items():
        masks = [place for place in places if state[place] == TOKENS]
        log = network(torch.tensor([state]), None, None, None).x0_hat[0]
        for tokens in product(range(TOKENS), repeat=len(masks)):
            drawn = chance * torch.tensor([log[p, v] for p, v in zip(masks, tokens, strict=True)]).sum().exp().item()
            for kept, share in orders(confidence, log, masks, tokens, count):
                new = list(state)
                for place, token in kept:
                    new[place] = token
                after[tuple(new)] = after.get(tuple(new), 0.0) + drawn * share
    return after


def orders(confidence, log, masks, tokens, count):
    """What is written of these tokens, with the chance of it."""
    pairs = list(zip(masks, tokens, strict=True))
    if confidence == "random":
        every = list(combinations(pairs, min(count, len(pairs))))
        return [(kept, 1 / len(every)) for kept in every]
    law = log.exp()
    rank = {
        "probability": lambda pair: law[pair],
        "negative entropy": lambda pair: (law[pair[0]] * log[pair[0]]).sum(),
        "margin": lambda pair: law[pair[0]].sort().values[-1] - law[pair[0]].sort().values[-2],
    }[confidence]
    return [(sorted(pairs, key=rank, reverse=True)[:count], 1.0)]


@pytest.mark.parametrize(
    ("steps", "blocks", "given"), [(1, 1, ()), (3, 1, ()), (4, 1, ()), (4, 2, ()), (4, 2, (1,)), (8, 2, ()), (2, 1, (0, 2))]
)
@pytest.mark.parametrize("confidence", CONFIDENCES)
def test_draws_follow_the_exact_law(confidence, steps, blocks, given):
    """4.5 standard errors at 28 times at most 81 texts: a false alarm in about 65 choices of seeds."""
    exact, rows = written_out(confidence, steps, blocks, given), 20_000
    assert sum(exact.values()) == pytest.approx(1)
    reverse = Ordered(quota=evenly(steps // blocks), confidence=CONFIDENCES[confidence], blocks=blocks)
    model = model_of()
    found = model.sample(canvas(rows, given), Noise(torch.arange(rows)), model.clock.grid(steps), reverse=reverse)
    texts, counts = found.unique(dim=0, return_counts=True)
    seen = dict(zip(map(tuple, texts.tolist()), counts.tolist(), strict=True))
    assert set(seen) <= set(exact)
    for text, share in exact.items():
        spread = (share * (1 - share) / rows) ** 0.5
        assert abs(seen.get(text, 0) / rows - share) < 4.5 * spread + 1 / rows, text


def test_the_order_matters_to_the_law():
    laws = [written_out(confidence, 4, 1, ()) for confidence in CONFIDENCES]
    for one, other in combinations(laws, 2):
        assert sum(abs(one[text] - other[text]) for text in one) > 0.01
