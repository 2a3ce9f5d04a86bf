"""The sizes of the generated language: one generator, four sets of numbers."""

from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Size:
    """Parameters of the generator.

    Attributes:
        name: "tiny", "small", "medium" or "large", or a name of the user's own.
        canvas: longest text in tokens, the end token included.
        open: attributes that a text may say, once each and in any order.
        counts: how many words the open word classes hold.
        kinds, prices, ratings: how many values these attributes have.
        synonyms: most words for one verb or value.
        sentences: most sentences on one place.
        places: how many places a text speaks of at most, one after the other.
        alone: probability of not turning to another place.
        least: attributes that a text says at least, of each place.
        stop: probability of ending after a sentence, once enough is said.
        relative: probability of a relative clause, at every depth; cut at depth 2.
        attached: probability of an attribute that only another one introduces: chef, critic, season.
        constructions: which of the optional constructions exist.
    """

    name: str
    canvas: int
    open: tuple[str, ...]
    counts: tuple[tuple[str, int], ...]
    kinds: int
    prices: int
    ratings: int
    synonyms: int
    sentences: int
    places: int = 1
    alone: float = 1.0
    least: int
    stop: float
    relative: float
    attached: float = 0.0
    constructions: tuple[str, ...]

    def count(self, name: str) -> int:
        """Number of words of an open class."""
        return dict(self.counts)[name]

    def has(self, construction: str) -> bool:
        """Whether a construction exists."""
        return construction in self.constructions

    def describe(self) -> dict[str, Any]:
        """All parameters as plain objects, for digests."""
        return asdict(self)


TINY = Size(
    name="tiny",
    canvas=16,
    open=("kind", "food", "price"),
    counts=(("name.sg", 3), ("name.pl", 2), ("food", 4)),
    kinds=2,
    prices=2,
    ratings=0,
    synonyms=1,
    sentences=2,
    least=1,
    stop=0.5,
    relative=0.4,
    constructions=("relative", "coordination", "both", "demonstrative"),
)
SMALL = Size(
    name="small",
    canvas=32,
    open=("kind", "food", "price", "rating", "family", "near"),
    counts=(
        ("name.sg", 12), ("name.pl", 8), ("food", 12), ("area", 8), ("near", 12),
        ("owner.sg", 4), ("owner.pl", 4), ("foe.sg", 4), ("foe.pl", 3),
    ),
    kinds=3,
    prices=3,
    ratings=4,
    synonyms=2,
    sentences=3,
    least=3,
    stop=0.45,
    relative=0.4,
    constructions=(
        "relative", "coordination", "both", "not only", "neither", "demonstrative", "possessive", "although", "fronted",
        "existential", "owner", "foe", "area",
    ),
)  # fmt: skip
MEDIUM = replace(
    SMALL,
    name="medium",
    canvas=64,
    open=(*SMALL.open, "area"),
    counts=(
        ("name.sg", 60), ("name.pl", 40), ("food", 60), ("area", 40), ("near", 80), ("chef", 40), ("critic", 30), ("season", 20),
        ("owner.sg", 30), ("owner.pl", 30), ("foe.sg", 30), ("foe.pl", 30),
    ),
    sentences=4,
    least=5,
    stop=0.3,
    attached=0.35,
    constructions=(*SMALL.constructions, "chef", "critic", "season"),
)  # fmt: skip
LARGE = replace(
    MEDIUM,
    name="large",
    canvas=128,
    counts=(
        ("name.sg", 900), ("name.pl", 600), ("food", 400), ("area", 300), ("near", 800), ("chef", 300), ("critic", 200),
        ("season", 100), ("owner.sg", 250), ("owner.pl", 250), ("foe.sg", 250), ("foe.pl", 250),
    ),
    places=3,
    alone=0.2,
)  # fmt: skip
SIZES = {size.name: size for size in (TINY, SMALL, MEDIUM, LARGE)}


def size_named(name: str) -> Size:
    """A shipped size.

    Raises:
        ValueError: no size has that name.
    """
    if name not in SIZES:
        raise ValueError(f"world has no size {name!r}; choose one of {', '.join(SIZES)}")
    return SIZES[name]


__all__ = ["SIZES", "Size", "replace", "size_named"]
