#!/usr/bin/env python3
"""Validate a folder of golden-number files and count the cases per kind.

Usage: check_format.py [FOLDER]     (default: the folder of this script)

Standard library only. Exit status 0 when every rule of README.md holds.
"""

import collections
import json
import math
import pathlib
import re
import sys

CASE_KEYS = ("id", "kind", "what", "inputs", "expected", "tolerance")
KIND = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*")


def leaves(value, path):
    """Yield (path, leaf); list positions are left out of the path."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item, path if path.endswith("[]") else path + "[]")
    else:
        yield path, value


def structure(value):
    """Names of the fields, without sizes."""
    if isinstance(value, dict):
        return {key: structure(item) for key, item in value.items()}
    return None


def type_name(leaf):
    for kind, name in ((bool, "bool"), (int, "int"), (float, "float"), (str, "string")):
        if isinstance(leaf, kind):
            return name
    return "null"


def tolerance_error(tolerance):
    if tolerance == "exact":
        return None
    if not isinstance(tolerance, dict) or set(tolerance) != {"rtol", "atol"}:
        return 'tolerance must be "exact" or {"rtol", "atol"}'
    for name, number in tolerance.items():
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 <= number < 1:
            return f"{name} must be a number in [0, 1)"
    return None


def check(folder):
    errors = []
    count = collections.Counter()
    seen = {}
    shape_of = {}
    types = collections.defaultdict(lambda: collections.defaultdict(set))
    files = sorted(folder.glob("*.json"))
    if not files:
        errors.append(f"{folder}: no JSON files")
    for path in files:
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            errors.append(f"{path.name}: not JSON ({error})")
            continue
        for key in ("system", "source", "cases"):
            if key not in data:
                errors.append(f"{path.name}: no {key}")
        for number, case in enumerate(data.get("cases", [])):
            where = f"{path.name}[{number}] {case.get('id', '')}"
            missing = [key for key in CASE_KEYS if key not in case]
            if missing:
                errors.append(f"{where}: lacks {', '.join(missing)}")
                continue
            extra = set(case) - set(CASE_KEYS) - {"source"}
            if extra:
                errors.append(f"{where}: unknown keys {sorted(extra)}")
            kind = case["kind"]
            count[kind] += 1
            if not KIND.fullmatch(kind):
                errors.append(f"{where}: bad kind {kind!r}")
            if not case["id"].startswith(kind):
                errors.append(f"{where}: id does not start with its kind")
            if case["id"] in seen:
                errors.append(f"{where}: id also in {seen[case['id']]}")
            seen[case["id"]] = path.name
            if not isinstance(case["inputs"], dict):
                errors.append(f"{where}: inputs is not an object")
                continue
            message = tolerance_error(case["tolerance"])
            if message:
                errors.append(f"{where}: {message}")
            for part in ("inputs", "expected"):
                for name, leaf in leaves(case[part], part):
                    types[kind][name].add(type_name(leaf))
                    if isinstance(leaf, float) and not math.isfinite(leaf):
                        errors.append(f"{where}: {name} is not finite")
            this = (sorted(case["inputs"]), structure(case["expected"]), case["what"])
            first, other = shape_of.setdefault(kind, (where, this))
            for name, left, right in zip(("input names", "expected fields", "what"), this, other, strict=True):
                if left != right:
                    errors.append(f"{where}: {name} differ from {first}")
    for kind, fields in types.items():
        for name, found in fields.items():
            if len(found - {"null"}) > 1 and not name.endswith("[]"):
                errors.append(f"{kind}: {name} has types {sorted(found)}")
            elif {"int", "float"} <= found:
                errors.append(f"{kind}: {name} mixes integers and floats")
    return errors, count


def main(argv):
    folder = pathlib.Path(argv[1]) if len(argv) > 1 else pathlib.Path(__file__).resolve().parent
    errors, count = check(folder)
    for kind in sorted(count):
        print(f"{count[kind]:5d}  {kind}")
    print(f"{sum(count.values()):5d}  cases of {len(count)} kinds")
    for error in errors:
        print("error:", error, file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
