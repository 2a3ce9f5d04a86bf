"""Golden cases: where they lie, how they are compared, which modules map them to the product."""

import importlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import golden_conversions

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Case:
    """One case of one JSON file; README.md describes the fields."""

    id: str
    kind: str
    inputs: dict[str, Any]
    expected: Any
    tolerance: Any


def cases() -> tuple[Case, ...]:
    """Every case of the folder in GOLDEN_DIR, or of this folder."""
    return cases_in(Path(os.environ.get("GOLDEN_DIR", HERE)))


@cache
def cases_in(folder: Path) -> tuple[Case, ...]:
    """Every case of a folder."""
    found = []
    for file in sorted(folder.glob("*.json")):
        for case in json.loads(file.read_text())["cases"]:
            found.append(Case(*(case[name] for name in ("id", "kind", "inputs", "expected", "tolerance"))))
    assert found, f"no golden cases in {folder}"
    return tuple(found)


@cache
def mapping_names() -> tuple[str, ...]:
    """The mapping modules: every mapping_*.py of this folder."""
    return tuple(sorted(file.stem for file in HERE.glob("mapping_*.py")))


@cache
def kinds() -> dict[str, Callable[..., Any]]:
    """kind -> the function that computes it with the product."""
    table: dict[str, Callable[..., Any]] = {}
    for name in mapping_names():
        for kind, function in importlib.import_module(name).KINDS.items():
            assert kind not in table, f"{kind} is mapped twice"
            table[kind] = function
    return table


def computed(case: Case) -> Any:
    """What the product returns for a case, as plain lists and numbers."""
    return golden_conversions.plain(kinds()[case.kind](**case.inputs))


def differences(expected: Any, got: Any, tolerance: Any, ignored: frozenset[str] = frozenset(), path: str = "") -> list[str]:
    """Where a returned value breaks the comparator rule of README.md; empty when it passes.

    Args:
        expected: from the file.
        got: plain lists, objects, numbers.
        tolerance: "exact" or {"rtol", "atol"}.
        ignored: paths of fields that are not compared ("linear.std").
        path: where the comparison stands.
    """
    if path in ignored:
        return []
    if isinstance(expected, dict):
        if not isinstance(got, dict) or set(got) | ignored_here(path, ignored) != set(expected):
            fields = sorted(got) if isinstance(got, dict) else got
            return [f"{path or 'top level'}: expected the fields {sorted(expected)}, got {fields}"]
        inner = [(f"{path}.{key}" if path else key, expected[key], got.get(key)) for key in expected]
    elif isinstance(expected, list):
        if not isinstance(got, list) or len(got) != len(expected):
            return [f"{path}: expected a list of {len(expected)}, got {got!r}"]
        inner = [(f"{path}[{i}]", a, b) for i, (a, b) in enumerate(zip(expected, got, strict=True))]
    else:
        return (
            [] if agrees(expected, got, tolerance) else [f"{path or 'value'}: expected {expected!r}, got {got!r} ({tolerance})"]
        )
    return [line for where, a, b in inner for line in differences(a, b, tolerance, ignored, where)]


def ignored_here(path: str, ignored: frozenset[str]) -> set[str]:
    """Names of the fields directly under a path that are not compared."""
    start = f"{path}." if path else ""
    return {name.removeprefix(start) for name in ignored if name.startswith(start) and "." not in name.removeprefix(start)}


def agrees(expected: Any, got: Any, tolerance: Any) -> bool:
    """The comparator rule for one leaf."""
    if expected is None or isinstance(expected, bool | str):
        return type(got) is type(expected) and got == expected
    if isinstance(got, bool) or not isinstance(got, int | float):
        return False
    if isinstance(expected, int) or tolerance == "exact":
        return got == expected
    return abs(got - expected) <= tolerance["atol"] + tolerance["rtol"] * abs(expected)
