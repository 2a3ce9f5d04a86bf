"""From rules to a weighted automaton over word classes, before any reduction; and the proof that no text has two derivations.

A state is what is left to rewrite (a stack of items) together with the memory. Nesting is bounded, so there are finitely many
states and no cycle. Every derivation of a text is one path, so two derivations of a text are two paths with the same classes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from tasks.world.meaning import Memory
from tasks.world.rules import Grammar, Item, Note, Rule, Sub, Turn, Word

Label = tuple[str, str, str]
"""Word class, attribute said (or ""), fixed value (or "" where the word decides)."""


@dataclass(frozen=True, slots=True)
class Arc:
    """One word of one derivation: label, next state, probability."""

    label: Label
    target: int
    weight: float


@dataclass
class RawAutomaton:
    """Paths are derivations. State 0 is the start.

    Attributes:
        arcs: arcs leaving each state.
        final: probability of ending in each state.
        endings: number of derivations that end in each state without another word.
    """

    arcs: list[list[Arc]] = field(default_factory=list)
    final: list[float] = field(default_factory=list)
    endings: list[int] = field(default_factory=list)


@dataclass
class _Expansion:
    grammar: Grammar
    stacks: dict[tuple[Item, int], int] = field(default_factory=dict)
    nodes: list[tuple[Item, int]] = field(default_factory=list)
    rewritten: dict[tuple[int, int], int] = field(default_factory=dict)
    states: dict[tuple[int, Memory], int] = field(default_factory=dict)
    queue: list[tuple[int, Memory]] = field(default_factory=list)

    def push(self, body: tuple[Item, ...], below: int) -> int:
        """The stack with a body on top of another stack; stacks are numbered from 0, the empty one is -1."""
        for item in reversed(body):
            node = (item, below)
            if node not in self.stacks:
                self.stacks[node] = len(self.nodes)
                self.nodes.append(node)
            below = self.stacks[node]
        return below

    def rewrite(self, rule: Rule, below: int) -> int:
        """The stack with the body of a rule on top."""
        key = (id(rule), below)
        if key not in self.rewritten:
            self.rewritten[key] = self.push(self.grammar.body(rule), below)
        return self.rewritten[key]

    def state(self, stack: int, memory: Memory) -> int:
        """Number of a state, new or known."""
        key = (stack, memory)
        if key not in self.states:
            self.states[key] = len(self.states)
            self.queue.append(key)
        return self.states[key]

    def steps(self, stack: int, memory: Memory, weight: float) -> Iterator[tuple[Label | None, int, float]]:
        """All ways to the next word or, with the label `None`, to the end."""
        if stack < 0:
            yield None, -1, weight
            return
        item, below = self.nodes[stack]
        if isinstance(item, Note | Turn):
            yield from self.steps(below, item.after(memory), weight)
        elif isinstance(item, Sub):
            for share, rule in self.grammar.choices(item.name, memory):
                yield from self.steps(self.rewrite(rule, below), memory, weight * share)
        else:
            label = item.word_class(memory), item.attribute(memory), item.value
            yield label, self.state(below, self.after(item, memory)), weight

    def after(self, word: Word, memory: Memory) -> Memory:
        """The memory after a word."""
        return self.grammar.law.remember(memory, word.says, word.value) if word.says else memory


def expand(grammar: Grammar) -> RawAutomaton:
    """All derivations of a grammar as the paths of an acyclic automaton.

    Raises:
        ValueError: the grammar has a dead end.
    """
    work, raw = _Expansion(grammar), RawAutomaton()
    work.state(work.push((Sub(grammar.start),), -1), Memory())
    while len(raw.arcs) < len(work.queue):
        stack, memory = work.queue[len(raw.arcs)]
        steps = list(work.steps(stack, memory, 1.0))
        ends = [weight for label, _, weight in steps if label is None]
        raw.arcs.append([Arc(label, target, weight) for label, target, weight in steps if label is not None])
        raw.final.append(sum(ends))
        raw.endings.append(len(ends))
    return raw


def ambiguities(raw: RawAutomaton) -> list[tuple[int, int]]:
    """Pairs of different states, or of one state reached by two different arcs, that lie on two equal-looking complete paths.

    The self-product of the automaton: empty exactly when no text has two derivations.
    """
    before, accepting = _self_product(raw)
    useful, todo = set(accepting), list(accepting)
    while todo:
        for pair in before.get(todo.pop(), []):
            if pair not in useful:
                useful.add(pair)
                todo.append(pair)
    return sorted((left, right) for left, right, split in useful if split)


def _self_product(
    raw: RawAutomaton,
) -> tuple[dict[tuple[int, int, bool], list[tuple[int, int, bool]]], list[tuple[int, int, bool]]]:
    """Predecessors of every reachable pair (left, right, whether the two paths have parted), and the accepting pairs."""
    start = (0, 0, False)
    before: dict[tuple[int, int, bool], list[tuple[int, int, bool]]] = {start: []}
    todo, accepting = [start], []
    while todo:
        pair = todo.pop()
        left, right, split = pair
        if raw.endings[left] and raw.endings[right]:
            accepting.append((left, right, split or raw.endings[left] > 1))
        for after in _moves(raw, pair):
            if after not in before:
                before[after] = []
                todo.append(after)
            before[after].append(pair)
    return before, accepting


def _moves(raw: RawAutomaton, pair: tuple[int, int, bool]) -> Iterator[tuple[int, int, bool]]:
    left, right, split = pair
    for index, one in enumerate(raw.arcs[left]):
        for other, two in enumerate(raw.arcs[right]):
            if one.label[0] != two.label[0] or (left == right and not split and other < index):
                continue
            yield one.target, two.target, split or left != right or index != other
