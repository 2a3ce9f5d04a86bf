"""Repeats the training target whose condition is most like the one given, with attribute values filled in."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from baselines.floors.floor import Floor, trained
from harness.contracts import Budget, Content, Example, FitContext, FitReport, Request, Sampling
from harness.design import Design

Slot = tuple[str, int]
_Memory = tuple[tuple[tuple[str, str], ...] | None, str, str]


class Template(Floor):
    """Nearest neighbour in the training split.

    Content: the example that, once its verbatim values are replaced by those asked for, says most of what was asked and
    least of what was not. Anything else: the example whose condition is nearest by the cosine of tf-idf word vectors.
    Ties go to the earliest example. Decoding settings mean nothing to it: all candidates are the same text.
    """

    design = Design(
        name="template", kind="floor", families=("a2t", "t2t"), predicts="nothing", conditioning="nearest neighbour",
        loss_mask="none", length="that of the neighbour",
    )  # fmt: skip
    _memory: list[_Memory] | None = None

    def fit(self, train: Sequence[Example], valid: Sequence[Example], budget: Budget, run: FitContext) -> FitReport:
        """Remember every example."""
        self._memory = [(_attributes(example.control), example.condition or "", example.target) for example in train]
        self._forget_indexes()
        return FitReport(tokens=len(train) * self.task.max_tokens, parameters=0)

    def answer(self, request: Request, candidate: int, settings: Sampling) -> tuple[str, tuple[int, ...]]:
        """The neighbour's target, filled.

        Raises:
            ModelError: not fitted.
        """
        memory, wanted = trained(self._memory, self.design), _attributes(request.control)
        if wanted is None:
            return self.cut(memory[self._by_words.nearest(request.condition or "")][2], request)
        known, _, target = memory[self._by_attributes.nearest(slots(wanted))]
        return self.cut(filled(target, slots(known or ()), slots(wanted)), request)

    @cached_property
    def _by_words(self) -> "WordIndex":
        return WordIndex([condition for _, condition, _ in trained(self._memory, self.design)])

    @cached_property
    def _by_attributes(self) -> "AttributeIndex":
        memory = trained(self._memory, self.design)
        return AttributeIndex([slots(known or ()) for known, _, _ in memory], [target for *_, target in memory])

    def _forget_indexes(self) -> None:
        for name in ("_by_words", "_by_attributes"):
            self.__dict__.pop(name, None)

    def state(self) -> dict[str, Any]:
        """Attributes, condition and target of every example."""
        return {"memory": trained(self._memory, self.design)}

    def restore(self, state: dict[str, Any]) -> None:
        """Attributes, condition and target of every example."""
        self._memory = [
            (None if known is None else tuple((name, value) for name, value in known), condition, target)
            for known, condition, target in state["memory"]
        ]
        self._forget_indexes()


class AttributeIndex:
    """Finds the example that says most of what is asked once its slots are filled."""

    def __init__(self, known: Sequence[Mapping[Slot, str]], targets: Sequence[str]) -> None:
        self._slots = sorted({slot for row in known for slot in row})
        self._values = {value: index for index, value in enumerate(sorted({value for row in known for value in row.values()}))}
        shape = (len(known), len(self._slots))
        self._given, self._said = np.full(shape, -1), np.zeros(shape, dtype=bool)
        for example, (row, target) in enumerate(zip(known, targets, strict=True)):
            for column, slot in enumerate(self._slots):
                if slot in row:
                    self._given[example, column] = self._values[row[slot]]
                    self._said[example, column] = _whole([row[slot]]).search(target) is not None

    def nearest(self, wanted: Mapping[Slot, str]) -> int:
        """Index of the example with most right and fewest wrong attributes; then with most equal values."""
        asked = np.array([self._values.get(wanted[slot], -2) if slot in wanted else -1 for slot in self._slots])
        given = self._given >= 0
        equal = given & (self._given == asked)
        right = equal | (given & self._said & (asked != -1))
        score = right.sum(1) - (given & ~right).sum(1) + equal.sum(1) / (len(self._slots) + 1)
        return int(score.argmax())


class WordIndex:
    """Finds the condition with the highest tf-idf cosine; the first where nothing is in common."""

    def __init__(self, conditions: Sequence[str]) -> None:
        counts = [Counter(condition.split()) for condition in conditions]
        self._columns = {word: index for index, word in enumerate(sorted({word for row in counts for word in row}))}
        spread = Counter(word for row in counts for word in row)
        self._weights = {word: 1 + np.log((1 + len(counts)) / (1 + spread[word])) for word in self._columns}
        self._matrix = self._vectors(counts)

    def nearest(self, condition: str) -> int:
        """Index of the nearest condition."""
        return int((self._matrix @ self._vectors([Counter(condition.split())]).T).toarray().argmax())

    def _vectors(self, counts: Sequence[Mapping[str, int]]) -> sparse.csr_matrix:
        """Rows of unit length; words that no example has are left out."""
        known = [{word: count for word, count in row.items() if word in self._columns} for row in counts]
        data = [np.array([count * self._weights[word] for word, count in row.items()]) for row in known]
        scaled = [row / max(float(np.linalg.norm(row)), 1e-12) for row in data]
        columns = [self._columns[word] for row in known for word in row]
        starts = np.cumsum([0, *map(len, known)])
        return sparse.csr_matrix((np.concatenate(scaled), columns, starts), shape=(len(known), len(self._columns)))


def slots(attributes: Sequence[tuple[str, str]]) -> dict[Slot, str]:
    """Attributes by name and, where a name is used again, by how many came before."""
    seen: Counter[str] = Counter()
    found = {}
    for name, value in attributes:
        found[name, seen[name]] = value
        seen[name] += 1
    return found


def filled(target: str, known: Mapping[Slot, str], wanted: Mapping[Slot, str]) -> str:
    """A target with the values of its own attributes replaced by those asked for, all at once."""
    changes = {value: wanted[slot] for slot, value in known.items() if wanted.get(slot, value) != value}
    if not changes:
        return target
    return _whole(changes).sub(lambda found: changes[found.group()], target)


def _whole(values: Mapping[str, str] | Sequence[str]) -> re.Pattern[str]:
    """Matches any of the values between word boundaries, the longest first."""
    return re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, sorted(values, key=len, reverse=True))) + r")(?!\w)")


def _attributes(control: object) -> tuple[tuple[str, str], ...] | None:
    return control.attributes if isinstance(control, Content) else None
