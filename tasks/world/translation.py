"""Translation by the synchronous grammar: one derivation, read in the other language."""

from collections.abc import Iterator

from tasks.world.chart import Leaf, Node
from tasks.world.rules import Grammar, Note, Sub, Turn, Word


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
        item.group.split(".")[0]: part.index
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
            yield words[ranks[item.group.split(".")[0]] if len(words) > 1 else 0]
