"""The limits of speed that the language was designed for, in processor seconds on one core."""

import time

import numpy as np

from tasks.world.draws import draw
from tasks.world.language import Language, reduced
from tasks.world.sizes import SIZES


def best_of_two(run):
    def once():
        start = time.process_time()
        run()
        return time.process_time() - start

    return min(once(), once())


def test_small_is_compiled_in_three_seconds():
    grammar = Language(SIZES["small"]).first
    assert best_of_two(lambda: reduced(grammar)) <= 3


def test_ten_thousand_texts_are_drawn_and_parsed_in_two_seconds(small):
    def run():
        assert all(map(small.automaton.contains, draw(small.automaton, 10_000, np.random.default_rng(0))))

    assert best_of_two(run) <= 2
