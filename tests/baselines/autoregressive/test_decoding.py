import itertools
import math

import pytest
import torch

from baselines.autoregressive.beam import beam_search
from baselines.autoregressive.decoding import Draw, Writer, cut, greedy, nucleus, write
from baselines.networks.incremental import Incremental
from baselines.networks.initialise import initialise
from baselines.networks.language_model import LanguageModel
from baselines.parts.randomness import Noise
from harness.tokenizer import BOS, EOS

VOCABULARY = 7


@pytest.fixture(scope="module")
def model():
    network = LanguageModel(VOCABULARY, 16, 2, 2)
    initialise(network, torch.Generator().manual_seed(0))
    torch.nn.init.normal_(network.embedding.weight, std=0.3, generator=torch.Generator().manual_seed(3))
    return network.eval()


def writer(model, rows, *, capacity=20, forbidden=()):
    with torch.inference_mode():
        ids = torch.full((rows, 1), BOS)
        run = Incremental(model.transformer).start(model.embedding(ids), present=ids == BOS, capacity=capacity)
        return Writer(run, model.embedding.weight.detach(), model.embedding.weight.detach().t().contiguous(), forbidden=forbidden)


@torch.inference_mode()
def probabilities_of_texts(model, length):
    """Probability of every text of at most `length` tokens, cut at EOS, by naive evaluation without a cache."""
    ids = torch.tensor(list(itertools.product(range(VOCABULARY), repeat=length)))
    logs = torch.log_softmax(model(torch.cat([torch.full_like(ids[:, :1], BOS), ids], 1)).double(), -1)
    chosen = logs[:, :-1].gather(2, ids[:, :, None])[:, :, 0].tolist()
    texts = [tuple(cut(row, length)) for row in ids.tolist()]
    return {text: math.exp(sum(row[: len(text)])) for text, row in zip(texts, chosen, strict=True)}


@torch.inference_mode()
def naive_greedy(model, limit):
    ids = [BOS]
    while len(ids) <= limit and ids[-1] != EOS:
        ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    return ids[1:]


def test_greedy_equals_the_naive_loop(model):
    assert write(writer(model, 2), greedy, limits=[9, 4]) == [naive_greedy(model, 9), naive_greedy(model, 4)]


def test_samples_follow_the_exact_law(model):
    """z-scores of 57 text frequencies at n = 20,000 below 4.5: false-alarm rate below 57 * 6.8e-6 = 4e-4 (fixed seed)."""
    exact, n = probabilities_of_texts(model, 2), 20_000
    assert sum(exact.values()) == pytest.approx(1.0, abs=1e-6)
    found = write(writer(model, n), Draw(Noise(torch.arange(n)), 2), limits=[2] * n)
    counts = {text: 0 for text in exact}
    for text in found:
        counts[tuple(text)] += 1
    z = [(counts[text] - n * p) / (n * p * (1 - p)) ** 0.5 for text, p in exact.items() if n * p >= 5]
    assert len(z) > 10
    assert max(map(abs, z)) < 4.5


def test_temperature_and_top_p_shape_the_law(model):
    """As above for the first token: at most 7 z-scores, false-alarm rate below 1e-4."""
    n = 20_000
    start = writer(model, n)
    p = nucleus(torch.softmax(start.logits[:1].double() / 0.7, -1), 0.8)[0]
    p = (p / p.sum()).tolist()
    assert 0 < p.count(0.0) < VOCABULARY - 1
    found = write(start, Draw(Noise(torch.arange(n)), 1, temperature=0.7, top_p=0.8), limits=[1] * n)
    counts = [sum(text == [token] for text in found) for token in range(VOCABULARY)]
    assert all(count == 0 for count, share in zip(counts, p, strict=True) if share == 0)
    assert all(
        abs(count - n * share) < 4.5 * (n * share * (1 - share)) ** 0.5 + 1e-9 for count, share in zip(counts, p, strict=True)
    )


def test_nucleus_is_the_smallest_set_with_enough():
    kept = nucleus(torch.tensor([[0.1, 0.5, 0.15, 0.25]], dtype=torch.float64), 0.7)
    assert kept.tolist() == [[0.0, 0.5, 0.0, 0.25]]
    assert nucleus(kept, 1e-9).tolist() == [[0.0, 0.5, 0.0, 0.0]]


def test_samples_depend_neither_on_batch_nor_on_order(model):
    seeds, limits = list(range(100, 140)), [3 + place % 9 for place in range(40)]

    def texts(places):
        noise = Noise(torch.tensor([seeds[place] for place in places]))
        lengths = [limits[place] for place in places]
        return dict(zip(places, write(writer(model, len(places)), Draw(noise, max(lengths)), limits=lengths), strict=True))

    together = texts(list(range(40)))
    assert len({tuple(text) for text in together.values()}) > 20
    assert together == texts(list(reversed(range(40))))
    assert all(texts([place])[place] == together[place] for place in range(0, 40, 6))


def test_rows_leave_the_batch_when_they_are_done(model):
    sizes = []
    start = writer(model, 8)
    advance = start.advance
    start.advance = lambda tokens: (sizes.append(len(tokens)), advance(tokens))[1]
    texts = write(start, Draw(Noise(torch.arange(8)), 19), limits=[1, 1, 1, 1, 19, 19, 19, 19])
    assert sizes[0] == 4
    assert len(sizes) == max(map(len, texts)) - 1


def test_forbidden_tokens_are_never_written(model):
    texts = write(writer(model, 50, forbidden=(EOS,)), Draw(Noise(torch.arange(50)), 15), limits=[15] * 50)
    assert all(len(text) == 15 and EOS not in text for text in texts)


def test_one_beam_is_greedy(model):
    searches = beam_search(writer(model, 2), beams=1, limits=[9, 3])
    assert [search.best()[0] for search in searches] == [naive_greedy(model, 9), naive_greedy(model, 3)]


def test_enough_beams_find_the_best_text(model):
    """With V**2 beams nothing is cut off at length 3, so the search must find the text with the best mean log-probability."""
    exact = probabilities_of_texts(model, 3)
    mean = {text: math.log(probability) / len(text) for text, probability in exact.items()}
    (search,) = beam_search(writer(model, 1), beams=VOCABULARY**2, limits=[3])
    assert tuple(search.best()[0]) == max(mean, key=mean.__getitem__)
    assert all(score == pytest.approx(mean[tuple(ids)], abs=1e-5) for score, ids in search.ended)


def test_a_search_does_not_depend_on_its_neighbours(model):
    together = beam_search(writer(model, 3), beams=3, limits=[2, 8, 5])
    for search, limit in zip(together, [2, 8, 5], strict=True):
        (alone,) = beam_search(writer(model, 1), beams=3, limits=[limit])
        assert alone.best() == search.best()
        assert alone.steps == search.steps


@pytest.mark.parametrize(
    ("keys", "message"), [({"temperature": 0.0}, "method: greedy"), ({"top_p": 0.0}, "top_p"), ({"top_p": 1.5}, "top_p")]
)
def test_settings_out_of_range_are_refused(keys, message):
    with pytest.raises(ValueError, match=message):
        Draw(Noise(torch.arange(2)), 3, **keys)
