import numpy as np
import pytest

from tasks.world.expansion import ambiguities, expand
from tasks.world.language import Language
from tasks.world.meaning import Law
from tasks.world.reduction import determinise, minimise
from tasks.world.rules import Grammar, WordClass, rule
from tasks.world.sizes import SIZES

LEXICON = {name: WordClass((name,), (1.0,), ("",), "NOUN") for name in "abc"}


def grammar_of(*bodies: tuple[str, float, str]) -> Grammar:
    return Grammar(tuple(rule(head, weight, body, body) for head, weight, body in bodies), LEXICON, Law((), {}, {}))


@pytest.mark.parametrize("size", ["tiny", "small", *(pytest.param(name, marks=pytest.mark.slow) for name in ("medium", "large"))])
@pytest.mark.parametrize("language", ["first", "second"])
def test_no_text_has_two_derivations(size, language):
    assert ambiguities(expand(getattr(Language(SIZES[size]), language))) == []


def test_the_raw_automaton_is_not_deterministic_so_that_the_proof_says_something():
    raw = expand(Language(SIZES["tiny"]).first)
    assert any(len({arc.label[0] for arc in row}) < len(row) for row in raw.arcs)


@pytest.mark.parametrize(
    "bodies",
    [
        [("TEXT", 1, "a B"), ("TEXT", 1, "A b"), ("A", 1, "a"), ("B", 1, "b")],
        [("TEXT", 1, "A b"), ("A", 1, "a"), ("A", 2, "a")],
        [("TEXT", 1, "A A"), ("A", 1, ""), ("A", 1, "a")],
        [("TEXT", 1, "a A"), ("A", 1, ""), ("A", 1, "B"), ("B", 1, "")],
    ],
    ids=["two states", "two parallel arcs", "two empty parts", "two empty ends"],
)
def test_ambiguity_is_found(bodies):
    assert ambiguities(expand(grammar_of(*bodies)))


def test_equal_beginnings_are_no_ambiguity():
    assert not ambiguities(expand(grammar_of(("TEXT", 1, "A b"), ("TEXT", 1, "A c"), ("A", 1, "a a"))))


def test_reduction_keeps_the_law_and_merges_what_is_alike():
    grammar = grammar_of(("TEXT", 1, "a b c"), ("TEXT", 3, "a c"), ("TEXT", 4, "b c"))
    raw = expand(grammar)
    reduced = minimise(determinise(raw))
    first = {arc.label[0]: arc.weight for arc in reduced.arcs[0]}
    assert first == {"a": pytest.approx(0.5), "b": pytest.approx(0.5)}
    after_a = next(arc.target for arc in reduced.arcs[0] if arc.label[0] == "a")
    assert {arc.label[0]: arc.weight for arc in reduced.arcs[after_a]} == {"b": pytest.approx(0.25), "c": pytest.approx(0.75)}
    assert len(reduced.arcs) == 4


@pytest.mark.parametrize("size", ["tiny", "small"])
def test_every_state_is_a_distribution_over_different_classes(size, request):
    automaton = request.getfixturevalue(size).automaton
    sums = np.bincount(automaton.source, weights=automaton.probability, minlength=automaton.states) + automaton.final
    np.testing.assert_allclose(sums, 1, atol=1e-9)
    pairs = set(zip(automaton.source.tolist(), automaton.label_class[automaton.label].tolist(), strict=True))
    assert len(pairs) == automaton.arcs


def test_a_word_that_says_two_things_after_equal_beginnings_is_refused():
    rules = (rule("TEXT", 1, "a!food b", "a!food b"), rule("TEXT", 1, "a!area c", "a!area c"))
    with pytest.raises(ValueError, match="says two things after the same words"):
        determinise(expand(Grammar(rules, LEXICON, Law((), {}, {}))))
