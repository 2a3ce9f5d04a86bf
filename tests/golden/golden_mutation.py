"""Perturbs production functions: a sign, a constant, an index at a time, in the running process."""

import ast
import copy
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import _lru_cache_wrapper, cache
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

from golden_cases import HERE

ROOT = HERE.parents[1]
PRODUCT = tuple(str(ROOT / name) for name in ("harness", "baselines"))
SWAPS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
FLIPS = {ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}


@dataclass(frozen=True, slots=True)
class Function:
    """A production function by where it stands."""

    file: str
    name: str

    def __str__(self) -> str:
        return f"{Path(self.file).relative_to(ROOT).with_suffix('')}:{self.name}".replace("/", ".")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change to one function: the n-th place that can be changed.

    Attributes:
        place: the expression before its change.
        number_only: whether a number is changed, and neither an operator nor a sign.
    """

    function: Function
    number: int
    change: str
    place: str
    number_only: bool

    def __str__(self) -> str:
        return f"{self.function} {self.change}"


def called(run: Callable[[], Any]) -> set[Function]:
    """Production functions that a call runs through."""
    found: set[Function] = set()

    def notice(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PRODUCT):
            found.add(Function(frame.f_code.co_filename, frame.f_code.co_qualname))

    forget()
    sys.setprofile(notice)
    try:
        run()
    finally:
        sys.setprofile(None)
    return {function for function in found if not function.name.rpartition(".")[2].startswith("<")}


def forget() -> None:
    """Empty the product's caches, so that nothing computed before or by a mutant is used again."""
    for item in caches():
        item.cache_clear()


@cache
def caches() -> list[Any]:
    """The caches of the modules that are loaded now."""
    everything = [item for item in gc.get_objects() if type(item) is _lru_cache_wrapper]
    return [item for item in everything if (item.__module__ or "").startswith(("harness", "baselines"))]


@cache
def functions() -> dict[tuple[str, str], list[FunctionType]]:
    """Function objects of the product that are loaded now, under any decorator, by file and qualified name."""
    table: dict[tuple[str, str], list[FunctionType]] = {}
    for item in gc.get_objects():
        if type(item) is FunctionType and item.__code__.co_filename.startswith(PRODUCT):
            table.setdefault((item.__code__.co_filename, item.__code__.co_qualname), []).append(item)
    return table


# --- places that can be changed --------------------------------------------------------------------------------------
@cache
def tree_of(file: str) -> ast.Module:
    """The parsed source of a file."""
    return ast.parse(Path(file).read_text())


def mutants(function: Function) -> list[Mutant]:
    """Every change that this module makes to a function."""
    node = definition(tree_of(function.file), function.name)
    if node is None:
        return []
    return [
        Mutant(
            function, number, f"line {place.lineno}: {ast.unparse(place)} -> {ast.unparse(changed(place))}", ast.unparse(place),
            isinstance(place.operand if isinstance(place, ast.UnaryOp) else place, ast.Constant),
        )
        for number, place in enumerate(places(node))
    ]  # fmt: skip


def definition(tree: ast.AST, name: str) -> ast.FunctionDef | None:
    """The definition with a qualified name."""
    for part in name.split("."):
        if part == "<locals>":
            continue
        found = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef) and n.name == part]
        if not found:
            return None
        tree = found[0]
    return tree if isinstance(tree, ast.FunctionDef) else None


def places(function: ast.FunctionDef) -> list[ast.expr]:
    """Expressions to change: operators, comparisons, signs, numbers, else what is returned; not what words errors or limits."""
    found: list[ast.expr] = []
    for statement in function.body:
        _collect(statement, found)
    returned = [node.value for node in ast.walk(function) if isinstance(node, ast.Return) and node.value is not None]
    return found or returned


def _collect(node: ast.AST, found: list[ast.expr]) -> None:
    if isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr | ast.FunctionDef | ast.AnnAssign):
        return
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    if isinstance(node, ast.If) and isinstance(node.body[-1], ast.Raise):
        for child in (node.test, *node.orelse):
            _collect(child, found)
        return
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "within":
        _collect(node.args[1], found)
        return
    if isinstance(node, ast.BinOp) and type(node.op) in SWAPS:
        found.append(node)
    if isinstance(node, ast.Compare) and type(node.ops[0]) in FLIPS:
        found.append(node)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        found.append(node)
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        found.append(node)
    for child in ast.iter_child_nodes(node):
        if not (isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)):
            _collect(child, found)


def changed(place: ast.expr) -> ast.expr:
    """A place after its change: + for -, * for /, >= for <, no sign, another number, a sign on a result."""
    if isinstance(place, ast.BinOp) and type(place.op) in SWAPS:
        return ast.BinOp(place.left, SWAPS[type(place.op)](), place.right)
    if isinstance(place, ast.Compare) and type(place.ops[0]) in FLIPS:
        return ast.Compare(place.left, [FLIPS[type(place.ops[0])](), *place.ops[1:]], place.comparators)
    if isinstance(place, ast.UnaryOp) and isinstance(place.op, ast.USub):
        return ast.UnaryOp(ast.USub(), changed(place.operand)) if isinstance(place.operand, ast.Constant) else place.operand
    if not isinstance(place, ast.Constant) or type(place.value) not in (int, float):
        return ast.UnaryOp(ast.USub(), place)
    return ast.Constant(place.value + 1 if isinstance(place.value, int) else place.value * 1.5 + 0.01)


# --- putting a mutant in place ---------------------------------------------------------------------------------------
@contextmanager
def applied(mutant: Mutant) -> Iterator[None]:
    """The product with one function changed; restored afterwards. An inner function changes with its outermost one."""
    outer = mutant.function.name.partition(".<locals>")[0]
    originals = [(function, function.__code__) for function in functions()[mutant.function.file, outer]]
    code = mutated_code(mutant, outer)
    for function, _ in originals:
        function.__code__ = code
    forget()
    try:
        yield
    finally:
        for function, original in originals:
            function.__code__ = original
        forget()


def mutated_code(mutant: Mutant, outer: str) -> CodeType:
    """The code of the function that is, or holds, the changed one."""
    tree = copy.deepcopy(tree_of(mutant.function.file))
    node = definition(tree, mutant.function.name)
    assert node is not None
    place = places(node)[mutant.number]
    replacement = ast.copy_location(changed(place), place)
    Exchange(place, replacement).visit(node)
    module = compile(ast.fix_missing_locations(tree), mutant.function.file, "exec")
    return next(code for code in nested(module) if code.co_qualname == outer)


class Exchange(ast.NodeTransformer):
    """Puts one node in the place of another."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> Any:
        return self.new if node is self.old else super().visit(node)


def nested(code: CodeType) -> Iterator[CodeType]:
    """A code object and all inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from nested(constant)
