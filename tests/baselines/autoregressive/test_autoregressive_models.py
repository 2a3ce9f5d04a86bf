import random
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from baselines.autoregressive.gpt import GPT
from baselines.autoregressive.seq2seq import Seq2Seq
from baselines.judge import Judge
from baselines.networks.encoder_decoder import EncoderDecoder
from baselines.networks.incremental import Run
from harness.contracts import Budget, Example, FitContext, Request, Sampling, TaskView, TextModel
from harness.tokenizer import BOS, EOS, SEP, Tokenizer

SIZE = {"width": 32, "layers": 2, "heads": 2}


def reversals(count):
    """Short texts and their words in reverse order."""
    rng = random.Random(0)
    sources = [" ".join(rng.choices("abcdef", k=rng.randint(1, 5))) for _ in range(count)]
    return [Example(id=str(place), source=text, target=" ".join(reversed(text.split()))) for place, text in enumerate(sources)]


EXAMPLES = reversals(300)
TOKENIZER = Tokenizer.train("words", [example.target for example in EXAMPLES])
T2T = TaskView(name="reversals", family="t2t", tokenizer=TOKENIZER, max_tokens=6, max_source_tokens=6)
UCG = TaskView(name="reversals", family="ucg", tokenizer=TOKENIZER, max_tokens=6)


def untrained(cls, view=T2T):
    """A model with random weights that are large enough to make it opinionated."""
    model = cls(None, view, **SIZE)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return model


def requests(examples, **keys):
    return [
        Request(id=example.id, seed=1000 + place, max_tokens=6, source=example.source, **keys)
        for place, example in enumerate(examples)
    ]


def naive_nats(model, example):
    """Sum of log-softmax over the target, one text at a time, straight from the network."""
    target = [*TOKENIZER.encode(example.target), EOS]
    source = TOKENIZER.encode(example.source)
    with torch.inference_mode():
        if isinstance(model, Seq2Seq):
            read = torch.tensor([[*source, EOS]])
            logits = model.network(read, torch.ones_like(read, dtype=torch.bool), torch.tensor([[BOS, *target]]))[0]
        else:
            prefix = [BOS] if isinstance(model, Judge) else [*source, SEP]
            logits = model.network(torch.tensor([[*prefix, *target]]))[0, len(prefix) - 1 :]
    logs = torch.log_softmax(logits.double(), -1)
    return -sum(logs[place, token].item() for place, token in enumerate(target))


@pytest.mark.parametrize("cls", [GPT, Seq2Seq, Judge])
def test_likelihood_is_the_sum_of_log_probabilities(cls):
    model = untrained(cls)
    found = model.likelihood(EXAMPLES[:20])
    assert found.nats == pytest.approx([naive_nats(model, example) for example in EXAMPLES[:20]], rel=1e-5)
    assert found.tokens == tuple(len(example.target.split()) + 1 for example in EXAMPLES[:20])
    assert found.bytes == tuple(len(example.target) for example in EXAMPLES[:20])
    assert (found.kind, found.estimator) == ("exact", "ar-exact")


def test_likelihood_without_condition_starts_at_bos():
    model = untrained(GPT, UCG)
    with torch.inference_mode():
        logs = torch.log_softmax(model.network(torch.tensor([[BOS, 5, EOS]]))[0], -1)
    expected = -(logs[0, 5] + logs[1, EOS]).item()
    assert model.likelihood([Example(id="0", target=TOKENIZER.token(5))]).nats[0] == pytest.approx(expected, rel=1e-5)


def test_a_target_beyond_the_canvas_is_cut_and_its_bytes_with_it():
    found = untrained(GPT, UCG).likelihood([Example(id="0", target="a b c d e f a b")])
    assert found.tokens == (6,)
    assert found.bytes == (len("a b c d e f"),)


@pytest.mark.parametrize("cls", [GPT, Seq2Seq])
@pytest.mark.parametrize("settings", [
    Sampling(), Sampling(temperature=0.8, top_p=0.9), Sampling(method="greedy"), Sampling(method="beam", beams=3),
    Sampling(fixed_length=True),
])  # fmt: skip
def test_answers_keep_the_contract_whatever_the_batch(cls, settings):
    model = untrained(cls)
    asked = requests(EXAMPLES[:9], n=2)
    answers = model.generate(asked, settings)
    assert [answer.id for answer in answers] == [request.id for request in asked]
    for answer in answers:
        assert len(answer.texts) == len(answer.ids) == len(answer.finish_reasons) == 2
        for text, ids, reason in zip(answer.texts, answer.ids, answer.finish_reasons, strict=True):
            assert text == TOKENIZER.decode(ids)
            assert reason == ("eos" if ids[-1] == EOS else "length")
            assert len(ids) <= 6
            assert not settings.fixed_length or (len(ids) == 6 and EOS not in ids)
    assert model.generate(asked, replace(settings, micro_batch=5)) == answers
    assert list(reversed(model.generate(list(reversed(asked)), settings))) == answers


