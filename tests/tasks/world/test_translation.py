import math

import numpy as np
import pytest

from tasks.world.draws import draw
from tasks.world.language import language
from tasks.world.meaning import ordered


def test_a_translation_keeps_the_meaning(small, small_texts):
    for text in small_texts[:150]:
        translated = small.translation(text)
        assert small.second_automaton.meaning(translated) == small.automaton.meaning(text)
        assert len(translated.split()) <= len(text.split())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["medium", "large"])
def test_parser_automaton_and_translation_agree_on_the_long_sizes(name):
    found = language(name)
    for text in draw(found.automaton, 100, np.random.default_rng(0)):
        meaning = found.automaton.meaning(text)
        probability = found.parser.probability(text) / found.automaton.normaliser
        assert math.log(probability) == pytest.approx(found.automaton.log_probability(text.split()))
        assert found.second_automaton.meaning(found.translation(text)) == meaning
        assert ordered(meaning)[0][0] == "name"


def test_different_texts_have_different_translations(tiny, tiny_law, small, small_texts):
    for spoken, texts in ((tiny, list(tiny_law)[::9]), (small, set(small_texts[:500]))):
        assert len({spoken.translation(text) for text in texts}) == len(texts)


def test_a_translation_is_as_probable_as_its_source(tiny, tiny_law, small, small_texts):
    for spoken, texts in ((tiny, list(tiny_law)[::97]), (small, small_texts[:500])):
        for text in texts:
            there = spoken.second_parser.probability(spoken.translation(text))
            assert there == pytest.approx(spoken.parser.probability(text), rel=1e-9, abs=0)


def test_each_word_of_neither_nor_is_translated_by_itself(small):
    rest = ". it serves thai food . it stands near the mill ."
    pairs = {
        tuple(small.translation(f"the crown is neither {low} nor {high} {rest}").split()[2:5:2])
        for low in ("cheap", "frugal")
        for high in ("costly", "lavish")
    }
    assert len(pairs) == 4
    assert [len(set(words)) for words in zip(*pairs, strict=True)] == [2, 2]


def test_the_languages_share_punctuation_alone(small):
    assert set(small.automaton.words) & set(small.second_automaton.words) == {".", ","}


def test_verbs_stand_last_and_agree(small):
    text = "the barrels , which are bistros , serve thai food ."
    one, other = small.translation(text + " they stand near the mill .").split(" . ")[0].split(), None
    other = small.translation(text.replace("barrels", "crown").replace("are bistros", "is a bistro").replace("serve", "serves")
                              + " it stands near the mill .").split(" . ")[0].split()  # fmt: skip
    assert one[-1] == other[-1] + "i"
    assert one[-3:-1] == other[-3:-1]


def test_adjectives_agree_in_gender(small):
    genders = {
        small.translation(f"the crown is a cheap {kind} and serves thai food . it stands near the mill .").split()[1][-2]
        for kind in ("tavern", "bistro", "lodge")
    }
    assert genders == {"a", "o", "u"}
