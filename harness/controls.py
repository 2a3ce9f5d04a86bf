"""What a text can be conditioned on beside a source text; each control has one canonical text form."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Content:
    """Attributes that the text must say, in the task's own order: (("food", "French"), ("area", "riverside"))."""

    attributes: tuple[tuple[str, str], ...]

    @property
    def text(self) -> str:
        """Canonical text: `food : French | area : riverside`."""
        return " | ".join(f"{name} : {value}" for name, value in self.attributes)


@dataclass(frozen=True, slots=True)
class PartsOfSpeech:
    """One tag for every word of the text."""

    tags: tuple[str, ...]

    @property
    def text(self) -> str:
        """Canonical text: the tags, separated by spaces."""
        return " ".join(self.tags)


@dataclass(frozen=True, slots=True)
class Tree:
    """A bracketed constituency tree without its words."""

    bracketed: str

    @property
    def text(self) -> str:
        """Canonical text: the bracketed tree."""
        return self.bracketed


@dataclass(frozen=True, slots=True)
class Spans:
    """Constituents as (first word, last word, label); both ends are included and count from 0."""

    spans: tuple[tuple[int, int, str], ...]

    @property
    def text(self) -> str:
        """Canonical text: `0 3 NP | 4 6 VP`."""
        return " | ".join(f"{first} {last} {label}" for first, last, label in self.spans)


@dataclass(frozen=True, slots=True)
class Length:
    """Number of words that the text must have."""

    words: int

    @property
    def text(self) -> str:
        """Canonical text: the number."""
        return str(self.words)


@dataclass(frozen=True, slots=True)
class Label:
    """A class that the text must belong to, such as a sentiment."""

    value: str

    @property
    def text(self) -> str:
        """Canonical text: the class."""
        return self.value


Control = Content | PartsOfSpeech | Tree | Spans | Length | Label
