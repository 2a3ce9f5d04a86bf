"""What is wrong with a text that is not in the language, found by walking the automaton and repairing on the way."""

from collections import Counter
from collections.abc import Iterator, Sequence

from tasks.world.automaton import Automaton
from tasks.world.meaning import plain

VERBS = ("be", "serve", "charge", "lie", "stand", "receive", "welcome", "refuse", "own", "dislike")
SUBJECTS = ("name", "it", "kind", "owner", "foe", "kitchen", "prices", "reviews")
PAIRS = ("and", "but", "also", "nor")
INTRODUCES = {
    "serve": "food", "food": "food", "kitchen": "food", "charge": "price", "price": "price", "cost": "price", "prices": "price",
    "receive": "rating", "rating": "rating", "reviews": "rating", "stand": "near", "beside": "near", "near": "near",
    "welcome": "family", "refuse": "family", "kind": "kind", "in": "area", "area": "area", "lie": "area",
}  # fmt: skip
KINDS = ("verb_adjacent", "verb_distant", "pronoun", "determiner", "noun", "pairing", "repetition", "ending", "other")


def errors(automaton: Automaton, text: str) -> Counter[str]:
    """Errors of a text by kind, from left to right; a text of the language has none.

    A word with the wrong number is replaced by its counterpart and the walk goes on. The first error that no counterpart repairs
    ends it: a pair left open, an attribute said again, a text that stops in the middle or is too long, or anything else. A verb
    is adjacent where the word before it is its subject.
    """
    tokens = text.split()
    state, found, said = 0, Counter[str](), set[str]()
    for position, token in enumerate(tokens):
        arc = automaton.step(state, token)
        if arc is None:
            arc = next(
                (repaired for word in counterparts(automaton, token) if (repaired := automaton.step(state, word)) is not None),
                None,
            )
            found[_kind(automaton, tokens, position, state, arc, said)] += 1
        if arc is None:
            return found
        attribute = plain(automaton.says[arc][0])
        said = {attribute} if attribute == "name" else said | {attribute}
        state = int(automaton.target[arc])
    if not automaton.final[state] or len(tokens) >= automaton.canvas:
        found["ending"] += 1
    return found


def counterparts(automaton: Automaton, token: str) -> Iterator[str]:
    """The same word in the other number; for a kind of place, every other form of every kind."""
    name, rank = automaton.place(token)
    base, _, number = name.rpartition(".")
    other = {"sg": "pl", "pl": "sg"}.get(number)
    if other and f"{base}.{other}" in automaton.lexicon and base not in ("name", "owner", "foe"):
        yield automaton.lexicon[f"{base}.{other}"].words[rank]
    if name.startswith("kind."):
        yield from (word for group in automaton.classes if group.startswith("kind.") for word in automaton.lexicon[group].words)


def _kind(automaton: Automaton, tokens: Sequence[str], position: int, state: int, arc: int | None, said: set[str]) -> str:
    base = _base(automaton, tokens[position])
    if arc is None:
        expected = automaton.expected(state)
        if expected and all(name in PAIRS for name in expected):
            return "pairing"
        return "repetition" if INTRODUCES.get(base, "-") in said else "other"
    if base in VERBS:
        adjacent = position > 0 and _base(automaton, tokens[position - 1]) in SUBJECTS
        return "verb_adjacent" if adjacent else "verb_distant"
    return {"it": "pronoun", "its": "pronoun", "this": "determiner", "kind": "noun"}.get(base, "other")


def _base(automaton: Automaton, token: str) -> str:
    name, _ = automaton.place(token)
    return name if name in ".," else name.split(".")[0]
