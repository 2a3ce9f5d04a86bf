"""Words as the n-gram metrics count them: the 13a tokenisation of sacreBLEU, as integers."""

from collections.abc import Sequence

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
