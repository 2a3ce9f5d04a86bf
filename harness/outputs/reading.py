"""Outputs and references as JSON lines, checked before anything is computed.

Outputs: one object per line, `text` and optionally `id`. References: one object per line, `references` (a list of strings), and
optionally `id` and `source`. Either both files have ids on all lines, and ids pair them, or neither has, and line numbers do.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.contracts import Example
from harness.errors import OutputsError

_SHOWN = 3
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Output:
    """One text; `id` is `None` where lines have none."""

    text: str
    id: str | None = None


def read_outputs(path: Path) -> list[Output]:
    """Read texts.

    Raises:
        OutputsError: no such file, no lines, or a line that is not as it should be.
    """
    found = [Output(_string(path, number, line, "text"), _id(path, number, line)) for number, line in _lines(path)]
    _check_ids(path, [output.id for output in found])
    return found


def read_references(path: Path) -> list[Example]:
    """Read references as examples whose target is the first of them; without ids the line number is the id.

    Raises:
        OutputsError: no such file, no lines, or a line that is not as it should be.
    """
    numbered = list(_lines(path))
    _check_ids(path, [_id(path, number, line) for number, line in numbered])
    return [_example(path, number, line) for number, line in numbered]


def _example(path: Path, number: int, line: Mapping[str, Any]) -> Example:
    accepted = line.get("references")
    if not isinstance(accepted, list) or not accepted or not all(isinstance(text, str) for text in accepted):
        raise OutputsError(f"{path}:{number}: {_given(line, 'references')}; expected a list of one or more strings.")
    if not any(text.strip() for text in accepted):
        raise OutputsError(f"{path}:{number}: {_given(line, 'references')}; expected a word in one of them at least.")
    accepted = [_writable(path, number, "references", text) for text in accepted]
    source = _string(path, number, line, "source") if "source" in line else None
    name = _id(path, number, line)
    return Example(id=str(number) if name is None else name, target=accepted[0], source=source, references=tuple(accepted))


def has_ids(path: Path) -> bool:
    """Whether the lines of a file have ids."""
    return any(line.get("id") is not None for _, line in _lines(path))


def paired(outputs: Sequence[Output], examples: Sequence[Example], *, by_id: bool, noun: str = "references") -> list[str]:
    """The text for every example, in the examples' order.

    Args:
        outputs: as read.
        examples: what was asked.
        by_id: whether the examples' ids are to be matched; `False` pairs by line number.
        noun: what the examples are called in messages.

    Raises:
        OutputsError: one has ids and the other has none, ids without a partner, or different counts.
    """
    if by_id != (outputs[0].id is not None):
        with_ids, without = (noun, "outputs") if by_id else ("outputs", noun)
        raise OutputsError(f"the {with_ids} have ids and the {without} have none; give both ids, or neither.")
    if not by_id:
        if len(outputs) != len(examples):
            raise OutputsError(f"{len(outputs)} outputs for {len(examples)} {noun}; without ids their lines must correspond.")
        return [output.text for output in outputs]
    texts = {output.id: output.text for output in outputs}
    _check_partners(texts.keys() - {example.id for example in examples}, "outputs", noun)
    _check_partners({example.id for example in examples} - texts.keys(), noun, "outputs")
    return [texts[example.id] for example in examples]


def _check_partners(missing: "set[str | None] | set[str]", which: str, among: str) -> None:
    if missing:
        first = _shorten(", ".join(sorted(map(str, missing))[:_SHOWN]))
        more = ", ..." if len(missing) > _SHOWN else ""
        raise OutputsError(
            f"{len(missing)} of the {which} are not among the {among}: {first}{more}. Ids must be the same on both sides."
        )


def _lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise OutputsError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    lines = text.split("\n")
    lines = lines[:-1] if lines[-1] == "" else lines
    if not lines:
        raise OutputsError(f"{path} is empty; expected one JSON object per line.")
    for number, line in enumerate(lines, 1):
        yield number, _object(path, number, line)


def _object(path: Path, number: int, line: str) -> Mapping[str, Any]:
    try:
        found = json.loads(line, object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError) as error:
        raise OutputsError(f"{path}:{number}: not valid JSON: {error}. Expected one object per line.") from error
    if not isinstance(found, dict):
        raise OutputsError(f"{path}:{number}: a JSON {type(found).__name__}; expected an object.")
    return found


def _without_repetition(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} stands twice in one object")
    return found


def _string(path: Path, number: int, line: Mapping[str, Any], key: str) -> str:
    if not isinstance(line.get(key), str):
        known = ", ".join(sorted(line)) or "none"
        raise OutputsError(f"{path}:{number}: {_given(line, key)}; expected a string. Keys of this line: {_shorten(known)}.")
    return _writable(path, number, key, str(line[key]))


def _given(line: Mapping[str, Any], key: str) -> str:
    return f"`{key}` is {_shorten(repr(line[key]))}" if key in line else f"there is no `{key}`"


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _writable(path: Path, number: int, key: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise OutputsError(f"{path}:{number}: `{key}` is no Unicode text: {error}. Expected whole characters.") from error
    return text


def _id(path: Path, number: int, line: Mapping[str, Any]) -> str | None:
    found = line.get("id")
    if found is not None and (isinstance(found, bool) or not isinstance(found, str | int)):
        raise OutputsError(f"{path}:{number}: {_given(line, 'id')}; expected a string or a whole number.")
    return None if found is None else _writable(path, number, "id", str(found))


def _check_ids(path: Path, ids: Sequence[str | None]) -> None:
    if None in ids and any(name is not None for name in ids):
        raise OutputsError(f"{path}:{ids.index(None) + 1}: no id, but other lines have one; give every line an id, or none.")
    first: dict[str, int] = {}
    for number, name in enumerate(ids, 1):
        if name is not None and first.setdefault(name, number) != number:
            raise OutputsError(
                f"{path}:{number}: id {_shorten(repr(name))} stands on line {first[name]} already; ids must differ."
            )
