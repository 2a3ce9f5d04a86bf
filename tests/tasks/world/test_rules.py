import pytest

from tasks.world.expansion import expand
from tasks.world.meaning import Law, Memory
from tasks.world.rules import Grammar, Note, Sub, Word, WordClass, items, rule

PLAIN = Law(("food",), {}, {})


def word_class(*words: str) -> WordClass:
    return WordClass(words, (1 / len(words),) * len(words), words, "NOUN")


def test_the_notation():
    assert items("PRED serve* food!food refuse*!family=no #sg -kind .") == (
        Sub("PRED"),
        Word("serve", agrees=True),
        Word("food", says="food"),
        Word("refuse", agrees=True, says="family", value="no"),
        Note("number", "sg"),
        Note("kind", ""),
        Word("."),
    )


def test_what_is_no_item_is_refused():
    with pytest.raises(ValueError, match="is no item of a rule"):
        items("food!!")


@pytest.mark.parametrize("second", ["b!food NOUN", "NOUN", "NOUN a!food=thai"])
def test_bodies_must_say_the_same_in_the_same_order(second):
    with pytest.raises(ValueError, match="differ in nonterminals or attributes"):
        rule("S", 1, "NOUN a!food", second)


def test_words_agree_with_the_number_remembered():
    assert Word("serve", agrees=True).word_class(Memory(number="pl")) == "serve.pl"


def test_an_attribute_is_not_said_twice():
    said = Memory(said=PLAIN.bit("food"))
    assert rule("S", 1, "a!food", "a!food").applies(PLAIN, Memory())
    assert not rule("S", 1, "a!food", "a!food").applies(PLAIN, said)


def test_a_dead_end_is_refused():
    grammar = Grammar((rule("TEXT", 1, "a!food TEXT", "a!food TEXT"),), {"a": word_class("x")}, PLAIN)
    with pytest.raises(ValueError, match="dead end: no rule for TEXT"):
        expand(grammar)


@pytest.mark.parametrize(
    ("head", "said", "expected"),
    [
        ("MORE1", 0b11, {"NEXT MORE2": 1}),
        ("MORE1", 0b111, {"": 0.45, "NEXT MORE2": 0.55}),
        ("MORE1", 0b111111, {"": 1}),
        ("TAIL", 0b11, {"": 0.6, "and ATOM0": 0.4}),
        ("PRED1", 0b11111, {"ATOM1": 1}),
        ("OWNER1", 0, {"": 0.6, "that the owner.sg!owner own.sg": 0.2, "that the owner.pl!owner own.pl": 0.2}),
    ],
)
def test_rules_that_apply_are_chosen_in_proportion_to_their_weights(small, head, said, expected):
    chosen = {rule.first: share for share, rule in small.first.choices(head, Memory(said=said))}
    assert chosen == pytest.approx({items(text): share for text, share in expected.items()})


def test_values_are_chosen_by_their_law_given_what_was_said(small):
    """After a bad review: 0.38 of 0.53 are cheap, and the dear 0.15 are split between two prices."""
    chosen = small.first.choices("COSTnom", Memory(said=small.first.law.bit("rating"), rating="bad"))
    assert {rule.draws[0][1]: share for share, rule in chosen} == pytest.approx(
        {"low": 0.38 / 0.53, "fair": 0.075 / 0.53, "high": 0.075 / 0.53}
    )
