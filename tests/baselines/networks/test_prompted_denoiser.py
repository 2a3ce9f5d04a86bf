"""A network that reads an estimate of the target before the source."""

import pytest
import torch

from baselines.networks.prompted_denoiser import PromptedDenoiser
from baselines.parts.conditioning import Source
from baselines.parts.estimates import Estimate
from baselines.parts.self_conditioning import Heard

ROWS, LENGTH, LONGEST, TOKENS = 4, 5, 6, 9


@pytest.fixture
def network():
    torch.manual_seed(0)
    return PromptedDenoiser(
        states=TOKENS + 1, vocabulary=TOKENS, length=LENGTH, width=16, layers=2, heads=2, timed=False
    ).double()


@pytest.fixture
def source():
    generator = torch.Generator().manual_seed(1)
    present = torch.arange(LONGEST) < torch.tensor([[6], [3], [4], [1]])
    return Source(ids=torch.randint(TOKENS, (ROWS, LONGEST), generator=generator), present=present)


@pytest.fixture
def hearing():
    x_t = torch.randint(TOKENS + 1, (ROWS, LENGTH), generator=torch.Generator().manual_seed(2))
    return x_t, torch.zeros(ROWS), torch.zeros_like(x_t, dtype=torch.bool)


def estimate(seed, rows=ROWS):
    x0_hat = torch.randn(rows, LENGTH, TOKENS, generator=torch.Generator().manual_seed(seed)).log_softmax(-1)
    return Estimate(x0_hat, x0_hat)


def test_the_encoder_reads_prompt_and_source_in_this_order(network, source, hearing):
    read = []
    network.encoder.register_forward_pre_hook(
        lambda module, args, named: read.append((args[0], named["present"])), with_kwargs=True
    )
    told = estimate(3)
    reading = network.reading(source)
    reading(*hearing, None)
    reading(*hearing, told)
    (plain, present), (both, both_present) = read
    assert torch.equal(plain, network.embedding(source.ids))
    assert torch.equal(present, source.present)
    prompt = network.embedding(told.x0_hat.argmax(-1)) + network.places.weight[:LENGTH]
    assert torch.equal(both, torch.cat([prompt, plain], 1))
    assert both_present[:, :LENGTH].all()
    assert torch.equal(both_present[:, LENGTH:], source.present)


def test_only_the_most_probable_tokens_of_an_estimate_are_heard(network, source, hearing):
    reading, told = network.reading(source), estimate(3)
    sharper = Estimate((5 * told.x0_hat).log_softmax(-1), told.raw)
    first, second, other = (reading(*hearing, previous).x0_hat for previous in (told, sharper, estimate(4)))
    assert torch.equal(first, second)
    assert not torch.allclose(first, other, atol=1e-3)
    assert not torch.allclose(first, reading(*hearing, None).x0_hat, atol=1e-3)


def test_rows_that_hear_nothing_estimate_as_without_a_prompt(network, source, hearing):
    rows = torch.tensor([0, 2])
    told, reading = estimate(3), network.reading(source)
    part = Heard(Estimate(told.x0_hat[rows], told.raw[rows]), rows, ROWS)
    found = reading(*hearing, part).x0_hat
    assert torch.allclose(found[[1, 3]], reading(*hearing, None).x0_hat[[1, 3]], atol=1e-6)
    assert torch.allclose(found[rows], reading(*hearing, told).x0_hat[rows], atol=1e-6)


def test_a_source_is_read_once_without_a_prompt(network, source, hearing):
    read, reading = [], network.reading(source)
    network.encoder.register_forward_pre_hook(lambda module, args: read.append(args[0].shape[1]))
    for previous in (None, estimate(3), None, estimate(4)):
        reading(*hearing, previous)
    assert read == [LONGEST, LENGTH + LONGEST, LENGTH + LONGEST]


@pytest.mark.parametrize("before", [False, True])
def test_some_rows_are_read_as_all_are(network, source, hearing, before):
    reading, rows = network.reading(source), torch.tensor([3, 1])
    whole = reading(*hearing, None).x0_hat if before else None
    some = reading.select(rows)(*(part[rows] for part in hearing), None).x0_hat
    whole = reading(*hearing, None).x0_hat if whole is None else whole
    assert torch.allclose(some, whole[rows], atol=1e-6)


def test_the_prompt_teaches_nothing_but_the_answer_does(network, source, hearing):
    """Gradients reach the encoder through prompt and source alike, and not the estimate that the prompt was made from."""
    told = network.reading(source)(*hearing, None)
    network.reading(source)(*hearing, told).x0_hat[..., 0].sum().backward()
    assert network.embedding.weight.grad.abs().sum() > 0
    assert network.places.weight.grad.abs().sum() > 0
