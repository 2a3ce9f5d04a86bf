"""What a comparison could have found: the smallest true difference that its test detects with a stated power."""

import math

from harness.stats.seeds import Error

POWER = 0.8
SIGNIFICANCE = 0.05


def minimum_detectable_effect(error: Error, *, power: float = POWER, significance: float = SIGNIFICANCE) -> float:
    """Smallest true difference that a two-sided t test finds with this power.

    Solves for the noncentrality of Student's t at which the test rejects with the stated chance. A standard error from few
    degrees of freedom is too small on average, and is freed from that (the constant c4 of quality control).

    Args:
        error: of the difference.
        power: chance to find it, above the significance.
        significance: chance to find a difference where there is none.

    Raises:
        ValueError: not 0 < significance < power < 1.
    """
    from scipy import optimize, stats

    if not 0 < significance < power < 1:
        raise ValueError(f"significance {significance} and power {power}: expected 0 < significance < power < 1")
    bound = float(stats.t.ppf(1 - significance / 2, error.degrees))

    def missed(noncentrality: float) -> float:
        return float(stats.nct.sf(bound, error.degrees, noncentrality)) - power

    largest = bound + 1.0
    while missed(largest) < 0:
        largest *= 2
    return float(optimize.brentq(missed, 0.0, largest, xtol=1e-6)) * error.standard / _share_of_true_error(error.degrees)


def _share_of_true_error(degrees: float) -> float:
    """Mean of an estimated standard error over the true one."""
    return math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)) * math.sqrt(2 / degrees)
