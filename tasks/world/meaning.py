"""What a text of the generated language says: attributes, their law, and the memory that a grammar carries along.

A meaning is a record of optional attributes. Every attribute has skewed (Zipf) values; price and rating depend on each
other, so that the one said later is drawn given the one said earlier and their joint law does not depend on the order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

ORDER = ("name", "kind", "food", "chef", "price", "area", "rating", "critic", "family", "near", "owner", "foe", "season")
PAIRED = ("price", "rating")
Meaning = Mapping[str, str]


class Memory(NamedTuple):
    """All that a later rule may read.

    Attributes:
        said: bit set of the open attributes said so far.
        number: "" before the subject is known, then "sg" or "pl".
        kind: the kind said, kept until the subject of the next sentence is over, or "".
        price: group of the price said, kept only until the rating is said.
        rating: group of the rating said, kept only until the price is said.
        place: how many places were spoken of before this one.
    """

    said: int = 0
    number: str = ""
    kind: str = ""
    price: str = ""
    rating: str = ""
    place: int = 0

    def turned(self) -> "Memory":
        """The memory at the beginning of the next place."""
        return Memory(place=self.place + 1)

    def noted(self, name: str, value: str) -> "Memory":
        """The memory with another value in a field of text."""
        return self._replace(**{name: value})  # type: ignore[arg-type]


def zipf(count: int, *, exponent: float = 0.8) -> tuple[float, ...]:
    """Zipf probabilities of `count` ranks: rank ** -exponent, normalised."""
    weights = np.arange(1, count + 1, dtype=float) ** -exponent
    return tuple(float(weight) for weight in weights / weights.sum())


@dataclass(frozen=True)
class Law:
    """The distribution of attribute values.

    Price and rating depend on each other through their groups: a cheap place is rarely rated well. Within a group a value is
    drawn independently, so only the group has to be remembered.

    Attributes:
        open: attributes that a text may say once, in any order; each has one bit of `Memory.said`.
        values: values of the attributes whose rules are written value by value (kind, price, rating, family).
        probabilities: their marginal probabilities.
        groups: the group of each price and rating.
        joint: probability of each pair (group of the price, group of the rating); empty where one of them is lacking.
    """

    open: tuple[str, ...]
    values: Mapping[str, tuple[str, ...]]
    probabilities: Mapping[str, tuple[float, ...]]
    groups: Mapping[str, str] = field(default_factory=dict)
    joint: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def bit(self, attribute: str) -> int:
        """The bit of an open attribute; 0 for attributes that only others can introduce."""
        return 1 << self.open.index(attribute) if attribute in self.open else 0

    def conditional(self, attribute: str, value: str, memory: Memory) -> float:
        """Probability of a value given what has been said."""
        marginal = self.probabilities[attribute][self.values[attribute].index(value)]
        other = getattr(memory, _partner(attribute)) if attribute in PAIRED else ""
        if not other:
            return marginal
        group = self.groups[value]
        return (
            marginal
            * self._pair(attribute, group, other)
            / (self._share(attribute, group) * self._share(_partner(attribute), other))
        )

    def _pair(self, attribute: str, group: str, other: str) -> float:
        return self.joint[(group, other) if attribute == PAIRED[0] else (other, group)]

    def _share(self, attribute: str, group: str) -> float:
        return sum(share for pair, share in self.joint.items() if pair[PAIRED.index(attribute)] == group)

    def remember(self, memory: Memory, attribute: str, value: str) -> Memory:
        """The memory after an attribute was said."""
        memory = memory._replace(said=memory.said | self.bit(attribute))
        if attribute == "kind":
            return memory._replace(kind=value)
        if attribute in PAIRED and self.joint:
            other = _partner(attribute)
            both = memory.said & self.bit(other)
            return memory.noted(other, "") if both else memory.noted(attribute, self.groups[value])
        return memory


def _partner(attribute: str) -> str:
    return PAIRED[1 - PAIRED.index(attribute)]


def attribute_of(attribute: str, place: int) -> str:
    """Name of an attribute of a place: "food" of the first, "food2" of the second."""
    return attribute if place == 0 else f"{attribute}{place + 1}"


def plain(attribute: str) -> str:
    """Name of an attribute without its place."""
    return attribute.rstrip("0123456789")


def ordered(meaning: Meaning) -> tuple[tuple[str, str], ...]:
    """Attributes and values in the fixed order of the language, place by place."""
    names = sorted(meaning, key=lambda name: (name[len(plain(name)) :], ORDER.index(plain(name))))
    return tuple((name, meaning[name]) for name in names)
