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


def test_probabilities_of_the_rules_that_apply_sum_to_one(small):
    for head in small.first.by_head:
        if head not in ("LAST", "NEXT", "MORE1"):
            continue
        for number in ("sg", "pl"):
            choices = small.first.choices(head, Memory(said=3, number=number, kind="tavern"))
            assert sum(share for share, _ in choices) == pytest.approx(1)
