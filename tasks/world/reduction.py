"""Determinisation and minimisation of an acyclic weighted automaton.

Residual weights of a subset are normalised to sum to one. Since every state of the raw automaton has total probability one,
so has every state of the result: arcs and end of a state are a probability distribution, which is what pushing the weights
would give (Mohri 2009, "Weighted Automata Algorithms", sections 5 and 6).
"""

from collections import defaultdict
from dataclasses import dataclass, field

from tasks.world.expansion import Arc, Label, RawAutomaton

DIGITS = 12
Subset = tuple[tuple[int, float], ...]


def determinise(raw: RawAutomaton) -> RawAutomaton:
    """The same law of texts with at most one arc per word class in each state.

    Raises:
        ValueError: after equal beginnings one word would say two different attributes, so that meanings could not be read off
            while walking.
    """
    known: dict[Subset, int] = {((0, 1.0),): 0}
    queue: list[Subset] = list(known)
    result = RawAutomaton()
    for subset in queue:
        result.final.append(sum(share * raw.final[state] for state, share in subset))
        result.arcs.append([])
        for label, members in _by_label(raw, subset).items():
            weight = sum(members.values())
            after = tuple(sorted((state, round(share / weight, DIGITS)) for state, share in members.items()))
            if after not in known:
                known[after] = len(known)
                queue.append(after)
            result.arcs[-1].append(Arc(label, known[after], weight))
    return result


def _by_label(raw: RawAutomaton, subset: Subset) -> dict[Label, dict[int, float]]:
    members: dict[Label, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for state, share in subset:
        for arc in raw.arcs[state]:
            members[arc.label][arc.target] += share * arc.weight
    if len({label[0] for label in members}) < len(members):
        raise ValueError(f"one of the classes {sorted(label[0] for label in members)} says two things after the same words")
    return members


@dataclass
class _Classes:
    """States that behave alike, found from the ends backwards."""

    source: RawAutomaton
    result: RawAutomaton = field(default_factory=RawAutomaton)
    known: dict[tuple[object, ...], int] = field(default_factory=dict)

    def add(self, state: int, merged: list[int]) -> int:
        arcs = sorted((arc.label, merged[arc.target], round(arc.weight, DIGITS)) for arc in self.source.arcs[state])
        key = (round(self.source.final[state], DIGITS), tuple(arcs))
        if key not in self.known:
            self.known[key] = len(self.result.arcs)
            self.result.arcs.append([Arc(arc.label, merged[arc.target], arc.weight) for arc in self.source.arcs[state]])
            self.result.final.append(self.source.final[state])
        return self.known[key]


def minimise(source: RawAutomaton) -> RawAutomaton:
    """The smallest deterministic automaton with the same law; states are in topological order, the start is 0."""
    merged, classes = [-1] * len(source.arcs), _Classes(source)
    for state in _ends_first(source):
        merged[state] = classes.add(state, merged)
    last = len(classes.result.arcs) - 1
    assert merged[0] == last
    arcs = [[Arc(arc.label, last - arc.target, arc.weight) for arc in row] for row in reversed(classes.result.arcs)]
    return RawAutomaton(arcs, classes.result.final[::-1])


def _ends_first(source: RawAutomaton) -> list[int]:
    """States, each after all that it leads to."""
    order: list[int] = []
    seen = [False] * len(source.arcs)
    stack: list[tuple[int, int]] = [(0, 0)]
    while stack:
        state, index = stack.pop()
        seen[state] = True
        if index == len(source.arcs[state]):
            order.append(state)
            continue
        stack.append((state, index + 1))
        target = source.arcs[state][index].target
        if not seen[target]:
            stack.append((target, 0))
    return order
