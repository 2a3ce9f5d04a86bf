"""The limits of speed that the language was designed for, in processor seconds on one core, each in a process of its own."""

import subprocess
import sys

import pytest

COMPILED = """
from tasks.world.language import Language, reduced
from tasks.world.sizes import SIZES

grammar = Language(SIZES["small"]).first


def run():
    reduced(grammar)
"""
DRAWN_AND_PARSED = """
import numpy as np

from tasks.world.draws import draw
from tasks.world.language import language

automaton = language("small").automaton


def run():
    assert all(map(automaton.contains, draw(automaton, 10_000, np.random.default_rng(0))))
"""
TIMED = """
import time

start = time.process_time()
run()
print(time.process_time() - start)
"""
TRIES = 3


@pytest.mark.slow
@pytest.mark.parametrize(("code", "seconds"), [(COMPILED, 3.0), (DRAWN_AND_PARSED, 2.0)], ids=["compiled", "drawn and parsed"])
def test_small_is_fast(code, seconds, small):
    assert small.automaton.states, "compiled beforehand, so that drawing does not wait for it"
    tries = (float(subprocess.check_output([sys.executable, "-c", code + TIMED], text=True)) for _ in range(TRIES))
    assert any(found <= seconds for found in tries), f"never within {seconds} s"
