"""Many tests at once: adjusted p-values that keep what 5 % promises."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

Correction = Literal["holm", "bh"]


def holm(p_values: Sequence[float]) -> Float[np.ndarray, " m"]:
    """Adjusted p-values: below 5 %, the chance of one false finding among all is below 5 %, however the tests depend.

    Holm 1979 (Scandinavian Journal of Statistics 6).
    """
    p, order = _sorted(p_values)
    stepped = np.maximum.accumulate(p * np.arange(len(p), 0, -1))
    return _back(np.minimum(stepped, 1.0), order)


def benjamini_hochberg(p_values: Sequence[float]) -> Float[np.ndarray, " m"]:
    """Adjusted p-values: of what lies below 5 %, at most 5 % are false findings on average. To explore, not to claim.

    Benjamini and Hochberg 1995 (J. R. Stat. Soc. B 57); for tests that are independent or positively dependent.
    """
    p, order = _sorted(p_values)
    stepped = np.minimum.accumulate((p * len(p) / np.arange(1, len(p) + 1))[::-1])[::-1]
    return _back(np.minimum(stepped, 1.0), order)


CORRECTIONS: Mapping[Correction, Callable[[Sequence[float]], Float[np.ndarray, " m"]]] = {"holm": holm, "bh": benjamini_hochberg}


def _sorted(p_values: Sequence[float]) -> tuple[Float[np.ndarray, " m"], np.ndarray]:
    p = np.asarray(p_values, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p-values {p[~((p >= 0) & (p <= 1))].tolist()}: expected numbers in [0, 1]")
    order = np.argsort(p, kind="stable")
    return p[order], order


def _back(adjusted: Float[np.ndarray, " m"], order: np.ndarray) -> Float[np.ndarray, " m"]:
    found = np.empty_like(adjusted)
    found[order] = adjusted
    return found
