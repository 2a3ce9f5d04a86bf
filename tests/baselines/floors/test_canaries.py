from collections import Counter

import numpy as np
import pytest

from baselines.floors.canaries import (
    PHRASE,
    Constant,
    Empty,
    Human,
    Majority,
    PhraseTable,
    ShuffledHuman,
    Tiled,
    TrainCopier,
)
from harness.contracts import Budget, Content, Example, FitContext, Request, Sampling, TaskView, TextModel, stream_seed
from harness.errors import ModelError
from harness.registry import resolve
from harness.tokenizer import EOS, Tokenizer

WORDS = ["ada", "bob", "cy", "dan", "eve", "fay", "gus", "hal"]
TRAIN = [" ".join(np.random.default_rng(index).choice(WORDS, size=4 + index % 5)) for index in range(60)] + [
    "ada bob cy dan eve"
] * 3
VALID = [" ".join(np.random.default_rng(1000 + index).choice(WORDS, size=5)) for index in range(30)]
ALL = (Human, ShuffledHuman, TrainCopier, PhraseTable, Tiled, Empty, Constant, Majority)


def examples(texts, prefix):
    return [
        Example(id=f"{prefix}{index}", target=text, control=Content((("food", "fish" if index % 3 else "pie"), ("area", "city"))))
        for index, text in enumerate(texts)
    ]


def fitted(kind):
    task = TaskView(name="toy", family="ucg", tokenizer=Tokenizer.train("words", [*TRAIN, *VALID]), max_tokens=12)
    model = kind(None, task)
    model.fit(examples(TRAIN, "t"), examples(VALID, "v"), Budget(tokens=1), FitContext(seed=0))
    return model


def texts_of(model, count=200, **changes):
    asked = [Request(id=str(index), seed=stream_seed(3, index), max_tokens=12, **changes) for index in range(count)]
    return [text for answer in model.generate(asked, Sampling()) for text in answer.texts]


@pytest.mark.parametrize("kind", ALL)
def test_a_canary_keeps_the_contract(kind, tmp_path):
    model = fitted(kind)
    assert isinstance(model, TextModel)
    assert resolve("models", model.design.name).load() is kind
    model.save(tmp_path)
    assert texts_of(kind.load(tmp_path, "cpu"), n=2) == texts_of(model, n=2)
    asked = [Request(id=str(index), seed=index, max_tokens=3) for index in range(20)]
    assert all(len(answer.ids[0]) <= 3 for answer in model.generate(asked, Sampling()))
    with pytest.raises(ModelError, match="before it was fitted"):
        kind(None, model.task).generate(asked, Sampling())


def test_human_texts_are_of_the_validation_split_and_cover_it():
    assert set(texts_of(fitted(Human), 600)) == set(VALID)


def test_shuffled_texts_keep_their_words_and_lose_their_order():
    written, known = texts_of(fitted(ShuffledHuman)), {tuple(sorted(text.split())) for text in VALID}
    assert all(tuple(sorted(text.split())) in known for text in written)
    assert sum(text in VALID for text in written) < 20


def test_copies_are_of_the_training_split_as_often_as_there():
    written = Counter(texts_of(fitted(TrainCopier), 2000))
    assert set(written) <= set(TRAIN)
    # three of 63: 95 expected, and 5 standard deviations are 48
    assert abs(written["ada bob cy dan eve"] - 95) < 48


def test_phrases_are_frequent_ones_in_texts_of_usual_length():
    model = fitted(PhraseTable)
    phrases, shares = model._table()
    rows = [text.split() for text in TRAIN]
    counts = Counter(" ".join(row[start : start + PHRASE]) for row in rows for start in range(len(row) - PHRASE + 1))
    assert phrases[0] == "ada bob cy dan"
    assert shares.sum() == pytest.approx(1)
    assert sum(counts[phrase] for phrase in phrases) >= counts.total() / 2 > sum(counts[phrase] for phrase in phrases[:-1])
    lengths = {len(row) for row in rows}
    for text in texts_of(model):
        words = text.split()
        assert len(words) in lengths
        assert " ".join(words[:PHRASE]) in phrases


def test_tiles_repeat_one_phrase():
    for text in texts_of(fitted(Tiled)):
        words = text.split()
        assert all(word == words[index % PHRASE] for index, word in enumerate(words))


def test_empty_and_constant_say_one_thing():
    assert set(texts_of(fitted(Empty))) == {""}
    assert set(texts_of(fitted(Constant))) == {"ada bob cy dan eve"}
    (answer,) = fitted(Empty).generate([Request(id="x", seed=0, max_tokens=12)], Sampling())
    assert (answer.ids, answer.finish_reasons) == (((EOS,),), ("eos",))


def test_the_majority_text_says_the_usual_values():
    # fish is asked twice as often as pie, so the first example with fish is taken
    assert set(texts_of(fitted(Majority))) == {TRAIN[1]}


def test_what_a_canary_cannot_do_without_is_said():
    task = fitted(Human).task
    with pytest.raises(ValueError, match="needs a validation split"):
        Human(None, task).fit(examples(TRAIN, "t"), [], Budget(tokens=1), FitContext(seed=0))
    bare = [Example(id="1", target="ada")]
    with pytest.raises(ValueError, match="needs examples with attributes"):
        Majority(None, task).fit(bare, bare, Budget(tokens=1), FitContext(seed=0))
