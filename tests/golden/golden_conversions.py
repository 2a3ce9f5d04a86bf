"""Conversions between JSON and the product's types: no formula of any system stands here."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baselines.parts.categorical import Uniform


def floats(values: Any) -> Tensor:
    """Nested lists or numbers as a float64 tensor."""
    return torch.tensor(values, dtype=torch.float64)


def ints(values: Any) -> Tensor:
    """Nested lists or numbers as an int64 tensor."""
    return torch.tensor(values, dtype=torch.int64)


def row(values: Any) -> Tensor:
    """A list as float64 [1, M]: one sequence with a time per position."""
    return floats(values).unsqueeze(0)


def plain(value: Any) -> Any:
    """Tensors and arrays as nested lists and numbers; objects and lists keep their shape."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (Tensor, np.ndarray, np.generic)):
        return value.tolist()
    return value


def flat(value: Tensor) -> Tensor:
    """One axis."""
    return value.flatten()


def at(values: Tensor, index: Sequence[int]) -> Tensor:
    """Entries by 0-based index."""
    return values[ints(index)]


def before(values: Tensor, index: Sequence[int]) -> Tensor:
    """Entries of a table one place before each index."""
    return torch.stack([values[:i][-1] for i in index])


def first(values: Any) -> Any:
    """The first entry."""
    return values[0]


def last(values: Any) -> Any:
    """The last entry."""
    return values[-1]


def all_but_last(values: Any) -> Any:
    """Everything before the last entry."""
    return values[:-1]


def one_hot(index: int, size: int) -> Tensor:
    """A law that is all on one state."""
    return torch.nn.functional.one_hot(torch.tensor(index), size).to(torch.float64)


def last_one_hot(size: int) -> Tensor:
    """A law that is all on the last state."""
    return one_hot(range(size)[-1], size)


def even_law(size: int) -> Tensor:
    """The uniform law."""
    return Uniform(size).stationary


def rows_of(table: Sequence[Sequence[float]]) -> tuple[Tensor, Tensor]:
    """A table as (row of each entry, entry), row by row."""
    return ints([i for i, values in enumerate(table) for _ in values]), floats([value for values in table for value in values])


def raises(function: Callable[..., Any], *arguments: Any, **named: Any) -> bool:
    """Whether a call is refused with a ValueError."""
    try:
        function(*arguments, **named)
    except ValueError:
        return True
    return False


def zeros(count: int) -> list[float]:
    """A list of zeros."""
    return [0.0 for _ in range(count)]


def ones(count: int) -> list[int]:
    """A list of ones."""
    return [1 for _ in range(count)]


def disagreements(left: Tensor, right: Tensor) -> int:
    """Number of entries in which two tensors differ."""
    return len([one for one, other in zip(left.flatten().tolist(), right.flatten().tolist(), strict=True) if one not in (other,)])
