from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from harness.metrics.words import word_ids, words_of

PIECES = st.sampled_from(
    [*" \t\n.,-&;'\"()$%:<>=@[]\\^_`{|}~/+*!?#09ab", "\u00e9", "\u2009", "&quot;", "&amp;", "&lt;", "<skipped>", "1,000.5"]
)
CUT = Tokenizer13a()


@settings(max_examples=500, deadline=None)
@given(st.lists(PIECES, max_size=14).map("".join))
def test_words_are_those_of_sacrebleu_s_tokeniser(text):
    assert words_of(text) == CUT(text.rstrip()).split()


@given(st.text(max_size=30))
@settings(max_examples=200, deadline=None)
def test_whatever_the_letters(text):
    assert words_of(text) == CUT(text.rstrip()).split()


def test_known_words():
    assert words_of("It's 1,000.5 (e.g.) - or 3-4, &quot;no&quot;.") == (
        ["It's", "1,000.5", "(", "e", ".", "g", ".", ")", "-", "or", "3", "-", "4", ",", '"', "no", '"', "."]
    )


def test_equal_words_have_equal_integers():
    words, owner = word_ids(["a b a", "", "b c"])
    assert words.tolist() == [0, 1, 0, 1, 2]
    assert owner.tolist() == [0, 0, 0, 2, 2]
