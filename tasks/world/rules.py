"""Rules of a synchronous probabilistic grammar, as plain data.

A rule has one body in either language. Bodies are written in a small notation, items separated by spaces:

    PRED            a nonterminal (capitals)
    serve           a word of the class `serve`
    serve*          a word of `serve.sg` or `serve.pl`, agreeing with the number remembered
    food!food       a word of the class `food`, which says the attribute `food`; the word decides the value
    refuse*!family=no   a word that says `family` with a fixed value
    #sg             no word: the subject is singular from here on
    -kind           no word: the kind is forgotten
    +place          no word: from here on the text speaks of the next place

Both bodies hold the same nonterminals, and say the same attributes, in the same order; words move freely between them. So the
memory runs through both in the same way, and one derivation is a text in either language.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from tasks.world.meaning import Law, Memory, attribute_of

_ITEM = re.compile(r"(?P<word>[^\s!*#]+)(?P<agrees>\*)?(?:!(?P<says>[a-z]+)(?:=(?P<value>[a-z]+))?)?")


@dataclass(frozen=True, slots=True)
class Sub:
    """A nonterminal in a body."""

    name: str


@dataclass(frozen=True, slots=True)
class Note:
    """No word: sets a field of the memory."""

    field: str
    value: str

    def after(self, memory: Memory) -> Memory:
        """The memory after the note."""
        return memory.noted(self.field, self.value)


@dataclass(frozen=True, slots=True)
class Turn:
    """No word: the text turns to the next place."""

    def after(self, memory: Memory) -> Memory:
        """The memory after the turn."""
        return memory.turned()


@dataclass(frozen=True, slots=True)
class Word:
    """A word in a body.

    Attributes:
        group: word class, without its number where it agrees.
        agrees: whether the number remembered is appended to the class.
        says: attribute said by this word, or "".
        value: value said; "" where the word decides.
    """

    group: str
    agrees: bool = False
    says: str = ""
    value: str = ""

    def word_class(self, memory: Memory) -> str:
        """The class that the word is drawn from."""
        return f"{self.group}.{memory.number}" if self.agrees else self.group

    def attribute(self, memory: Memory) -> str:
        """The attribute said, of the place spoken of; "" where none is."""
        return self.says and attribute_of(self.says, memory.place)


Item = Sub | Note | Turn | Word


def items(text: str) -> tuple[Item, ...]:
    """Read the notation of the module's docstring.

    Raises:
        ValueError: an item that the notation does not know.
    """
    return tuple(_item(part) for part in text.split())


def _item(part: str) -> Item:
    if part.startswith("#"):
        return Note("number", part[1:])
    if part == "+place":
        return Turn()
    if part.startswith("-"):
        return Note(part[1:], "")
    if part[0].isupper():
        return Sub(part)
    match = _ITEM.fullmatch(part)
    if match is None:
        raise ValueError(f"{part!r} is no item of a rule; write `class*!attribute=value`, a NONTERMINAL, #number or -field")
    return Word(match["word"], bool(match["agrees"]), match["says"] or "", match["value"] or "")


@dataclass(frozen=True, slots=True)
class Rule:
    """One way to rewrite a nonterminal.

    Attributes:
        head: the nonterminal.
        weight: weight among the rules of the head that are applicable.
        first, second: bodies in the two languages.
        draws: (attribute, value) pairs whose conditional probability multiplies the weight.
        unsaid: attributes that must not have been said; those said in the body are added.
        when: (field of the memory, value) pairs that must hold.
        free: how many open attributes must be unsaid.
        said: how many open attributes must have been said.
    """

    head: str
    weight: float
    first: tuple[Item, ...]
    second: tuple[Item, ...]
    draws: tuple[tuple[str, str], ...] = ()
    unsaid: tuple[str, ...] = ()
    when: tuple[tuple[str, str], ...] = ()
    free: int = 0
    said: int = 0

    def applies(self, law: Law, memory: Memory) -> bool:
        """Whether the memory allows the rule."""
        count = memory.said.bit_count()
        return (
            count >= self.said
            and len(law.open) - count >= self.free
            and not any(memory.said & law.bit(attribute) for attribute in self.unsaid)
            and all(getattr(memory, name) == value for name, value in self.when)
        )

    def weight_in(self, law: Law, memory: Memory) -> float:
        """Weight of the rule where it applies."""
        weight = self.weight
        for attribute, value in self.draws:
            weight *= law.conditional(attribute, value, memory)
        return weight


def rule(
    head: str,
    weight: float,
    first: str,
    second: str,
    *,
    draws: Iterable[tuple[str, str]] = (),
    unsaid: Iterable[str] = (),
    when: Iterable[tuple[str, str]] = (),
    free: int = 0,
    said: int = 0,
) -> Rule:
    """A rule from its notation.

    Raises:
        ValueError: the two bodies do not hold the same nonterminals and say the same attributes in the same order.
    """
    bodies = items(first), items(second)
    if _skeleton(bodies[0]) != _skeleton(bodies[1]):
        raise ValueError(
            f"the bodies of {head} -> {first!r} / {second!r} differ in nonterminals or attributes, or in their order"
        )
    spoken = [item.says for item in bodies[0] if isinstance(item, Word) and item.says]
    return Rule(head, weight, *bodies, tuple(draws), tuple(dict.fromkeys([*unsaid, *spoken])), tuple(when), free, said)


def _skeleton(body: tuple[Item, ...]) -> list[object]:
    return [
        (item.says, item.value) if isinstance(item, Word) else item
        for item in body
        if not (isinstance(item, Word) and not item.says)
    ]


@dataclass(frozen=True, slots=True)
class WordClass:
    """Words that may stand for one another.

    Attributes:
        words: the words; no word is in two classes of a language.
        probabilities: their probabilities, wherever the class is used.
        values: the attribute value that each word says, where it says one.
        tag: part of speech.
    """

    words: tuple[str, ...]
    probabilities: tuple[float, ...]
    values: tuple[str, ...]
    tag: str

    @property
    def shares(self) -> Iterator[tuple[float, str]]:
        """(probability, value) of every word."""
        return zip(self.probabilities, self.values, strict=True)


Lexicon = Mapping[str, WordClass]


@dataclass(frozen=True)
class Grammar:
    """The rules of one language.

    Attributes:
        rules: all rules; their bodies in this language are found by `body`.
        lexicon: word classes of this language.
        law: distribution of attribute values.
        language: "first" or "second".
        start: the start symbol.
    """

    rules: tuple[Rule, ...]
    lexicon: Lexicon
    law: Law
    language: str = "first"
    start: str = "TEXT"
    _known: dict[tuple[str, Memory], list[tuple[float, Rule]]] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def by_head(self) -> dict[str, list[Rule]]:
        """Rules by the nonterminal that they rewrite."""
        heads: dict[str, list[Rule]] = defaultdict(list)
        for item in self.rules:
            heads[item.head].append(item)
        return dict(heads)

    def body(self, item: Rule) -> tuple[Item, ...]:
        """The body of a rule in this language."""
        return item.first if self.language == "first" else item.second

    def choices(self, head: str, memory: Memory) -> list[tuple[float, Rule]]:
        """Rules that apply, with their probabilities.

        Raises:
            ValueError: none applies: the grammar has a dead end.
        """
        key = (head, memory)
        if key not in self._known:
            weighted = [(item.weight_in(self.law, memory), item) for item in self.by_head[head] if item.applies(self.law, memory)]
            total = sum(weight for weight, _ in weighted)
            if total <= 0:
                raise ValueError(f"the grammar has a dead end: no rule for {head} applies in {memory}")
            self._known[key] = [(weight / total, item) for weight, item in weighted if weight > 0]
        return self._known[key]
