"""Mapping modules only convert arguments and call the product: no arithmetic, no comparison with numbers, no tensor maths."""

import ast
from pathlib import Path

import pytest
from golden_cases import HERE, mapping_names

ALLOWED_IMPORTS = (
    "harness",
    "baselines",
    "golden_conversions",
    "golden_stubs",
    "torch",
    "typing",
    "collections.abc",
    "dataclasses",
    "functools",
)
ALLOWED_BUILTINS = {
    "bool", "dict", "enumerate", "float", "frozenset", "getattr", "int", "isinstance", "len", "list", "range", "reversed", "set",
    "sorted", "str", "super", "tuple", "zip",
}  # fmt: skip
TORCH_CONVERSIONS = {
    "Generator", "Tensor", "arange", "bool", "cat", "float64", "full", "int64", "long", "nn", "no_grad", "ones", "ones_like",
    "stack", "tensor", "zeros", "zeros_like",
}  # fmt: skip
TENSOR_MATHS = {
    "abs", "add", "argmax", "argmin", "bmm", "clamp", "cos", "cummax", "cumprod", "cumsum", "diff", "div", "dot", "einsum", "erf",
    "exp", "expm1", "gather", "log", "log1p", "log_softmax", "logsumexp", "masked_fill", "matmul", "max", "mean", "min", "mm",
    "mul", "neg", "norm", "pow", "prod", "reciprocal", "roll", "rsqrt", "scatter", "sigmoid", "sin", "softmax", "sqrt", "square",
    "std", "sub", "sum", "tanh", "var", "where", "__add__", "__mul__", "__sub__", "__truediv__", "__pow__", "__neg__",
}  # fmt: skip


def offences(source: str) -> list[str]:
    """What a mapping module must not hold, as `line: what`."""
    tree = ast.parse(source)
    known = _known_names(tree)
    ends = {id(end) for node in ast.walk(tree) if isinstance(node, ast.Slice) for end in (node.lower, node.upper, node.step)}
    ends |= {id(node.slice) for node in ast.walk(tree) if isinstance(node, ast.Subscript)}
    return [f"{node.lineno}: {what}" for node in ast.walk(tree) if id(node) not in ends for what in _offence(node, known)]


def _known_names(tree: ast.Module) -> set[str]:
    imported = {
        alias.asname or alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    stored = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return imported | defined | stored | ALLOWED_BUILTINS


def _offence(node: ast.AST, known: set[str]) -> list[str]:
    if isinstance(node, ast.BinOp | ast.AugAssign):
        return [f"arithmetic: {ast.unparse(node)}"]
    if isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.Not):
        return [f"a sign: {ast.unparse(node)}"]
    if isinstance(node, ast.Compare) and not all(isinstance(op, ast.Is | ast.IsNot | ast.In) for op in node.ops):
        sides = [node.left, *node.comparators]
        if not any(isinstance(side, ast.Constant) and isinstance(side.value, str) for side in sides):
            return [f"a comparison: {ast.unparse(node)}"]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return _bad_imports(node)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "torch":
        return [] if node.attr in TORCH_CONVERSIONS else [f"torch maths: {ast.unparse(node)}"]
    if isinstance(node, ast.Call):
        return _bad_call(node.func, known)
    return []


def _bad_imports(node: ast.Import | ast.ImportFrom) -> list[str]:
    modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    return [
        f"an import: {module}"
        for module in modules
        if not any(module == allowed or module.startswith(f"{allowed}.") for allowed in ALLOWED_IMPORTS)
    ]


def _bad_call(function: ast.expr, known: set[str]) -> list[str]:
    if isinstance(function, ast.Name) and function.id not in known:
        return [f"a call of {function.id}"]
    if isinstance(function, ast.Attribute) and function.attr in TENSOR_MATHS:
        return [f"tensor maths: {ast.unparse(function)}"]
    return []


@pytest.mark.parametrize("name", mapping_names())
def test_a_mapping_only_converts_and_calls(name: str) -> None:
    assert offences((HERE / f"{name}.py").read_text()) == []


@pytest.mark.parametrize("name", mapping_names())
def test_a_mapping_calls_the_product(name: str) -> None:
    imports = [node for node in ast.walk(ast.parse((HERE / f"{name}.py").read_text())) if isinstance(node, ast.ImportFrom)]
    assert any((node.module or "").startswith(("harness", "baselines")) for node in imports)


@pytest.mark.parametrize(
    "source",
    [
        "x = 1 + y",
        "x = -y",
        "x += 1",
        "if x > 0.5: pass",
        "import torch\nx = torch.exp(y)",
        "import numpy as np",
        "from scipy.special import expit",
        "from tests import reference",
        "x = y.sum()",
        "x = sum(y)",
        "x = y @ z",
        "x = eval('1+1')",
    ],
)
def test_the_rule_finds_offences(source: str) -> None:
    assert offences(source)


@pytest.mark.parametrize(
    "source",
    [
        "from harness.schedules.names import build\nx = build(f'{name}@{T}')",
        "from golden_conversions import floats\nx = floats([1.0])",
        "x = a if b is None else c",
        "x = a if b == 'mask' else c",
        "x = table['key'][-3:][-1]",
        "import torch\nx = torch.stack(y)",
        "def f(x): return {'a': x.alpha_bar(x)}",
    ],
)
def test_the_rule_lets_conversions_pass(source: str) -> None:
    assert offences(source) == []


def test_every_json_file_is_valid_as_far_as_it_is_read() -> None:
    assert all(Path(file).stat().st_size > 0 for file in HERE.glob("*.json"))
