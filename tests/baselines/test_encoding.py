"""What is scored, and the bytes that it takes: the same for every kind of model."""

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers

from baselines.autoregressive.gpt import GPT
from baselines.encoding import sizes_in_bytes, targets
from baselines.floors.trigram import Trigram
from baselines.floors.unigram import Unigram
from baselines.systems.d3pm import D3PM
from harness.contracts import Budget, Example, FitContext, TaskView
from harness.schedules.names import build
from harness.tokenizer import EOS, PretrainedTokenizer, Tokenizer

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


SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def of_bert(*words, lower=False):
    """Word pieces as BERT cuts and joins them."""
    backend = Backend(models.WordPiece({word: index for index, word in enumerate([*SPECIAL, *words])}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lower)
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    return PretrainedTokenizer(backend, (0, 3, 2, 1, 3, 4))


def of_bytes(*entries):
    """Byte-level tokens without an entry for what is unknown: that is dropped."""
    backend = Backend(models.BPE({word: index for index, word in enumerate([*SPECIAL, *entries])}, []))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return PretrainedTokenizer(backend, (0, 3, 2, None, 3, 4))


def sizes(tokenizer, *texts, longest=20):
    task = TaskView(name="short", family="ucg", tokenizer=tokenizer, max_tokens=longest)
    examples = [Example(id=str(index), target=text) for index, text in enumerate(texts)]
    return sizes_in_bytes(task, examples, targets(task, examples))


def test_a_target_that_a_brought_tokenizer_spells_otherwise_has_no_bytes():
    words = ["I", "do", "not", "don", "'", "t", "see", "##s", "a", "Cat", ",", "."]
    assert sizes(of_bert(*words), "I see a Cat.", "a  Cat , sees", "a dog", "") == (12, 13, 0, 0)
    assert sizes(of_bert(*words), "I do not see", "I don't see", "I do not see it") == (12, 11, 0)
    assert sizes(of_bert("i", "see", "a", "cat", lower=True), "I see a Cat", "i see a cat") == (0, 11)


def test_what_is_dropped_without_a_trace_is_missed():
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    assert sizes(of_bytes(*alphabet), "ab ä", "日本") == (5, 6)
    assert sizes(of_bytes("a", "b", "\u0120"), "ab ab", "ab cab", "c") == (5, 0, 0)


def test_of_a_cut_target_the_part_that_is_left_must_be_spelt():
    """Four bytes of a text, one of which is the first of two of a letter; three letters and what they begin."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    assert sizes(of_bytes(*alphabet), "abcäd", longest=4) == (3 + len("\N{REPLACEMENT CHARACTER}".encode()),)
    assert sizes(of_bert("see", "a", "cat", lower=True), "see a Cat", "See a cat", longest=2) == (5, 0)


def test_a_task_s_own_tokenizer_counts_all_bytes():
    """It is every model's, so that none of them wins."""
    assert sizes(Tokenizer.train("words", ["one two"]), "one three") == (9,)
