"""Exact, vectorised draws from a compiled language."""

from collections.abc import Callable, Sequence

import numpy as np

from tasks.world.automaton import Automaton, Floats, Integers


def draw(automaton: Automaton, count: int, rng: np.random.Generator) -> list[str]:
    """Independent texts from the exact law.

    Args:
        automaton: the language.
        count: how many.
        rng: source of randomness; `count` decides how much of it is used.
    """
    return _walks(automaton, count, lambda alive, position, what: rng.random(len(alive)))


def draw_each(automaton: Automaton, rngs: Sequence[np.random.Generator]) -> list[str]:
    """One text from each generator, all at once: what `draw(automaton, 1, rng)` gives for a generator at the same place."""
    uniform = np.array([rng.random((automaton.canvas, 2)) for rng in rngs]).reshape(len(rngs), automaton.canvas, 2)
    return _walks(automaton, len(rngs), lambda alive, position, what: uniform[alive, position, what])


def _walks(automaton: Automaton, count: int, uniform: Callable[[Integers, int, int], Floats]) -> list[str]:
    """Texts whose arcs (0) and words (1) at every position are chosen by uniform numbers."""
    numbers = np.full((count, automaton.canvas), -1)
    state, alive = np.zeros(count, dtype=np.int64), np.arange(count)
    first_word = np.searchsorted(automaton.word_class, np.arange(len(automaton.classes)))
    for position in range(automaton.canvas):
        arcs = _draw_arcs(automaton, position, state[alive], uniform(alive, position, 0))
        alive, arcs = alive[arcs >= 0], arcs[arcs >= 0]
        state[alive] = automaton.target[arcs]
        classes = automaton.label_class[automaton.label[arcs]]
        numbers[alive, position] = _segment_draw(automaton.word_probability, first_word, classes, uniform(alive, position, 1))
    words = np.array([*automaton.words, ""], dtype=object)
    return [" ".join(row[: np.argmax(row == "")]) for row in words[numbers]]


def _draw_arcs(automaton: Automaton, position: int, states: Integers, uniform: Floats) -> Integers:
    """An arc for each state, or -1 for the end."""
    ends = automaton.end_probabilities(position)[states]
    going = uniform >= ends
    arcs = np.full(len(states), -1)
    rest = (uniform[going] - ends[going]) / (1 - ends[going])
    arcs[going] = _segment_draw(automaton.arc_probabilities(position), automaton.offsets[:-1], states[going], rest)
    return arcs


def _segment_draw(weights: Floats, starts: Integers, segment: Integers, uniform: Floats) -> Integers:
    """For each draw, an index within its segment of `weights`, with probability in proportion to the weight."""
    cumulative = np.concatenate([[0.0], np.cumsum(weights)])
    bounds = np.append(starts, len(weights))
    low, high = cumulative[bounds[segment]], cumulative[bounds[segment + 1]]
    point = np.minimum(low + uniform * (high - low), np.nextafter(high, low))
    found: Integers = np.searchsorted(cumulative, point, side="right") - 1
    return found
