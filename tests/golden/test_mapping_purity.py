"""Modules here only convert arguments and call the product: no arithmetic, no comparison with numbers, no tensor maths."""

import ast
from pathlib import Path

import pytest
import torch
from golden_cases import HERE, mapping_names

EXEMPT = {
    "golden_stubs": "networks that the cases write out",
    "golden_cases": "the comparator rule",
    "golden_mutation": "changes the product",
    "check_format": "checks the files alone",
}
"""Modules that may calculate, beside the tests themselves, with the reason."""
PURE = sorted(file.stem for file in HERE.glob("*.py") if file.stem not in EXEMPT and not file.stem.startswith("test_"))
ALLOWED_IMPORTS = (
    "harness",
    "baselines",
    "golden_conversions",
    "golden_stubs",
    "pathlib",
    "sys",
    "typing",
    "collections.abc",
    "dataclasses",
    "functools",
)
ALLOWED_BUILTINS = {
    "bool", "dict", "enumerate", "float", "frozenset", "int", "isinstance", "len", "list", "range", "reversed", "set",
    "sorted", "str", "super", "tuple", "zip",
}  # fmt: skip
ARRAY_IMPORTS = {"import torch", "from torch import Tensor", "import numpy as np"}
TORCH_CONVERSIONS = {
    "Generator", "Tensor", "arange", "bool", "cat", "float64", "full", "int64", "long", "nn", "no_grad", "ones", "ones_like",
    "stack", "tensor", "zeros", "zeros_like",
}  # fmt: skip
TORCH_FUNCTIONS = {"torch.nn.Module", "torch.nn.functional", "torch.nn.functional.one_hot"}
TENSOR_CONVERSIONS = {
    "__init__", "bool", "double", "expand", "flatten", "flip", "isnan", "logical_not", "long", "mT", "shape", "to", "tolist",
    "unsqueeze", "view", "view_as",
}  # fmt: skip
PRODUCT_METHODS = {"index", "mode"}
"""Methods of the product that a tensor has too."""
NUMPY_TYPES = {"generic", "ndarray"}


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
    defined |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    stored = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return imported | defined | stored | ALLOWED_BUILTINS


def _offence(node: ast.AST, known: set[str]) -> list[str]:
    if isinstance(node, ast.BinOp | ast.AugAssign):
        return [f"arithmetic: {ast.unparse(node)}"]
    if isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.Not):
        return [f"a sign: {ast.unparse(node)}"]
    if isinstance(node, ast.Compare) and not all(isinstance(op, ast.Is | ast.IsNot | ast.In | ast.NotIn) for op in node.ops):
        sides = [node.left, *node.comparators]
        if not any(isinstance(side, ast.Constant) and isinstance(side.value, str) for side in sides):
            return [f"a comparison: {ast.unparse(node)}"]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return _bad_imports(node)
    if isinstance(node, ast.Attribute):
        return [] if _converts(node) else [f"tensor maths: {ast.unparse(node)}"]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id not in known:
        return [f"a call of {node.func.id}"]
    return []


def _converts(attribute: ast.Attribute) -> bool:
    """Whether an attribute is named among the conversions; what a tensor or numpy has and is not named may calculate."""
    whole = ast.unparse(attribute)
    if whole.startswith("torch.nn.") and "(" not in whole:
        return whole in TORCH_FUNCTIONS
    if isinstance(attribute.value, ast.Name) and attribute.value.id in ("torch", "np"):
        return attribute.attr in (TORCH_CONVERSIONS if attribute.value.id == "torch" else NUMPY_TYPES)
    return attribute.attr in TENSOR_CONVERSIONS | PRODUCT_METHODS or not hasattr(torch.Tensor, attribute.attr)


def _bad_imports(node: ast.Import | ast.ImportFrom) -> list[str]:
    if ast.unparse(node) in ARRAY_IMPORTS:
        return []
    modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    return [
        f"an import: {module}"
        for module in modules
        if not any(module == allowed or module.startswith(f"{allowed}.") for allowed in ALLOWED_IMPORTS)
    ]


@pytest.mark.parametrize("name", PURE)
def test_a_module_only_converts_and_calls(name: str) -> None:
    assert offences((HERE / f"{name}.py").read_text()) == []


def test_every_mapping_is_held_to_the_rule_and_every_exemption_is_a_module() -> None:
    assert {*mapping_names(), "golden_conversions"} <= set(PURE)
    assert all((HERE / f"{name}.py").exists() for name in EXEMPT)


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
        "import numpy as np\nx = np.exp(y)",
        "from scipy.special import expit",
        "from tests import reference",
        "x = y.sum()",
        "x = y.lerp(z, 0.5)",
        "x = y.mul_(2)",
        "x = y.sub_(1)",
        "x = y.log2()",
        "x = y.addcmul(z, z)",
        "x = y.logcumsumexp(0)",
        "x = y.multiply(z)",
        "x = y.subtract(z)",
        "x = y.true_divide(z)",
        "total = y.__add__",
        "import torch\nx = torch.nn.functional.kl_div(y, z)",
        "import torch\nx = torch.nn.functional.gelu(y)",
        "import torch.nn.functional as F\nx = F.gelu(y)",
        "import torch as t\nx = t.nn.functional.gelu(y)",
        "from torch import exp",
        "from torch.nn.functional import gelu",
        "x = [0.0] * count",
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
        "from torch import Tensor\nimport numpy as np\nx = isinstance(y, (Tensor, np.ndarray))",
    ],
)
def test_the_rule_lets_conversions_pass(source: str) -> None:
    assert offences(source) == []


def test_every_json_file_is_valid_as_far_as_it_is_read() -> None:
    assert all(Path(file).stat().st_size > 0 for file in HERE.glob("*.json"))
