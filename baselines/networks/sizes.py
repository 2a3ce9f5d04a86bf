"""Which width meets a parameter target."""

from collections.abc import Callable

import torch
from torch import nn


def parameters_of(build: Callable[[], nn.Module]) -> int:
    """Trainable parameters of a network, counted on the meta device: nothing is allocated."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build().parameters() if parameter.requires_grad)


def width_for(parameters: int, build: Callable[[int], nn.Module], *, multiple: int = 8) -> int:
    """The width whose network comes closest to a number of parameters, in ratio.

    Args:
        parameters: the target.
        build: makes the network of a width; the count must grow with it.
        multiple: widths that are tried are multiples of this; a multiple of twice the heads. 8 keeps the count within 10 % of
            the target from width 80 on.

    Raises:
        ValueError: even the narrowest network has more than twice the target.
    """

    def count(step: int) -> int:
        return parameters_of(lambda: build(step * multiple))

    if count(1) > 2 * parameters:
        raise ValueError(
            f"{parameters} parameters are too few: width {multiple} already has {count(1)}. Raise the target or cut the layers."
        )
    high = 1
    while count(high) < parameters:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) < parameters else (low, middle)
    return multiple * min((step for step in (low, high) if step), key=lambda step: _distance(count(step), parameters))


def _distance(found: int, wanted: int) -> float:
    return max(found / wanted, wanted / found)
