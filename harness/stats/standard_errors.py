"""Intervals from standard errors: for values that resampling with replacement would bias, because it repeats items."""

import math

import numpy as np
from jaxtyping import Float

from harness.stats.intervals import LEAST, Interval

_Z = 1.96


def around(value: float, error: float, *, least: float = -math.inf, most: float = math.inf) -> Interval:
    """The value and 1.96 standard errors on either hand, within `least` and `most`, where the value lies."""
    return Interval(max(least, value - _Z * error), min(most, value + _Z * error))


def jackknife(
    value: float,
    *left_out: Float[np.ndarray, " _"],
    least: float = -math.inf,
    most: float = math.inf,
) -> Interval | None:
    """Normal interval of a statistic of independent samples, from its values with one item left out.

    The variances of the samples are added (Arvesen 1969, Ann. Math. Stat. 40). On average they are too large rather than too
    small (Efron and Stein 1981, Ann. Stat. 9, up to the difference between n and n - 1 items).

    Args:
        value: the statistic.
        left_out: for each sample, the statistic without each of its items.
        least: smallest value that there can be.
        most: largest value that there can be.

    Returns:
        `None` where fewer than `LEAST` items move the value when left out.
    """
    moving = sum(np.count_nonzero(~np.isclose(values, value, rtol=1e-12, atol=0)) for values in left_out)
    if moving < LEAST:
        return None
    variances = [(len(values) - 1) * float(values.var()) for values in left_out]
    return around(value, math.sqrt(sum(variances)), least=least, most=most)
