import pytest

from tasks.world.agreement import KINDS, errors

TEXT = (
    "the crown , which stands near the mill , is a tavern and serves thai food . "
    "this tavern charges low prices . it welcomes children ."
)


def test_texts_of_the_language_have_no_errors(small, small_texts):
    assert small.automaton.contains(TEXT)
    assert all(not errors(small.automaton, text) for text in [TEXT, *small_texts[:300]])


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("tavern charges", "tavern charge", "verb_adjacent"),
        (", is a", ", are a", "verb_distant"),
        ("and serves", "and serve", "verb_distant"),
        (". it", ". they", "pronoun"),
        ("this tavern", "these tavern", "determiner"),
        ("this tavern", "this taverns", "noun"),
        ("this tavern", "this lodge", "noun"),
        ("charges low prices", "serves thai food", "repetition"),
        ("it welcomes children .", "it welcomes", "ending"),
        ("low prices", "low food", "other"),
    ],
)
def test_errors_are_named(small, old, new, kind):
    assert errors(small.automaton, TEXT.replace(old, new)) == {kind: 1}
    assert kind in KINDS


def test_a_pair_left_open_is_named(small):
    text = "the crown not only serves thai food but also is a tavern . it charges low prices ."
    assert small.automaton.contains(text)
    assert errors(small.automaton, text.replace("but also", "and")) == {"pairing": 1}


def test_several_repairable_errors_are_counted(small):
    found = errors(small.automaton, TEXT.replace(". it", ". they").replace("tavern charges", "tavern charge"))
    assert found == {"verb_adjacent": 1, "pronoun": 1}


def test_unknown_words_and_emptiness(small):
    assert errors(small.automaton, "zebra") == {"other": 1}
    assert errors(small.automaton, "") == {"ending": 1}
