"""Translation by the synchronous grammar: one derivation, read in the other language."""

from collections.abc import Iterator, Mapping

from tasks.world.chart import Leaf, Node
from tasks.world.rules import Grammar, Note, Sub, Turn, Word

TRANSLATION_VERSION = 2
"""Raised whenever a text gets another translation under the same rules; in the digest of translation alone."""


def translate(node: Node, source: Grammar, target: Grammar) -> str:
    """The text of a derivation in another language of the same rules.

    Where two words of the source's class are synonyms, the target takes the synonym of the same rank, so that the translation
    is a function of the text.
    """
    return " ".join(_words(node, source, target))


def _words(node: Node, source: Grammar, target: Grammar) -> Iterator[str]:
    items = [item for item in source.body(node.rule) if not isinstance(item, Note | Turn)]
    children = [part for part in node.parts if isinstance(part, Node)]
    ranks = {
        item.group: part.index
        for item, part in zip(items, node.parts, strict=True)
        if isinstance(item, Word) and isinstance(part, Leaf)
    }
    memory = node.before
    for item in target.body(node.rule):
        if isinstance(item, Sub):
            child = children.pop(0)
            yield from _words(child, source, target)
            memory = child.after
        elif isinstance(item, Note | Turn):
            memory = item.after(memory)
        else:
            words = target.lexicon[item.word_class(memory)].words
            yield words[_rank(item, ranks) if len(words) > 1 else 0]


def _rank(word: Word, ranks: Mapping[str, int]) -> int:
    """Rank of the source's word: the class of the target is that of the source, or has gender, case or number after it."""
    return next(rank for group, rank in ranks.items() if f"{word.group}.".startswith(f"{group}."))
