import math
from functools import cache

import numpy as np
import pytest

from tasks.world.chart import bracketed, leaves, meaning_of, rules_used, spans
from tasks.world.meaning import Memory
from tasks.world.rules import Note, Sub, Turn


def test_both_give_every_text_of_tiny_the_same_probability(tiny, tiny_law):
    normaliser = tiny.automaton.normaliser
    for text, probability in list(tiny_law.items())[::9]:
        assert tiny.parser.probability(text) / normaliser == pytest.approx(probability, rel=1e-9)


def test_both_agree_on_small(small, small_texts):
    for text in small_texts[:100]:
        found = small.parser.derivations(text)
        assert len(found) == 1
        probability, node = found[0]
        assert math.log(probability / small.automaton.normaliser) == pytest.approx(small.automaton.log_probability(text.split()))
        assert meaning_of(node) == small.automaton.meaning(text)


def test_both_agree_on_the_second_language(small, small_texts):
    automaton = small.second_automaton
    for text in map(small.translation, small_texts[:40]):
        probability = small.second_parser.probability(text)
        assert math.log(probability / automaton.normaliser) == pytest.approx(automaton.log_probability(text.split()))


def test_both_agree_on_corrupted_texts(small, small_texts):
    rng = np.random.default_rng(0)
    rejected = 0
    for text in small_texts[:150]:
        tokens = text.split()
        match rng.integers(4):
            case 0:
                tokens[rng.integers(len(tokens))] = rng.choice(small.automaton.words)
            case 1:
                del tokens[rng.integers(len(tokens))]
            case 2:
                first, second = rng.integers(len(tokens), size=2)
                tokens[first], tokens[second] = tokens[second], tokens[first]
            case _:
                tokens.insert(rng.integers(len(tokens)), "the")
        fits = len(tokens) < small.size.canvas
        assert small.automaton.contains(" ".join(tokens)) == (fits and small.parser.probability(" ".join(tokens)) > 0)
        rejected += not small.automaton.contains(" ".join(tokens))
    assert rejected > 100


@pytest.mark.parametrize("name", ["tiny", pytest.param("small", marks=pytest.mark.slow)])
def test_the_normaliser_follows_from_the_rules_alone(name, request):
    """Probability of fitting the canvas, by lengths of derivations of the uncompiled rules."""
    language = request.getfixturevalue(name)
    grammar, canvas = language.first, language.size.canvas

    def read(item, memory: Memory) -> dict[Memory, np.ndarray]:
        if isinstance(item, Sub):
            return lengths(item.name, memory)
        if isinstance(item, Note | Turn):
            return {item.after(memory): np.eye(1, 80)[0]}
        return {grammar.law.remember(memory, item.says, item.value) if item.says else memory: np.eye(1, 80, 1)[0]}

    @cache
    def lengths(head: str, memory: Memory) -> dict[Memory, np.ndarray]:
        total: dict[Memory, np.ndarray] = {}
        for share, rule in grammar.choices(head, memory):
            found = {memory: np.eye(1, 80)[0] * share}
            for item in grammar.body(rule):
                following: dict[Memory, np.ndarray] = {}
                for before, law in found.items():
                    for after, more in read(item, before).items():
                        following[after] = following.get(after, 0) + np.convolve(law, more)[:80]
                found = following
            for after, law in found.items():
                total[after] = total.get(after, 0) + law
        return total

    law = sum(lengths(grammar.start, Memory()).values())
    assert law.sum() == pytest.approx(1)
    assert law[:canvas].sum() == pytest.approx(language.automaton.normaliser, rel=1e-9)
    np.testing.assert_allclose(law[:canvas] / law[:canvas].sum(), language.automaton.length_law(), atol=1e-10)


def test_annotations_fit_the_text(small, small_texts):
    for text in small_texts[:50]:
        node, tokens = small.tree(text), text.split()
        assert [leaf.text for leaf in leaves(node)] == tokens
        assert len(small.automaton.tags(text)) == len(tokens)
        found = spans(node)
        assert found[0] == (0, len(tokens) - 1, "TEXT")
        assert all(0 <= first <= last < len(tokens) for first, last, _ in found)
        tree = bracketed(node, small.first)
        assert tree.count("(") == tree.count(")")
        assert tree.startswith("(TEXT (OPEN ")
        assert len(rules_used(node)) > 5


def test_what_is_no_text_has_no_tree(small):
    with pytest.raises(ValueError, match="is no text of world small"):
        small.tree("the crown serves serves")
