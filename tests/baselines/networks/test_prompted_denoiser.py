"""A network that reads an estimate of the target before the source."""

import pytest
import torch

from baselines.networks.checkpoints import build
from baselines.networks.prompted_denoiser import PromptedDenoiser, PromptedPretrained
from baselines.parts.calls import among, counted
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
def checkpoint(tmp_path):
    """A small random BART, as `transformers` describes it."""
    transformers = pytest.importorskip("transformers")
    transformers.BartConfig(
        vocab_size=TOKENS + 1, max_position_embeddings=LENGTH + LONGEST, d_model=16, encoder_layers=2, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24, init_std=0.5,
    ).save_pretrained(tmp_path)  # fmt: skip
    (tmp_path / "model.safetensors").touch()
    torch.manual_seed(0)
    return PromptedPretrained(build(str(tmp_path), None, TOKENS))


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


@pytest.mark.parametrize("kind", ["network", "checkpoint"])
def test_a_row_that_hears_nothing_is_read_in_training_as_sampling_first_reads_it(kind, source, hearing, request):
    """Beside rows that hear a prompt, and alone: the same memory, wherever places are counted from."""
    model, rows, told = request.getfixturevalue(kind), torch.tensor([0, 2]), estimate(3)
    part = Heard(Estimate(told.x0_hat[rows], told.raw[rows]), rows, ROWS)
    found = model.train().reading(source)(*hearing, part).x0_hat
    first = model.eval().reading(source)
    assert torch.allclose(found[[1, 3]], first(*hearing, None).x0_hat[[1, 3]], atol=1e-5)
    assert torch.allclose(found[rows], first(*hearing, told).x0_hat[rows], atol=1e-5)
    assert not torch.allclose(found[rows], first(*hearing, None).x0_hat[rows], atol=1e-3)


@pytest.mark.parametrize("kind", ["network", "checkpoint"])
def test_a_source_is_read_once_without_a_prompt_whatever_rows_are_asked_for(kind, source, hearing, request):
    """And every row is counted for what is read of it: its source once, and behind each prompt that it hears."""
    model, read = request.getfixturevalue(kind).eval(), []
    model.source_encoder.register_forward_pre_hook(
        lambda module, args, named: read.append((args or (named["inputs_embeds"],))[0].shape[:2]), with_kwargs=True
    )
    with torch.no_grad(), counted(model, ROWS) as calls:
        reading = model.reading(source)
        for rows in ([3, 1], [0, 3], [2]):
            chosen = torch.tensor(rows)
            some = [part[chosen] for part in hearing]
            with among(calls, chosen):
                reading.select(chosen)(*some, reading.select(chosen)(*some, None))
        reading(*hearing, None)
    assert [tuple(shape) for shape in read] == [(ROWS, LONGEST), *((rows, LENGTH + LONGEST) for rows in (2, 2, 1))]
    asked = [1, 1, 1, 2]
    assert calls.count == [2 * times + 1 for times in asked]
    assert calls.positions == [LONGEST + times * (2 * LENGTH + LENGTH + LONGEST) + LENGTH for times in asked]
    assert sum(calls.positions) == sum(shape.numel() for shape in read) + LENGTH * sum(calls.count)


@pytest.mark.parametrize("kind", ["network", "checkpoint"])
def test_training_keeps_no_memory(kind, source, hearing, request):
    """What its first pass reads for some rows has no gradient, what is held to the target has."""
    model, read = request.getfixturevalue(kind).train(), []
    model.source_encoder.register_forward_pre_hook(
        lambda module, args, named: read.append((args or (named["inputs_embeds"],))[0].shape[0]), with_kwargs=True
    )
    reading, rows = model.reading(source), torch.tensor([0, 2])
    with torch.no_grad():
        reading.select(rows)(*(part[rows] for part in hearing), None)
        reading(*hearing, None)
    found = reading(*hearing, None)
    found.x0_hat[..., 0].sum().backward()
    assert read == [2, ROWS, ROWS]
    assert all(parameter.grad is not None for parameter in model.source_encoder.parameters() if parameter.dim() > 1)


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
