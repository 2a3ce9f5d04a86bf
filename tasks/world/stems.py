"""Invented words: pronounceable, deterministic, never equal to one another."""

CONSONANTS, VOWELS = "bdfgklmnprstvz", "aeiou"
LETTERS = (CONSONANTS, VOWELS, CONSONANTS, VOWELS, CONSONANTS)
STEMS = len(CONSONANTS) ** 3 * len(VOWELS) ** 2
STRIDE = 27143


def stem(number: int) -> str:
    """The stem with a number: consonant, vowel, consonant, vowel, consonant.

    Neighbouring numbers give unlike stems, and different numbers different stems: the stride has no factor in common with
    their count.

    Raises:
        ValueError: a number outside [0, STEMS).
    """
    if not 0 <= number < STEMS:
        raise ValueError(f"stem number {number} is outside [0, {STEMS}); use fewer words")
    rest, letters = number * STRIDE % STEMS, []
    for alphabet in LETTERS:
        rest, place = divmod(rest, len(alphabet))
        letters.append(alphabet[place])
    return "".join(letters)
