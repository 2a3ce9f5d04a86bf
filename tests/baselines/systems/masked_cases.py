"""What tests of masked systems share: sentences behind a source, bounds with their ends, which steps reveal a mask."""

from dataclasses import replace
from itertools import pairwise, product

import torch
from scipy.stats import chi2
from toy_sentences import EXAMPLES, LENGTH, SENTENCES, view

from baselines.enumeration import exact_integral
from baselines.networks.initialise import initialise
from baselines.parts.conditioning import Canvas
from baselines.parts.randomness import Noise
from harness.construction import construct, design_of
from harness.contracts import Example, Label, Request, stream_seed

FAMILIES = {"t2t": lambda text: {"source": text}, "a2t": lambda text: {"control": Label(text)}}


def answers(family="t2t"):
    """The sentences, each behind its adjective and noun."""
    return [replace(example, **FAMILIES[family](_source(example.target))) for example in EXAMPLES]


def _source(sentence):
    return " ".join(sentence.split()[1:3])


def behind_a_source(model_class, schedule=None, family="t2t", **size):
    """An untrained model of sentences with a source."""
    keys = {"width": 32, "layers": 1, "heads": 2, **size}
    task = replace(view(), family=family, max_source_tokens=3)
    return construct(model_class, schedule or design_of(model_class, keys).schedule, task, keys)


def asked(n, family="t2t", source=None):
    """Requests behind the sources of the sentences, or behind one."""
    texts = [source or _source(SENTENCES[i % len(SENTENCES)]) for i in range(n)]
    return [Request(id=str(i), seed=i, max_tokens=LENGTH, **FAMILIES[family](text)) for i, text in enumerate(texts)]


def sharpened(model, factor=5.0):
    """The model with weights from seed 2 and larger logits: an untrained network's law is almost even."""
    initialise(model.diffusion, torch.Generator().manual_seed(2))
    with torch.no_grad():
        model.diffusion.denoiser.head.weight.mul_(factor)
    return model


# --- bounds ----------------------------------------------------------------------------------------------------------
@torch.no_grad()
def errors(model, ids, t):
    """What -log p(x_0 | x_t) adds up to at the masks of every set of masks: by set, told time t."""
    length = len(ids)
    masked = torch.tensor(list(product([False, True], repeat=length)))
    x_t = torch.where(masked, model.kernel.mask, ids)
    told = model.diffusion.time_input(torch.full((len(x_t), 1), t, dtype=torch.float64))
    law = model.diffusion.denoiser(x_t, told, torch.zeros_like(masked), None).x0_hat.double()
    error = -law.gather(-1, ids.expand(len(x_t), length)[..., None])[..., 0]
    return {tuple(row.tolist()): float(value) for row, value in zip(masked, (error * masked).sum(-1), strict=True)}


def charged(model, ids, alpha, t):
    """Expected error at the masks where every position is masked with probability 1 - alpha."""
    return sum(
        (1 - alpha) ** sum(masked) * alpha ** (len(ids) - sum(masked)) * error for masked, error in errors(model, ids, t).items()
    )


def level(model, t):
    return model.diffusion.schedule.alpha_bar(torch.tensor([[t]], dtype=torch.float64)).item()


def opening(model, ids):
    """The step from nothing but masks to t = 1."""
    return level(model, 1.0) * errors(model, ids, 1.0)[(True,) * len(ids)]


def inside(model, ids):
    """The integral from the first time to 1."""
    return exact_integral(model.diffusion, model.bound_term, ids).item()


def agree(scores, exact):
    """Whether scores by draws of equally many of each text have the mean of the exact bounds, and know it to 5 %.

    4.5 standard errors: a false alarm in 150,000.
    """
    mean = sum(scores.nats) / len(scores.nats)
    error = sum(value**2 for value in scores.mc_errors) ** 0.5 / len(scores.nats)
    wanted = sum(exact) / len(exact)
    return error < 0.05 * wanted and abs(mean - wanted) < 4.5 * error


WORDS = [Example(id=word, target=word) for word in ("old", "dog", "the", "cat")]


# --- samplers --------------------------------------------------------------------------------------------------------
def to_write(model, rows):
    """Empty canvases."""
    empty = torch.zeros(rows, model.layout.length, dtype=torch.int64)
    return Canvas(ids=empty, given=torch.zeros_like(empty, dtype=torch.bool))


def plausible(drawn, law, states):
    """Whether sequences may have been drawn from a law over all of them, by a chi-square test at 1e-5.

    Sequences that are expected fewer than ten times count as one.
    """
    index = torch.zeros(len(drawn), dtype=torch.int64)
    for column in drawn.T:
        index = index * states + column
    counts, expected = torch.bincount(index, minlength=len(law)).double(), law * len(drawn)
    often = expected >= 10
    counts = torch.cat([counts[often], counts[~often].sum()[None]])
    expected = torch.cat([expected[often], expected[~often].sum()[None]])
    statistic = ((counts - expected).square() / expected.clamp_min(1e-12)).sum().item()
    return chi2.sf(statistic, len(expected) - 1) > 1e-5


def steps_that_reveal(model, requests, steps, given=None):
    """How many steps of each request's sampling reveal a mask: their draws against the schedule, without the network."""
    seeds = torch.tensor([stream_seed(request.seed, 0) for request in requests])
    masked = torch.ones(len(requests), model.layout.length, dtype=torch.bool) if given is None else ~given
    found = torch.zeros(len(requests), dtype=torch.int64)
    for number, (t, s) in enumerate(pairwise(model.diffusion.clock.grid(steps).tolist()), start=1):
        draws = Noise(seeds).uniform(number, model.layout.length, 2)[..., 0]
        after = 1.0 if s == 0 else level(model, s)
        before = min(level(model, t), 1 - 1e-15)
        chosen = masked & (draws < (after - before) / (1 - before))
        found += chosen.any(-1)
        masked &= ~chosen
    assert not masked.any()
    return found.tolist()
