import math
from collections import defaultdict

import numpy as np
import pytest

from tasks.world.language import language


def test_probabilities_of_all_texts_sum_to_one(tiny, tiny_law):
    assert len(tiny_law) > 1000
    assert sum(tiny_law.values()) == pytest.approx(1, abs=1e-12)
    assert all(tiny.automaton.log_probability(text.split()) == pytest.approx(math.log(p)) for text, p in tiny_law.items())


def test_entropy_and_lengths_equal_the_enumeration(tiny, tiny_law):
    probabilities = np.array(list(tiny_law.values()))
    assert tiny.automaton.entropy() == pytest.approx(-(probabilities @ np.log(probabilities)))
    lengths = np.bincount([len(text.split()) for text in tiny_law], weights=probabilities, minlength=tiny.size.canvas)
    np.testing.assert_allclose(tiny.automaton.length_law(), lengths, atol=1e-12)


def test_attribute_law_equals_the_enumeration(tiny, tiny_law):
    counted = {attribute: dict.fromkeys(values, 0.0) for attribute, values in tiny.attribute_law.items()}
    for text, probability in tiny_law.items():
        meaning = tiny.automaton.meaning(text)
        for attribute in counted:
            counted[attribute][meaning.get(attribute, "")] += probability
    for attribute, values in tiny.attribute_law.items():
        assert counted[attribute] == pytest.approx(values, abs=1e-12)


def test_a_prefix_is_as_probable_as_the_texts_that_begin_with_it(tiny, tiny_law):
    exact: dict[tuple[str, ...], float] = defaultdict(float)
    for text, probability in tiny_law.items():
        tokens = tuple(text.split())
        for length in range(len(tokens) + 1):
            exact[tokens[:length]] += probability
    for prefix, probability in list(exact.items())[::50]:
        assert tiny.automaton.prefix_log_probability(prefix) == pytest.approx(math.log(probability))


def test_the_chain_rule_gives_the_probability_of_a_text(small, small_texts):
    automaton = small.automaton
    for text in small_texts[:20]:
        tokens = text.split()
        steps = [automaton.next_probabilities(tokens[:index]) for index in range(len(tokens) + 1)]
        assert all(step.sum() == pytest.approx(1) for step in steps)
        chosen = [step[automaton.word_index[word]] for step, word in zip(steps, tokens, strict=False)] + [steps[-1][-1]]
        assert np.log(chosen).sum() == pytest.approx(automaton.log_probability(tokens))


def test_what_is_no_text_has_no_probability(small, small_texts):
    automaton, tokens = small.automaton, small_texts[0].split()
    assert automaton.log_probability([]) == -math.inf
    assert automaton.log_probability(tokens[:-1]) == -math.inf
    assert automaton.log_probability(["zebra", *tokens[1:]]) == -math.inf
    assert automaton.prefix_log_probability(["zebra"]) == -math.inf
    assert automaton.prefix_log_probability([]) == pytest.approx(0)
    with pytest.raises(ValueError, match="no text begins with 'zebra'"):
        automaton.next_probabilities(["zebra"])


def test_texts_beyond_the_canvas_are_not_in_the_language(tiny):
    longest = next(text for text in _grammatical(tiny) if len(text.split()) >= tiny.size.canvas)
    assert tiny.parser.probability(longest) > 0
    assert not tiny.automaton.contains(longest)
    assert tiny.automaton.log_probability(longest.split()) == -math.inf


def _grammatical(language):
    automaton, paths = language.automaton, [((), 0)]
    while paths:
        words, state = paths.pop()
        if automaton.final[state]:
            yield " ".join(words)
        for name in automaton.expected(state):
            word = automaton.lexicon[name].words[0]
            paths.append(((*words, word), int(automaton.target[automaton.step(state, word)])))


@pytest.mark.parametrize(
    ("size", "canvas", "states", "arcs", "words"),
    [
        ("tiny", 16, 300, 1_000, (30, 50)),
        ("small", 32, 15_000, 60_000, (130, 180)),
        pytest.param("medium", 64, 60_000, 240_000, (500, 700), marks=pytest.mark.slow),
        pytest.param("large", 128, 250_000, 1_000_000, (3_000, 9_000), marks=pytest.mark.slow),
    ],
)
def test_sizes_keep_to_their_limits(size, canvas, states, arcs, words):
    automaton = language(size).automaton
    assert automaton.canvas == canvas
    assert automaton.states <= states
    assert automaton.arcs <= arcs
    assert words[0] <= len(automaton.words) <= words[1]
    assert automaton.normaliser > 0.7


def test_small_texts_are_neither_short_nor_cut(small):
    law = small.automaton.length_law()
    assert law[:9].sum() == 0
    assert 18 <= law @ np.arange(len(law)) <= 22
    assert small.automaton.normaliser > 0.9
    assert small.size.canvas == 32


def test_positions_and_states_are_consistent(small):
    automaton = small.automaton
    assert np.all(automaton.source < automaton.target)
    np.testing.assert_allclose(automaton.length_law().sum(), 1, atol=1e-12)
    for position in (0, 10, 25, 31):
        reachable = automaton.occupation[position] > 0
        outgoing = np.bincount(automaton.source, weights=automaton.arc_probabilities(position), minlength=automaton.states)
        np.testing.assert_allclose((outgoing + automaton.end_probabilities(position))[reachable], 1, atol=1e-9)
