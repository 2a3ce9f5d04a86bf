"""A chart parser on the uncompiled rules: the independent check of the automaton, and the source of trees and translations.

Top-down with a chart: all ways to read a nonterminal from a position with a memory are found once. It shares with the
compiler the rules and nothing else.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tasks.world.meaning import Memory
from tasks.world.rules import Grammar, Item, Note, Rule, Sub, Turn, Word


@dataclass(frozen=True, slots=True)
class Leaf:
    """A word of a derivation.

    Attributes:
        word_class, index: its class, and which word of the class.
        text: the word.
        attribute, value: what it says; "" where it says nothing.
    """

    word_class: str
    index: int
    text: str
    attribute: str
    value: str


@dataclass(frozen=True, slots=True)
class Node:
    """A nonterminal of a derivation: the rule applied, its parts in the order of the body, the memory before and after."""

    rule: Rule
    parts: tuple["Node | Leaf", ...]
    before: Memory
    after: Memory


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read a part of a text.

    Attributes:
        end: position after the part.
        memory: memory after the part.
        probability: of the part, given the memory before it.
        parts: nodes and leaves.
    """

    end: int
    memory: Memory
    probability: float
    parts: tuple[Node | Leaf, ...]


@dataclass
class Chart:
    """The chart of one text."""

    grammar: Grammar
    tokens: Sequence[str]
    places: dict[str, tuple[str, int]]
    corners: dict[int, frozenset[str]]
    table: dict[tuple[str, int, Memory], list[Reading]] = field(default_factory=dict)

    def read(self, head: str, start: int, memory: Memory) -> list[Reading]:
        """All readings of a nonterminal."""
        key = (head, start, memory)
        if key not in self.table:
            self.table[key] = [
                Reading(part.end, part.memory, part.probability * share, (Node(rule, part.parts, memory, part.memory),))
                for share, rule in self.grammar.choices(head, memory)
                if self.may_begin(rule, start)
                for part in self.read_body(self.grammar.body(rule), start, memory)
            ]
        return self.table[key]

    def may_begin(self, rule: Rule, start: int) -> bool:
        """Whether the next word can be the first of a rule, or the rule can be without words."""
        first = self.corners[id(rule)]
        return "" in first or (start < len(self.tokens) and self.places.get(self.tokens[start], ("", 0))[0] in first)

    def read_body(self, body: tuple[Item, ...], start: int, memory: Memory) -> list[Reading]:
        """All readings of a sequence of items."""
        found = [Reading(start, memory, 1.0, ())]
        for item in body:
            found = [
                Reading(part.end, part.memory, before.probability * part.probability, before.parts + part.parts)
                for before in found
                for part in self.read_item(item, before.end, before.memory)
            ]
        return found

    def read_item(self, item: Item, start: int, memory: Memory) -> Sequence[Reading]:
        """All readings of one item."""
        if isinstance(item, Sub):
            return self.read(item.name, start, memory)
        if isinstance(item, Note | Turn):
            return (Reading(start, item.after(memory), 1.0, ()),)
        return tuple(self.read_word(item, start, memory))

    def read_word(self, item: Word, start: int, memory: Memory) -> Iterator[Reading]:
        """The reading of a word, if it is there."""
        name = item.word_class(memory)
        if start == len(self.tokens) or self.places.get(self.tokens[start], ("", 0))[0] != name:
            return
        index = self.places[self.tokens[start]][1]
        after = self.grammar.law.remember(memory, item.says, item.value) if item.says else memory
        group = self.grammar.lexicon[name]
        value = item.value or (group.values[index] if item.says else "")
        leaf = Leaf(name, index, self.tokens[start], item.attribute(memory), value)
        yield Reading(start + 1, after, group.probabilities[index], (leaf,))


def left_corners(grammar: Grammar) -> dict[int, frozenset[str]]:
    """For each rule, by identity: word classes that it can begin with, whatever the memory; "" where it can be without words."""
    known: dict[int, frozenset[str]] = {}

    def of(rule: Rule) -> frozenset[str]:
        if id(rule) not in known:
            known[id(rule)] = frozenset(_first(grammar.body(rule)))
        return known[id(rule)]

    def _first(body: tuple[Item, ...]) -> Iterator[str]:
        for item in body:
            if isinstance(item, Word):
                yield from (f"{item.group}.sg", f"{item.group}.pl") if item.agrees else (item.group,)
                return
            if isinstance(item, Sub):
                first = frozenset[str]().union(*map(of, grammar.by_head[item.name]))
                yield from first - {""}
                if "" not in first:
                    return
        yield ""

    for rule in grammar.rules:
        of(rule)
    return known


class Parser:
    """Parses texts of one language."""

    def __init__(self, grammar: Grammar) -> None:
        self.grammar, self.corners = grammar, left_corners(grammar)
        self.places = {word: (name, index) for name, group in grammar.lexicon.items() for index, word in enumerate(group.words)}

    def derivations(self, text: str) -> list[tuple[float, Node]]:
        """All derivations of a text with their probabilities, before conditioning on the canvas."""
        tokens = text.split()
        readings = Chart(self.grammar, tokens, self.places, self.corners).read(self.grammar.start, 0, Memory())
        return [
            (part.probability, part.parts[0]) for part in readings if part.end == len(tokens) and isinstance(part.parts[0], Node)
        ]

    def probability(self, text: str) -> float:
        """Probability of a text under the unconditioned grammar: the sum over its derivations."""
        return sum(probability for probability, _ in self.derivations(text))

    def tree(self, text: str) -> Node | None:
        """The derivation of a text; `None` where it has none."""
        found = self.derivations(text)
        return found[0][1] if found else None


def meaning_of(node: Node) -> dict[str, str]:
    """What a derivation says."""
    return {leaf.attribute: leaf.value for leaf in leaves(node) if leaf.attribute}


def leaves(node: Node) -> Iterator[Leaf]:
    """The words of a derivation from left to right."""
    for part in node.parts:
        if isinstance(part, Node):
            yield from leaves(part)
        else:
            yield part


def rules_used(node: Node) -> set[Rule]:
    """Rules that a derivation applies."""
    used = {node.rule}
    for part in node.parts:
        if isinstance(part, Node):
            used |= rules_used(part)
    return used


def bracketed(node: Node, grammar: Grammar) -> str:
    """The tree without its words: nonterminals and parts of speech."""
    parts = [
        bracketed(part, grammar) if isinstance(part, Node) else f"({grammar.lexicon[part.word_class].tag})" for part in node.parts
    ]
    return f"({node.rule.head}{''.join(' ' + part for part in parts if part)})" if parts else ""


def spans(node: Node, *, start: int = 0) -> tuple[tuple[int, int, str], ...]:
    """Constituents as (first word, last word, nonterminal), outermost first; those without words are left out."""
    found: list[tuple[int, int, str]] = []
    position = start
    for part in node.parts:
        inner = spans(part, start=position) if isinstance(part, Node) else ()
        found.extend(inner)
        position += width(part)
    return ((start, position - 1, node.rule.head), *found) if position > start else ()


def width(part: Node | Leaf) -> int:
    """Number of words."""
    return sum(width(inner) for inner in part.parts) if isinstance(part, Node) else 1
