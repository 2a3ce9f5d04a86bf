"""A stage: the unit of work that is done once, named by everything that changes its result and by nothing else."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from harness.grid.schema import Limits, Resources
from harness.registry import Target

SCHEMA = 1
EXCLUSIVE = ("time",)
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical(data: Any) -> str:
    """JSON with sorted keys and no spaces: the same text for the same content."""
    return _ENCODER.encode(data)


def digest_of(*parts: Any) -> str:
    """sha256 of plain data."""
    return _sha256(canonical(parts))


class Spec(dict[str, Any]):
    """Plain values that decide the result of many stages, written out once; not to be changed."""

    @cached_property
    def text(self) -> str:
        """In canonical form."""
        return canonical(self)


@dataclass(frozen=True, slots=True)
class Source:
    """How a worker finds a plug-in, on whatever node it runs.

    Attributes:
        target: what the name stands for.
        text: content of the file for `file.py:Name`; `None` for installed packages.
    """

    target: Target
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """One content-addressed piece of work.

    Attributes:
        kind: "tokenize", "fit", "likelihood", "generate", "select", "score", "time", or `module:function` of a plug-in.
        spec: plain values that decide the result.
        inputs: role -> key of the stage whose result is read.
        key: sha256 over kind, spec, inputs and the schema's version.
        sources: role -> plug-in; where it lies is in no key.
        resources, limits: what it takes and how long it may; in no key.
    """

    kind: str
    spec: Mapping[str, Any]
    inputs: Mapping[str, str]
    key: str
    sources: Mapping[str, Source] = field(default_factory=dict)
    resources: Resources = field(default_factory=Resources)
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def make(cls, kind: str, spec: Mapping[str, Any], inputs: Mapping[str, str] | None = None, **rest: Any) -> "Stage":
        """A stage with its key."""
        inputs = inputs or {}
        written = spec.text if isinstance(spec, Spec) else canonical(spec)
        read = ",".join([f'{_quoted(role)}:"{inputs[role]}"' for role in sorted(inputs)])  # keys are hexadecimal
        return cls(kind, spec, inputs, _sha256(f"[{SCHEMA},{_quoted(kind)},{written},{{{read}}}]"), **rest)

    @property
    def title(self) -> str:
        """The kind, and of a score its metric."""
        metric = self.spec.get("metric") if self.kind == "score" else None
        return f"{self.kind} {metric}" if metric else self.kind

    @property
    def exclusive(self) -> bool:
        """Whether it must have its node to itself."""
        return self.kind in EXCLUSIVE


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _quoted(word: str) -> str:
    """A kind or a role in canonical form; there are few of them."""
    return canonical(word)
