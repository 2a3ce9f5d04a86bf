"""Shape of the tree: sizes, names, and that shared parts know no system."""

import re
from pathlib import Path

import pytest

from harness import registry

ROOT = Path(__file__).parents[2]
TOPS = ("harness", "baselines", "tasks")
FILES = sorted(path for top in TOPS for path in (ROOT / top).rglob("*.py"))
SYSTEMS = sorted((ROOT / "baselines" / "systems").glob("*.py"))
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc", "tools", "stuff", "base_utils", "functions"}
SHARED = [
    path for path in FILES
    if path.is_relative_to(ROOT / "harness")
    or path.is_relative_to(ROOT / "baselines" / "parts")
    or path in (ROOT / "baselines" / "engine.py", ROOT / "baselines" / "training.py")
]  # fmt: skip


def said(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=said)
def test_no_file_is_long(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= (250 if path in SYSTEMS else 400)


@pytest.mark.parametrize("path", FILES, ids=said)
def test_no_file_has_a_vague_name(path):
    assert path.stem not in VAGUE
    assert not set(path.relative_to(ROOT).parts[:-1]) & VAGUE


LIBRARY_FUNCTIONS = re.compile(r"\b(torch|rng)\s*\.\s*multinomial\b")
"""Draws of torch and numpy, which bear the name of a system."""


def systems():
    """Registered names of diffusion systems, as they would be written in code."""
    names = [
        name for name in registry.known("models") if registry.resolve("models", name).reference.startswith("baselines.systems")
    ]
    return {form for name in names for form in (name, name.replace("-", "_"), name.replace("-", ""))}


@pytest.mark.parametrize("path", SHARED, ids=said)
def test_shared_code_names_no_system(path):
    code = LIBRARY_FUNCTIONS.sub("", "\n".join(_code(path)))
    found = {name for name in systems() if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", code, re.IGNORECASE)}
    assert not found


def _code(path):
    """Lines of a file without docstrings and comments: explaining where a formula comes from is no dependence."""
    import io
    import tokenize

    previous = tokenize.NEWLINE
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        starts_a_statement = previous in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
        docstring = token.type == tokenize.STRING and starts_a_statement
        if token.type not in (tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT) and not docstring:
            yield token.string
        if token.type not in (tokenize.COMMENT, tokenize.NL):
            previous = token.type
