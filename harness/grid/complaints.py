"""What pydantic finds in a grid file, said in the words of the file: place, near matches, no type of ours."""

import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from harness.grid.schema import Grid

Location = Sequence[str | int]
_BRANCH = re.compile(r"(literal|tuple|function-\w+)\[.*\]|\[key\]|LatencyEntry", re.DOTALL)
_LONGEST = 100
_EXAMPLES = {
    "budget": "; add `budget: {tokens: 3_000_000}`", "tokens": "; add `tokens: 3_000_000`",
    "models": "; add `models: [NAME]`; `harness list models` has the names",
    "tasks": "; add `tasks: [NAME]`; `harness list tasks` has the names",
}  # fmt: skip


class Places:
    """Where things stand in a YAML file."""

    def __init__(self, path: Path, node: yaml.Node | None) -> None:
        self.path, self.node = path, node

    def __call__(self, location: Location) -> str:
        """`file:line` of a key or an item, as far as the location can be followed."""
        node, line = self.node, 0
        for part in location:
            child = _child(node, part)
            if child is None:
                continue
            node, line = child
        return f"{self.path}:{line + 1}"

    def names(self, *location: str | int) -> bool:
        """Whether the file has this key or item."""
        node = self.node
        for part in location:
            child = _child(node, part)
            if child is None:
                return False
            node = child[0]
        return True


def _child(node: yaml.Node | None, part: str | int) -> tuple[yaml.Node, int] | None:
    if isinstance(node, yaml.MappingNode):
        return next(((value, key.start_mark.line) for key, value in node.value if key.value == str(part)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part].start_mark.line
    return None


def complaints(error: ValidationError, places: Places) -> Iterator[str]:
    """One line for each mistake."""
    found = [{**item, "loc": _written(item["loc"], places)} for item in error.errors(include_url=False)]
    return (_complaint(item, places) for item in found if not _follows(item, found))


def _written(location: Location, places: Places) -> Location:
    """A location without what stands in no file: the branches of unions, and the `default` of a budget that is one for all."""
    plain = tuple(part for part in location if not (isinstance(part, str) and _BRANCH.fullmatch(part)))
    one_for_all = plain[:2] == ("budget", "default") and not places.names("budget", "default")
    return ("budget", *plain[2:]) if one_for_all else plain


def _follows(item: Any, found: Sequence[Any]) -> bool:
    """Whether another complaint says it better: one from deeper, from a likelier branch, or of the key as it was misspelt."""
    location, parent = item["loc"], item["loc"][:-1]
    if any(len(other["loc"]) > len(location) and other["loc"][: len(location)] == location for other in found):
        return True
    if item["type"] == "literal_error":
        return any(other["loc"] == location and other["type"] != "literal_error" for other in found)
    misspelt = [str(other["loc"][-1]) for other in found if other["type"] == "extra_forbidden" and other["loc"][:-1] == parent]
    return item["type"] == "missing" and bool(difflib.get_close_matches(location[-1], misspelt, n=1))


def _complaint(item: Any, places: Places) -> str:
    location, where = item["loc"], places(item["loc"])
    if item["type"] == "extra_forbidden":
        return f"{where}: {_unknown_key(location, item['input'])}"
    key = ".".join(str(part) for part in location)
    if item["type"] == "missing":
        return f"{where}: {key} is missing{_EXAMPLES.get(str(location[-1]), '')}."
    if location == ("grid",) and not places.names("grid"):
        return f"{where}: {item['input']!r}, the file's name, is no name of a grid; rename the file, or write `grid: name`."
    return f"{where}: {key}: {_message(item)}; given: {_short(item['input'])}.{_hint(item['input'])}"


def _unknown_key(location: Location, given: object) -> str:
    key, known = str(location[-1]), keys(_section_at(location[:-1]))
    if location[0] == "budget" and isinstance(given, dict):
        return f"budgets of single models stand beside `default`: write budget: {{default: {{tokens: ...}}, {key}: {{...}}}}."
    near = difflib.get_close_matches(key, known, n=2, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    return f"unknown key {key!r}.{hint} Known: {', '.join(known)}."


def _message(item: Any) -> str:
    if item["type"] == "tuple_type":
        return "expected a list" + (f", such as [{item['input']}]" if isinstance(item["input"], str | int | float) else "")
    if item["type"] == "too_short":
        return "expected at least one item"
    if item["type"] == "dict_type":
        return "expected a map"
    if item["type"] == "model_type":
        return f"expected a map with keys such as {', '.join(keys(_section_at(item['loc'])))}"
    return str(item["msg"]).removeprefix("Value error, ")


def _short(given: object) -> str:
    try:
        text = repr(given)
    except ValueError:
        return "a number of thousands of digits"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _hint(given: object) -> str:
    if not isinstance(given, str):
        return ""
    try:
        float(given)
    except ValueError:
        return ""
    return " YAML reads this as text: write 2000000 or 2_000_000 for 2e6, and 1.0e-3 for 1e-3."


def keys(section: type[BaseModel]) -> list[str]:
    """Keys that a section of a grid file may have."""
    return sorted(name for name in section.model_fields if name != "folder")


def _section_at(location: Location) -> type[BaseModel]:
    section: type[BaseModel] = Grid
    for part in location:
        if isinstance(part, str) and part in section.model_fields:
            section = _section_in(section.model_fields[part].annotation) or section
    return section


def _section_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _section_in(part)) is not None), None)
