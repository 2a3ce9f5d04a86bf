"""Paired tests of two cells: 10,000 resamples on 2,000 items x 4 metrics in at most 2 s."""

import numpy as np
import pytest

from harness.metrics.bleu import bleu_statistics, corpus_bleu
from harness.metrics.chrf import chrf_statistics, corpus_chrf
from harness.stats.comparison import RESAMPLES, Sides, compare, paired_bootstrap
from harness.stats.intervals import ratio_of_sums
from tasks.world.draws import draw
from tasks.world.language import language

ITEMS, SECONDS = 2000, 2.0


def statistics(texts, references):
    """BLEU, chrF, chrF++ and the length ratio, item by item."""
    lengths = np.array([[len(text.split()), len(accepted[0].split())] for text, accepted in zip(texts, references, strict=True)])
    return [
        bleu_statistics(texts, references), *chrf_statistics(texts, references, word_orders=(0, 2)), lengths.astype(np.float64)
    ]  # fmt: skip


@pytest.mark.bench
def test_paired_tests(report, measure):
    written = draw(language("small").automaton, 3 * ITEMS, np.random.default_rng(0))
    references = [[text] for text in written[:ITEMS]]
    sides = [statistics(written[start : start + ITEMS], references) for start in (ITEMS, 2 * ITEMS)]
    aggregates = (corpus_bleu, corpus_chrf, corpus_chrf, ratio_of_sums)
    pairs = list(zip(*sides, aggregates, strict=True))
    assert [a.shape for a, _, _ in pairs] == [(ITEMS, 10), (ITEMS, 18), (ITEMS, 24), (ITEMS, 2)]
    report(f"numpy {np.__version__}; BLEU, chrF, chrF++ and length ratio of two cells, {ITEMS} items, {RESAMPLES} resamples")
    measure(
        "paired bootstrap", lambda: paired_bootstrap(pairs, resamples=RESAMPLES, rng=np.random.default_rng(0)), seconds=SECONDS
    )
    both = [Sides(a[None], b[None], aggregate) for a, b, aggregate in pairs]
    measure("all that `harness compare` does with them, approximate randomisation among it", lambda: compare(both, seed=0))