@contextmanager
def watched(monkeypatch):
    """(calls, positions) of everything that goes through a model's network while its texts are written."""
    seen = []
    prefill, step = Run._prefill, Run.step
    monkeypatch.setattr(Run, "_prefill", lambda run, x: (seen.append((1, x.shape[0] * x.shape[1])), prefill(run, x))[1])
    monkeypatch.setattr(Run, "step", lambda run, x: (seen.append((1, x.shape[0])), step(run, x))[1])
    encode = EncoderDecoder.encode
    monkeypatch.setattr(
        EncoderDecoder, "encode", lambda net, ids, present: (seen.append((0, int(present.sum()))), encode(net, ids, present))[1]
    )
    yield seen
    monkeypatch.undo()


@pytest.mark.parametrize("cls", [GPT, Seq2Seq])
@pytest.mark.parametrize(("settings", "candidates"), [
    (Sampling(), 1), (Sampling(), 4), (Sampling(method="beam", beams=3), 1), (Sampling(method="beam", beams=3), 3),
])  # fmt: skip
def test_counts_are_those_of_the_candidates_one_after_the_other(cls, settings, candidates, monkeypatch):
    model = untrained(cls)
    asked = requests(EXAMPLES[:1], n=candidates)
    with watched(monkeypatch) as seen:
        (answer,) = model.generate(asked, replace(settings, micro_batch=1))
    assert answer.network_calls == sum(calls for calls, _ in seen)
    assert answer.positions_processed == sum(positions for _, positions in seen)
    together = model.generate([*asked, *requests(EXAMPLES[1:9], n=candidates)], replace(settings, micro_batch=64))[0]
    assert together == answer


def test_more_candidates_than_beams_are_refused():
    with pytest.raises(ValueError, match="3 candidates were asked of 2 beams"):
        untrained(GPT).generate(requests(EXAMPLES[:1], n=3), Sampling(method="beam", beams=2))


@pytest.mark.parametrize("cls", [GPT, Seq2Seq, Judge])
def test_a_saved_model_is_the_same_model(cls, tmp_path):
    model = untrained(cls)
    model.save(tmp_path)
    loaded = cls.load(tmp_path, "cpu")
    assert loaded.likelihood(EXAMPLES[:9]) == model.likelihood(EXAMPLES[:9])
    assert loaded.generate(requests(EXAMPLES[:9]), Sampling()) == model.generate(requests(EXAMPLES[:9]), Sampling())


def test_changed_weights_are_packed_anew():
    model = untrained(GPT)
    before = model.generate(requests(EXAMPLES[:9]), Sampling())
    with torch.no_grad():
        model.network.embedding.weight.mul_(-1)
    assert model.generate(requests(EXAMPLES[:9]), Sampling()) != before


@pytest.mark.parametrize("cls", [GPT, Seq2Seq])
@pytest.mark.parametrize("target", [150_000, 800_000])
def test_sizes_meet_a_parameter_target(cls, target):
    size = cls.size_for(target, T2T, heads=2)
    model = cls(None, T2T, **size)
    assert sum(parameter.numel() for parameter in model.parameters()) == pytest.approx(target, rel=0.1)


def test_size_keys_are_checked():
    with pytest.raises(ValueError, match="unknown key 'depth'"):
        GPT(None, T2T, depth=3)
    with pytest.raises(ValueError, match="exclude each other"):
        GPT.size_for(50_000, T2T, width=64)


@pytest.mark.parametrize("cls", [GPT, Seq2Seq])
def test_training_learns(cls):
    model = cls(None, T2T, **SIZE)
    report = model.fit(EXAMPLES, EXAMPLES[:50], Budget(tokens=model.optimisation.batch * 6 * 30), FitContext(seed=0))
    assert isinstance(model, TextModel)
    assert (report.updates, report.tokens) == (30, model.optimisation.batch * 6 * 30)
    assert report.valid_loss < 0.8 * report.losses[0][1]
    found = model.likelihood(EXAMPLES[:50])
    assert sum(found.nats) / len(found.nats) / T2T.max_tokens == pytest.approx(report.valid_loss, rel=1e-4)


def test_training_repeats_itself_in_micro_batches_too():
    budget = Budget(tokens=64 * 6 * 4)
    first, second = GPT(None, T2T, **SIZE), GPT(None, T2T, **SIZE)
    first.fit(EXAMPLES, [], budget, FitContext(seed=0))
    second.fit(EXAMPLES, [], budget, FitContext(seed=0, micro_batch=30))
    assert all(torch.allclose(one, other, atol=1e-4) for one, other in zip(first.parameters(), second.parameters(), strict=True))
