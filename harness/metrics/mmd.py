"""Kernel maximum mean discrepancy on the judge's features, and whether chance alone would make it as large."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from harness.design import Family
from harness.measurement import Evaluation, Measurement
from harness.metrics.answers import checked_texts, empty_flags, measured, refusals, resampling
from harness.metrics.features import embedded, feature_signature, why_no_distribution
from harness.stats.intervals import Interval, wilson
from harness.stats.standard_errors import jackknife

PERMUTATIONS = 999
_LEAST = 100
_ROWS = 512  # of the kernel matrix at once
_TIE = 1e-9  # of the spread of permutations: values that differ by less are equal, up to the order of summation

_Sums = np.ndarray | np.floating | int


class MMD:
    """Unbiased squared maximum mean discrepancy (Gretton et al. 2012, JMLR 13, equation 3), with the kernel of KID.

    The kernel is (x . y / width + 1)^3 (Bińkowski et al. 2018, arXiv:1801.01401): it compares moments up to the
    third, where the Fréchet distance stops at the second, and has no bandwidth to be fitted to each model's samples, so that
    values of different models compare. Being unbiased, the value is below 0 by chance where both laws are the same. Its
    interval is a jackknife over the items of either side, too wide where the laws are nearly the same.

    `mmd_p` is the share of divisions of all texts into two sides whose value is at least as large, the given one counted
    in (Phipson and Smyth 2010): whether n texts tell the laws apart, not how far apart these are. Its interval is that of
    the drawn permutations.
    """

    name: ClassVar[str] = "mmd"
    version: ClassVar[int] = 1
    families: ClassVar[tuple[Family, ...]] = ("ucg",)
    needs: ClassVar[tuple[str, ...]] = ("judge",)
    values: ClassVar[Mapping[str, bool | None]] = {"mmd": False, "mmd_p": None}
    exposes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "mmd": ("shuffled-human", "phrase-table", "tiled", "empty", "constant"),
    }  # fmt: skip

    def __call__(self, evaluation: Evaluation) -> Mapping[str, Measurement]:
        """Measure the selected texts against the examples' targets."""
        n, signature = len(checked_texts(evaluation)), f"{feature_signature(evaluation)}|kernel:(xy/width+1)^3|unbiased"
        found = embedded(evaluation, least=_LEAST, otherwise="too few texts to tell distributions apart")
        reason = found if isinstance(found, str) else why_no_distribution(found)
        if isinstance(found, str) or reason:
            return refusals(self.values, str(reason), n=n, signature=signature)
        features = np.concatenate([found.samples, found.references])
        values, left_out = discrepancies(features, divisions(n, n, PERMUTATIONS, resampling(evaluation, "mmd_p")))
        value, flags = float(values[0]), empty_flags(evaluation.texts)
        share, ends = p_value(value, values[1:])
        drawn, told = f"{signature}|permutations:{PERMUTATIONS}", ("interval over permutations", *flags)
        return {
            "mmd": measured(value, jackknife(value, *left_out), n=n, signature=f"{signature}|se:jackknife", flags=flags),
            "mmd_p": measured(share, ends, n=n, signature=drawn, flags=told),
        }


def p_value(value: float, permuted: Float[np.ndarray, " R"]) -> tuple[float, Interval]:
    """Share of values at least as large, the given one counted in, and Wilson's interval of the share among the permuted.

    Phipson and Smyth 2010 (Stat. Appl. Genet. Mol. Biol. 9): without the one counted in the test would reject too often.
    """
    hits = int(np.count_nonzero(permuted >= value - _TIE * float(permuted.std())))
    return (hits + 1) / (len(permuted) + 1), wilson(hits, len(permuted))


def kernel(rows: Float[np.ndarray, "r W"], columns: Float[np.ndarray, "c W"]) -> Float[np.ndarray, "r c"]:
    """(x . y / width + 1)^3 of every pair, in float64."""
    base = rows.astype(np.float64) @ columns.astype(np.float64).T / rows.shape[1] + 1
    return base * base * base


def divisions(n: int, m: int, permutations: int, rng: np.random.Generator) -> Float[np.ndarray, "R N"]:
    """Which of n + m texts are on the first side: the first n in the first row, as many by chance in all others."""
    given = np.repeat([1.0, 0.0], [n, m])
    return np.concatenate([given[None], rng.permuted(np.tile(given, (permutations, 1)), axis=1)])


def discrepancies(
    features: Float[np.ndarray, "N W"], sides: Float[np.ndarray, "R N"]
) -> tuple[Float[np.ndarray, " R"], tuple[Float[np.ndarray, " n"], Float[np.ndarray, " m"]]]:
    """Unbiased MMD^2 of every division of the texts, and that of the first without each text of either side.

    The kernel matrix is made once, a block of rows at a time; all divisions are one product with it.

    Args:
        features: of all texts.
        sides: 1 where a text is on the first side, 0 where it is on the second; at least three on each.

    Raises:
        ValueError: fewer than three texts on a side.
    """
    first = sides.sum(1)
    if min(first.min(), (sides.shape[1] - first).min()) < 3:
        raise ValueError(f"{sides.shape[1]} texts with {first.min():g} on one side: expected at least 3 on each")
    toward = _toward(features, np.concatenate([sides, np.ones((1, len(features)))]).T)
    totals = toward[:, -1]
    within = np.einsum("rn,nr->r", sides, toward[:, :-1])
    across = toward[:, :-1].sum(0) - within
    values = _mmd(within, totals.sum() - within - 2 * across, across, first, sides.shape[1] - first)
    return values, _left_out(toward[:, 0], totals, sides[0] == 1)


def _toward(features: Float[np.ndarray, "N W"], columns: Float[np.ndarray, "N C"]) -> Float[np.ndarray, "N C"]:
    """Product of the kernel matrix, with zeros on its diagonal, and columns."""
    found = np.empty((len(features), columns.shape[1]))
    for start in range(0, len(features), _ROWS):
        block = kernel(features[start : start + _ROWS], features)
        block[np.arange(len(block)), start + np.arange(len(block))] = 0
        found[start : start + _ROWS] = block @ columns
    return found


def _left_out(
    toward: Float[np.ndarray, " N"], totals: Float[np.ndarray, " N"], first: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """MMD^2 without each text of the first side, and without each of the second.

    Args:
        toward: each text's kernels with the others of the first side, added up.
        totals: each text's kernels with all others, added up.
        first: which texts are on the first side.
    """
    away, n, m = totals - toward, int(first.sum()), int((~first).sum())
    within, across, beyond = toward[first].sum(), toward[~first].sum(), away[~first].sum()
    without_first = _mmd(within - 2 * toward[first], beyond, across - away[first], n - 1, m)
    without_second = _mmd(within, beyond - 2 * away[~first], across - toward[~first], n, m - 1)
    return without_first, without_second


def _mmd(within: _Sums, beyond: _Sums, across: _Sums, n: _Sums, m: _Sums) -> np.ndarray:
    """Gretton et al. 2012, equation 3: mean kernel within the first side of n, within the second of m, less twice that across."""
    return np.asarray(within / (n * (n - 1)) + beyond / (m * (m - 1)) - 2 * across / (n * m))
