"""Oracle marginals of 32 items at 70 % masked on `world` (small): at most 0.3 s on one core."""

import numpy as np
import pytest
import scipy

from tasks.world.draws import draw
from tasks.world.language import language
from tasks.world.marginals import MASK, Marginals

ITEMS, MASKED, SECONDS = 32, 0.7, 0.3


def canvases(marginals, texts):
    """Tokens of whole texts: words, the end, padding."""
    automaton = marginals.automaton
    rows = np.full((len(texts), automaton.canvas), marginals.padding)
    for row, text in zip(rows, texts, strict=True):
        words = [automaton.word_index[word] for word in text.split()]
        row[: len(words)] = words
        row[len(words)] = marginals.end
    return rows


@pytest.mark.bench
def test_marginals(report, measure):
    automaton = language("small").automaton
    marginals, rng = Marginals(automaton), np.random.default_rng(0)
    rows = canvases(marginals, draw(automaton, ITEMS, rng))
    rows[rng.random(rows.shape) < MASKED] = MASK
    shares, log_weight = marginals(rows)
    assert np.isfinite(log_weight).all()
    assert np.allclose(shares.sum(-1), 1)
    masked = np.mean(rows == MASK)
    report(f"numpy {np.__version__}, scipy {scipy.__version__}; {automaton.states} states, {ITEMS} canvases of {rows.shape[1]}")
    measure(
        f"marginals with {masked:.0%} masked, tables of the arcs at hand",
        lambda: marginals(rows),
        seconds=SECONDS,
        repetitions=21,
    )
    measure("the same from the compiled language on, tables made anew", lambda: Marginals(automaton)(rows))
