"""Our packages have plain names; a `tasks.py` in somebody's folder must not silently take their place."""

import importlib.util
from pathlib import Path

import harness
from harness.errors import GridError

PACKAGES = ("harness", "baselines", "tasks")


def check_not_shadowed(packages: tuple[str, ...] = PACKAGES) -> None:
    """Make sure that our packages are the ones that Python would import: they lie side by side.

    Raises:
        GridError: another file is in the way; the message names it.
    """
    root = Path(harness.__file__).resolve().parent.parent
    for name in packages:
        spec = importlib.util.find_spec(name)
        found = Path(spec.origin).resolve() if spec is not None and spec.origin else None
        expected = root / name / "__init__.py"
        if found != expected:
            raise GridError(
                f"`import {name}` finds {found or 'nothing'} instead of {expected}. Rename or move your own file, or run from "
                "another folder."
            )
