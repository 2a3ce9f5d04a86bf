"""Word classes of the second language: invented stems, case endings, gender and number.

Every class is derived from one of the first language: the same number of words, the same probabilities, the same values. Nouns
end in their case; adjectives, demonstratives and numbers of verbs agree. There are no articles and no prepositions.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tasks.world.lexicon import GENDERS, kinds, prices, ratings
from tasks.world.rules import WordClass
from tasks.world.sizes import Size
from tasks.world.stems import stem

PLAIN_NOUNS = {"name": "on", "owner": "on", "foe": "er"}
CASED_NOUNS = {"area": "isu", "near": "ade", "chef": "uta", "critic": "oko", "season": "imo"}
GENDER_ENDING = {"f": "a", "m": "o", "n": "u"}
NUMBER_ENDING = {"sg": "", "pl": "i"}
VERBS = ("serve", "charge", "lie", "stand", "receive", "welcome", "refuse", "own", "dislike")
FUNCTION_WORDS = {
    "be.sg": "est", "be.pl": "esti", "it.sg": "lo", "it.pl": "loi", "its.sg": "lus", "its.pl": "luis", ".": ".", ",": ",",
    "and": "ke", "both": "dup", "notonly": "nis", "butalso": "sed", "neither": "nek", "which.sg": "kva", "which.pl": "kvai",
    "that": "kel", "whom": "kem", "exist.sg": "jest", "exist.pl": "jesti", "called": "nam", "although": "tam",
    "prices.acc": "pretan", "prices.nom": "preta", "reviews.acc": "kritun", "reviews.nom": "kritu", "child": "punan",
    "kitchen": "kusina",
}  # fmt: skip


@dataclass
class Lemmas:
    """Numbers the stems as they are asked for, so that the same lemma has the same stem in every class.

    Attributes:
        first: word classes of the first language.
    """

    first: Mapping[str, WordClass]
    numbers: dict[tuple[str, int], int] = field(default_factory=dict)

    def inflect(self, source: str, ending: str, *, lemma: str | None = None) -> WordClass:
        """The words of a class of the first language, as stems with an ending.

        Args:
            source: name of the class of the first language.
            ending: inflection.
            lemma: key shared by the forms of one lemma; the class itself where there is one form.
        """
        model, key = self.first[source], lemma or source
        words = [stem(self.numbers.setdefault((key, index), len(self.numbers))) + ending for index in range(len(model.words))]
        return WordClass(tuple(words), model.probabilities, model.values, model.tag)


def gender_of_kind(size: Size, kind: str) -> str:
    """Grammatical gender of a kind of place."""
    return GENDERS[kinds(size).index(kind) % len(GENDERS)]


def second_lexicon(size: Size, first: Mapping[str, WordClass]) -> dict[str, WordClass]:
    """All word classes of the second language that the rules of a size may use, by name."""
    lemmas = Lemmas(first)
    classes = {name: _function_word(word) for name, word in FUNCTION_WORDS.items()}
    for family in (_nouns, _verbs, _foods, _kinds, _prices, _ratings):
        classes |= family(size, lemmas)
    return classes


def _function_word(word: str) -> WordClass:
    return WordClass((word,), (1.0,), ("",), "PUNCT" if word in ".," else "PART")


def _nouns(size: Size, lemmas: Lemmas) -> Iterator[tuple[str, WordClass]]:
    for name, _ in size.counts:
        base, _, number = name.partition(".")
        if base in PLAIN_NOUNS:
            yield name, lemmas.inflect(name, PLAIN_NOUNS[base] + NUMBER_ENDING[number])
        elif base in CASED_NOUNS:
            yield name, lemmas.inflect(name, CASED_NOUNS[base])


def _verbs(size: Size, lemmas: Lemmas) -> Iterator[tuple[str, WordClass]]:
    for verb in VERBS:
        for number, ending in NUMBER_ENDING.items():
            yield f"{verb}.{number}", lemmas.inflect(f"{verb}.{number}", "et" + ending, lemma=verb)


def _foods(size: Size, lemmas: Lemmas) -> Iterator[tuple[str, WordClass]]:
    for gender, ending in GENDER_ENDING.items():
        yield f"food.{gender}", lemmas.inflect("food", ending + "n")
        yield f"noun.{gender}", lemmas.inflect(f"noun.{gender}", ending + "l")


def _kinds(size: Size, lemmas: Lemmas) -> Iterator[tuple[str, WordClass]]:
    for number, mark in NUMBER_ENDING.items():
        for kind in kinds(size):
            ending = GENDER_ENDING[gender_of_kind(size, kind)] + "s" + mark
            yield f"kind.{kind}.{number}", lemmas.inflect(f"kind.{kind}.{number}", ending, lemma=f"kind.{kind}")
        for gender, vowel in GENDER_ENDING.items():
            yield f"this.{gender}.{number}", _function_word("t" + vowel + mark)


def _prices(size: Size, lemmas: Lemmas) -> Iterator[tuple[str, WordClass]]:
    for price in prices(size):
        for gender, vowel in GENDER_ENDING.items():
            for number, mark in NUMBER_ENDING.items():
                yield f"price.{price}.{gender}.{number}", lemmas.inflect(f"price.{price}", vowel + "r" + mark)
        for case in ("nom", "acc"):
            yield f"cost.{price}.{case}", lemmas.inflect(f"cost.{price}", "ava" + "n" * (case == "acc"))


def _ratings(size: Size, lemmas: Lemmas) -> Iterator[tuple[str, WordClass]]:
    for rating in ratings(size):
        for case in ("nom", "acc"):
            yield f"rating.{rating}.{case}", lemmas.inflect(f"rating.{rating}", "uva" + "n" * (case == "acc"))
