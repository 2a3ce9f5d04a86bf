"""A size of the generated language, compiled: both languages, their parsers, and translation between them."""

import hashlib
import json
from dataclasses import dataclass
from functools import cache, cached_property

from tasks.world.automaton import Automaton
from tasks.world.cache import cached_tables
from tasks.world.chart import Node, Parser
from tasks.world.constructions import all_rules
from tasks.world.expansion import RawAutomaton, expand
from tasks.world.laws import attribute_law
from tasks.world.lexicon import first_lexicon, law
from tasks.world.reduction import determinise, minimise
from tasks.world.rules import Grammar
from tasks.world.second import second_lexicon
from tasks.world.sizes import Size, size_named
from tasks.world.translation import translate

FORMAT = 1
"""Raised whenever compilation changes a table that it makes from the same rules."""


@dataclass(frozen=True)
class Language:
    """One size of the language.

    Attributes:
        size: its parameters.
    """

    size: Size

    @cached_property
    def first(self) -> Grammar:
        """The grammar of the first language."""
        return Grammar(all_rules(self.size), first_lexicon(self.size), law(self.size), "first")

    @cached_property
    def second(self) -> Grammar:
        """The grammar of the second language: the same rules with their other bodies."""
        return Grammar(self.first.rules, second_lexicon(self.size, self.first.lexicon), self.first.law, "second")

    @cached_property
    def automaton(self) -> Automaton:
        """The first language, compiled."""
        return compiled(self.first, self.size.canvas)

    @cached_property
    def second_automaton(self) -> Automaton:
        """The second language, compiled."""
        return compiled(self.second, self.size.canvas)

    @cached_property
    def parser(self) -> Parser:
        """Chart parser of the first language."""
        return Parser(self.first)

    @cached_property
    def second_parser(self) -> Parser:
        """Chart parser of the second language."""
        return Parser(self.second)

    @cached_property
    def attribute_law(self) -> dict[str, dict[str, float]]:
        """Exact probability of every attribute value in the first language."""
        return attribute_law(self.automaton)

    def tree(self, text: str) -> Node:
        """The derivation of a text of the first language.

        Raises:
            ValueError: the text is not in the language.
        """
        found = self.parser.tree(text)
        if found is None:
            raise ValueError(f"{text!r} is no text of world {self.size.name}")
        return found

    def translation(self, text: str) -> str:
        """A text of the first language in the second.

        Raises:
            ValueError: the text is not in the language.
        """
        return translate(self.tree(text), self.first, self.second)


def reduced(grammar: Grammar) -> RawAutomaton:
    """The minimal deterministic automaton of a grammar."""
    return minimise(determinise(expand(grammar)))


def digest_of(grammar: Grammar) -> str:
    """sha256 of all that decides the tables of a grammar."""
    rules = repr(grammar.rules), repr(sorted(grammar.lexicon.items())), repr(grammar.law), grammar.language
    return hashlib.sha256(json.dumps([FORMAT, *rules]).encode()).hexdigest()


def compiled(grammar: Grammar, canvas: int) -> Automaton:
    """The automaton of a grammar, from the cache where it is there."""
    labels, tables = cached_tables(digest_of(grammar), lambda: reduced(grammar))
    return Automaton(canvas, labels, tables, grammar.lexicon)


@cache
def language(size: str) -> Language:
    """A shipped size, compiled once in a process.

    Raises:
        ValueError: no size has that name.
    """
    return Language(size_named(size))
