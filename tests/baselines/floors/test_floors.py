import dataclasses
import itertools
import math

import numpy as np
import pytest

from baselines.floors.copy_source import CopySource
from baselines.floors.template import Template, filled, slots
from baselines.floors.trigram import Trigram
from baselines.floors.unigram import Unigram
from harness.contracts import Budget, Content, Example, FitContext, Request, Sampling, TaskView, TextModel, stream_seed
from harness.errors import ModelError
from harness.registry import resolve
from harness.tokenizer import BOS, EOS, PAD, SEP, Tokenizer

PLAIN, BUDGET, RUN = Sampling(), Budget(tokens=1), FitContext(seed=0)
FLOORS = (Unigram, Trigram, CopySource, Template)
TEXTS = ["a b", "a b c", "b", "a b c a", "c c"] * 20


def view(max_tokens=6, texts=TEXTS, family="ucg"):
    tokenizer = Tokenizer.train("words", texts)
    return TaskView(name="toy", family=family, tokenizer=tokenizer, max_tokens=max_tokens, max_source_tokens=12)


def examples(texts=TEXTS):
    return [Example(id=str(i), target=text, source=f"say {text}") for i, text in enumerate(texts)]


def fitted(kind, task=None, train=None):
    model = kind(None, task or view())
    model.fit(train or examples(), [], BUDGET, RUN)
    return model


def requests(count, max_tokens=6, **changes):
    return [
        Request(id=str(i), seed=stream_seed(1, i), max_tokens=max_tokens, **{"source": f"say {TEXTS[i % 5]}"} | changes)
        for i in range(count)
    ]


@pytest.mark.parametrize("kind", FLOORS)
def test_a_floor_keeps_the_contract(kind, tmp_path):
    model = fitted(kind)
    assert isinstance(model, TextModel)
    assert model.design.kind == "floor"
    assert resolve("models", model.design.name).load() is kind
    model.save(tmp_path)
    again = kind.load(tmp_path, "cpu")
    asked = requests(30, n=2)
    answers = model.generate(asked, PLAIN)
    assert again.generate(asked, PLAIN) == answers
    assert again.likelihood(examples()) == model.likelihood(examples())
    for request, answer in zip(asked, answers, strict=True):
        assert (answer.id, len(answer.texts), len(answer.ids)) == (request.id, 2, 2)
        assert all(1 <= len(ids) <= 6 for ids in answer.ids)
        assert all((ids[-1] == EOS) == (reason == "eos") for ids, reason in zip(answer.ids, answer.finish_reasons, strict=True))
        assert not {PAD, BOS, SEP} & {index for ids in answer.ids for index in ids}


@pytest.mark.parametrize("kind", FLOORS)
def test_batches_and_order_change_nothing(kind):
    model, asked = fitted(kind), requests(12)
    alone = [model.generate([request], PLAIN)[0] for request in asked]
    assert model.generate(asked, dataclasses.replace(PLAIN, micro_batch=3)) == alone
    assert model.generate(asked[::-1], PLAIN)[::-1] == alone


@pytest.mark.parametrize("kind", FLOORS)
def test_mistakes_are_told(kind, tmp_path):
    with pytest.raises(ValueError, match="has no keys; given: width"):
        kind(None, view(), width=3)
    with pytest.raises(ModelError, match=r"expected floor\.json"):
        kind.load(tmp_path, "cpu")
    if kind is not CopySource:
        with pytest.raises(ModelError, match="before it was fitted"):
            kind(None, view()).generate(requests(1), PLAIN)


@pytest.mark.parametrize("kind", [Unigram, Trigram])
def test_probabilities_of_all_texts_sum_to_one(kind):
    # every text of at most 3 tokens over the words a, b, c and <unk>; longer ones are cut to 4 tokens without EOS
    task = view(max_tokens=4, texts=["a b", "a b c", "b", "a b c a"])
    model = fitted(kind, task)
    words = ["a", "b", "c", "zzz"]
    texts = [" ".join(row) for length in range(5) for row in itertools.product(words, repeat=length)]
    found = model.likelihood([Example(id=text, target=text) for text in texts])
    assert found.kind == "exact"
    assert math.fsum(math.exp(-nats) for nats in found.nats) == pytest.approx(1, abs=1e-9)
    assert found.tokens[0] == 1


@pytest.mark.parametrize("kind", [Unigram, Trigram])
def test_samples_follow_the_likelihood(kind):
    # 4,000 samples, the frequent texts: z below 4.5 everywhere, false alarm below 3e-4
    task = view(max_tokens=4)
    model = fitted(kind, task)
    answers = model.generate(requests(1000, max_tokens=4, n=4), PLAIN)
    drawn = [text for answer in answers for text in answer.texts]
    texts, counts = np.unique(drawn, return_counts=True)
    chances = np.exp(-np.array(model.likelihood([Example(id=text, target=text) for text in texts]).nats))
    common = chances * len(drawn) > 20
    spread = np.sqrt(len(drawn) * chances * (1 - chances))
    assert common.sum() >= 5
    assert np.abs((counts - len(drawn) * chances) / spread)[common].max() < 4.5


