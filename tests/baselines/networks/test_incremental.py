import pytest
import torch

from baselines.networks.encoder_decoder import EncoderDecoder, IncrementalDecoder
from baselines.networks.incremental import Incremental
from baselines.networks.initialise import initialise
from baselines.networks.language_model import LanguageModel

PREFIXES = (1, 5, 3, 5)
LENGTH = 12


def ready(network):
    initialise(network, torch.Generator().manual_seed(0))
    torch.nn.init.normal_(network.embedding.weight, std=0.5, generator=torch.Generator().manual_seed(1))
    return network.eval()


@pytest.fixture
def model():
    return ready(LanguageModel(23, 32, 3, 4))


@pytest.fixture
def ids():
    return torch.randint(5, 23, (len(PREFIXES), LENGTH), generator=torch.Generator().manual_seed(2))


def started(model, ids):
    """A run after ragged prefixes, padded on the left."""
    longest = max(PREFIXES)
    rows = torch.stack(
        [torch.cat([row[:0].new_zeros(longest - size), row[:size]]) for row, size in zip(ids, PREFIXES, strict=True)]
    )
    return Incremental(model.transformer).start(model.embedding(rows), present=rows != 0, capacity=longest + LENGTH)


@torch.inference_mode()
def test_cached_logits_equal_uncached_ones_with_ragged_prefixes(model, ids):
    run = started(model, ids)
    whole = model(ids)
    places = torch.tensor(PREFIXES) - 1
    rows = torch.arange(len(PREFIXES))
    assert torch.allclose(model.head(run.last), whole[rows, places], atol=1e-5, rtol=0)
    for _ in range(LENGTH - max(PREFIXES)):
        places = places + 1
        found = model.head(run.step(model.embedding(ids[rows, places])))
        assert torch.allclose(found, whole[rows, places], atol=1e-5, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize("chosen", [[2, 0], [3, 3, 1, 0], [1]])
def test_selected_rows_go_on_as_before(model, ids, chosen):
    run, kept = started(model, ids), torch.tensor(chosen)
    places = torch.tensor(PREFIXES)
    run.step(model.embedding(ids[torch.arange(4), places]))
    run.select(kept)
    whole, places = model(ids[kept]), places[kept] + 1
    found = model.head(run.step(model.embedding(ids[kept, places])))
    assert torch.allclose(found, whole[torch.arange(len(kept)), places], atol=1e-5, rtol=0)


@torch.inference_mode()
def test_cached_decoder_equals_uncached_one_with_ragged_sources_and_selection():
    model = ready(EncoderDecoder(23, 32, 2, 4))
    generator = torch.Generator().manual_seed(3)
    source, ids = torch.randint(5, 23, (3, 6), generator=generator), torch.randint(5, 23, (3, 8), generator=generator)
    present = torch.arange(6) < torch.tensor([[6], [2], [4]])
    whole = model(source, present, ids)
    memory = model.encode(source, present)
    run = IncrementalDecoder(model.decoder).read(model.embedding(ids[:, :2]), memory, present=present, capacity=8)
    assert torch.allclose(model.head(run.last), whole[:, 1], atol=1e-5, rtol=0)
    for place in range(2, 5):
        assert torch.allclose(model.head(run.step(model.embedding(ids[:, place]))), whole[:, place], atol=1e-5, rtol=0)
    kept = torch.tensor([2, 1])
    run.select(kept)
    for place in range(5, 8):
        assert torch.allclose(model.head(run.step(model.embedding(ids[kept, place]))), whole[kept, place], atol=1e-5, rtol=0)


@torch.inference_mode()
def test_padding_of_a_source_changes_nothing():
    model = ready(EncoderDecoder(23, 32, 2, 4))
    source, ids = torch.randint(5, 23, (2, 5)), torch.randint(5, 23, (2, 4))
    alone = model(source, torch.ones_like(source, dtype=torch.bool), ids)
    padded = torch.cat([source, torch.zeros_like(source)], 1)
    assert torch.allclose(model(padded, padded != 0, ids), alone, atol=1e-5)
