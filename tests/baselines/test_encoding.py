"""What is scored, and the bytes that it takes: the same for every kind of model."""

import pytest

from baselines.autoregressive.gpt import GPT
from baselines.encoding import sizes_in_bytes, targets
from baselines.floors.trigram import Trigram
from baselines.floors.unigram import Unigram
from baselines.systems.d3pm import D3PM
from harness.contracts import Budget, Example, FitContext, TaskView
from harness.schedules.names import build
from harness.tokenizer import EOS, Tokenizer

TEXTS = ["one two three four five six", "seven äight", ""]
EXAMPLES = [Example(id=str(index), target=text) for index, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def task():
    return TaskView(name="short", family="ucg", tokenizer=Tokenizer.train("words", TEXTS), max_tokens=4)


def test_a_target_that_is_cut_ends_without_eos(task):
    assert [len(row) for row in targets(task, EXAMPLES)] == [4, 3, 1]
    assert [row[-1] == EOS for row in targets(task, EXAMPLES)] == [False, True, True]


def test_bytes_are_those_of_what_is_left(task):
    assert sizes_in_bytes(task, EXAMPLES, targets(task, EXAMPLES)) == (len("one two three four"), len("seven äight".encode()), 0)


@pytest.mark.parametrize("model", [GPT, D3PM, Unigram, Trigram])
def test_all_models_count_the_same_bytes_and_tokens(task, model):
    made = model(build("cosine-plain@1000"), task, width=16) if model is D3PM else model(None, task)
    made.fit(EXAMPLES, [], Budget(tokens=200), FitContext(seed=0))
    found = made.likelihood(EXAMPLES)
    assert found.bytes == sizes_in_bytes(task, EXAMPLES, targets(task, EXAMPLES))
    assert found.tokens == (4, 3, 1)