def test_trigram_interpolates_as_witten_and_bell_say():
    model = fitted(Trigram, train=examples(["a b", "a c"]))
    # after (BOS, a): b once, c once -> 2 tokens, 2 kinds; after a: the same; unigram: a 2, b 1, c 1, EOS 2 -> 6, 4 kinds
    uniform = 1 / 5  # a, b, c, <unk>, EOS
    unigram = (1 + 4 * uniform) / 10
    bigram = (1 + 2 * unigram) / 4
    trigram = (1 + 2 * bigram) / 4
    level = model._levels[0]
    a, b, size = model.task.tokenizer.encode("a")[0], model.task.tokenizer.encode("b")[0], len(model.task.tokenizer)
    law = np.array([bigram])
    assert level.probabilities(np.array([BOS * size + a]), np.array([b]), law)[0] == pytest.approx(trigram)
    likelihoods = [model.likelihood(examples([text])).nats[0] for text in ("a b", "b a")]
    assert likelihoods[0] < likelihoods[1]


def test_trigram_beats_unigram_on_text_with_order():
    text = examples()
    assert sum(fitted(Trigram).likelihood(text).nats) < 0.8 * sum(fitted(Unigram).likelihood(text).nats)


@pytest.mark.parametrize("kind", [Unigram, Trigram])
def test_fixed_length_writes_every_token(kind):
    for answer in fitted(kind).generate(requests(50), dataclasses.replace(PLAIN, fixed_length=True)):
        assert len(answer.ids[0]) == 6
        assert EOS not in answer.ids[0]
        assert answer.finish_reasons == ("length",)


@pytest.mark.parametrize("kind", [Unigram, Trigram])
def test_laws_refuse_other_decoding(kind):
    with pytest.raises(ModelError, match="knows no method 'greedy'"):
        fitted(kind).generate(requests(1), dataclasses.replace(PLAIN, method="greedy"))


def test_copy_says_the_source_and_cuts_it_at_the_limit():
    model = CopySource(None, view())
    (whole,) = model.generate([Request(id="x", seed=0, max_tokens=4, source="a  b c")], PLAIN)
    assert (whole.texts, whole.finish_reasons) == (("a  b c",), ("eos",))
    (short,) = model.generate([Request(id="x", seed=0, max_tokens=2, source="a b c")], PLAIN)
    assert (short.texts, short.finish_reasons) == (("a b",), ("length",))
    with pytest.raises(ValueError, match="nothing to copy"):
        model.generate([Request(id="x", seed=0, max_tokens=4)], PLAIN)
    assert model.likelihood(examples()) is None


PLACES = [
    ((("name", "Aroma"), ("food", "French")), "Aroma serves French food ."),
    ((("name", "Aroma"), ("food", "French"), ("area", "riverside")), "By the riverside , Aroma serves French food ."),
    ((("name", "Zizzi"), ("rating", "5")), "Zizzi is excellent ."),
]


def ask_for(*attributes):
    return Request(id="x", seed=0, max_tokens=20, control=Content(attributes))


@pytest.fixture
def waiter():
    train = [Example(id=str(i), target=text, control=Content(known)) for i, (known, text) in enumerate(PLACES)]
    return fitted(Template, view(20, [text for _, text in PLACES], "a2t"), train)


@pytest.mark.parametrize(
    ("attributes", "answer"),
    [
        ((("name", "Zizzi"), ("food", "Thai")), "Zizzi serves Thai food ."),
        ((("name", "Zizzi"), ("area", "centre"), ("food", "Thai")), "By the centre , Zizzi serves Thai food ."),
        ((("name", "Aroma"), ("rating", "5")), "Aroma is excellent ."),
        ((("name", "Aroma"), ("food", "French")), "Aroma serves French food ."),
    ],
)
def test_template_fills_the_best_neighbour(waiter, attributes, answer):
    assert waiter.generate([ask_for(*attributes)], PLAIN)[0].texts == (answer,)


def test_an_unsayable_value_costs_more_than_a_missing_one(waiter):
    # "5" stands nowhere in "Zizzi is excellent .": with rating 1 that sentence would say something wrong
    assert waiter.generate([ask_for(("name", "Nandos"), ("rating", "1"))], PLAIN)[0].texts == ("Nandos serves French food .",)


def test_values_are_swapped_at_once_and_as_whole_words():
    known, wanted = slots([("a", "red"), ("b", "blue")]), slots([("a", "blue"), ("b", "red")])
    assert filled("red and blue , bluebird", known, wanted) == "blue and red , bluebird"
    assert slots([("a", "x"), ("a", "y")]) == {("a", 0): "x", ("a", 1): "y"}


def test_template_translates_by_the_nearest_source():
    pairs = [
        ("the old dog barks", "der alte Hund bellt"),
        ("a cat sleeps", "eine Katze schläft"),
        ("the cat runs", "die Katze rennt"),
    ]
    train = [Example(id=str(i), target=target, source=source) for i, (source, target) in enumerate(pairs)]
    model = fitted(Template, view(20, [text for pair in pairs for text in pair], "t2t"), train)
    asked = ["a cat sleeps now", "the dog", "the cat", "nothing known"]
    answers = model.generate([Request(id=text, seed=0, max_tokens=20, source=text) for text in asked], PLAIN)
    assert [answer.texts[0] for answer in answers] == [pairs[1][1], pairs[0][1], pairs[2][1], pairs[0][1]]
