"""Words as the n-gram metrics count them: the 13a tokenisation of sacreBLEU, as integers, and their n-grams."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a


def word_ids(texts: Sequence[str]) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """Words of all texts in a row.

    Returns:
        Integer of every word (equal words have equal integers, counted from 0) and index of the text it stands in.
    """
    cut = Tokenizer13a()
    known: dict[str, int] = {}
    rows = [[known.setdefault(word, len(known)) for word in cut(text.rstrip()).split()] for text in texts]
    owner = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    return np.array([word for row in rows for word in row], dtype=np.int64), owner


def ngrams(
    words: Int[np.ndarray, " m"], owner: Int[np.ndarray, " m"], *, longest: int
) -> Iterator[tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"]]]:
    """For every order from 1 to `longest`: an integer for each n-gram that stays within a text, and the text's index.

    Equal n-grams have equal integers; integers of different orders have nothing to do with each other.
    """
    start, grams, vocabulary = np.arange(len(words)), words, int(words.max(initial=0)) + 1
    for order in range(1, longest + 1):
        if order > 1:
            inside = start + order - 1 < len(words)
            inside[inside] = owner[start[inside] + order - 1] == owner[start[inside]]
            start = start[inside]
            grams = np.unique(grams[inside] * vocabulary + words[start + order - 1], return_inverse=True)[1]
        yield grams, owner[start]
