import numpy as np
import pytest
import torch

from baselines.judge import Judge
from harness.contracts import Example, TaskView
from harness.tokenizer import BOS, EOS, Tokenizer

TOKENIZER = Tokenizer.train("words", ["a b c d e"])
VIEW = TaskView(name="letters", family="t2t", tokenizer=TOKENIZER, max_tokens=4, max_source_tokens=4)


@pytest.fixture(scope="module")
def judge():
    model = Judge(None, VIEW, width=16, layers=2, heads=2)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(0))
    return model


def test_texts_are_scored_whole_and_exactly(judge):
    text = "a b c d e a b"
    ids = TOKENIZER.encode(text)
    with torch.inference_mode():
        logs = torch.log_softmax(judge.network(torch.tensor([[BOS, *ids]]))[0].double(), -1)
    expected = -sum(logs[place, token].item() for place, token in enumerate([*ids, EOS]))
    found = judge.likelihood_of_texts([text, ""])
    assert found.nats == pytest.approx((expected, -logs[0, EOS].item()), rel=1e-5)
    assert found.tokens == (8, 1)
    assert found.bytes == (13, 0)


def test_the_first_token_and_the_end_may_stay_unscored(judge):
    text = "a b c d e a b"
    ids = TOKENIZER.encode(text)
    with torch.inference_mode():
        logs = torch.log_softmax(judge.network(torch.tensor([[BOS, *ids]]))[0].double(), -1)
    expected = -sum(logs[place, token].item() for place, token in enumerate(ids) if place)
    found = judge.likelihood_after_first(["a", text, "", "b a"])
    assert found.nats[1] == pytest.approx(expected, rel=1e-5)
    assert (found.nats[0], found.nats[2]) == (0, 0)
    assert found.tokens == (0, 6, 0, 1)
    assert found.nats[3] == pytest.approx(judge.likelihood_after_first(["b a"]).nats[0], rel=1e-5)


def test_a_condition_is_never_read(judge):
    with_source, without = Example(id="0", target="a b", source="c d"), Example(id="0", target="a b")
    assert judge.likelihood([with_source]) == judge.likelihood([without])


def test_features_are_mean_states_whatever_the_neighbours(judge):
    texts = ["a b", "c", "", "d e a b c a"]
    found = judge.features(texts)
    assert found.shape == (4, 16)
    assert found.dtype == np.float32
    with torch.inference_mode():
        hidden = judge.network.hidden(torch.tensor([[BOS, *TOKENIZER.encode("a b"), EOS]]))[0, 1:].mean(0)
    assert np.allclose(found[0], hidden.numpy(), atol=1e-5)
    assert all(np.allclose(judge.features([text])[0], row, atol=1e-5) for text, row in zip(texts, found, strict=True))


def test_the_signature_tells_weights_apart(judge, tmp_path):
    judge.save(tmp_path)
    loaded = Judge.load(tmp_path, "cpu")
    assert loaded.signature == judge.signature
    assert loaded.signature.startswith("judge v1 ")
    with torch.no_grad():
        loaded.network.embedding.weight[0, 0] += 1
    assert loaded.signature != judge.signature
