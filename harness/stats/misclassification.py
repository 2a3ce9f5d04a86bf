"""A share that an imperfect test counts, corrected by how the test does where the truth is known."""

import numpy as np
from jaxtyping import Float

LEAST_YOUDEN = 0.1
"""Least sensitivity + specificity - 1 with which a share is corrected: below it the correction is mostly noise."""


def corrected_share(sums: Float[np.ndarray, "R 6"]) -> Float[np.ndarray, " R"]:
    """Aggregate: (observed + specificity - 1) / (sensitivity + specificity - 1); NaN where that is not above `LEAST_YOUDEN`.

    Rogan and Gladen 1978 (American Journal of Epidemiology 107). Not clipped to [0, 1], so that means over resamples stay
    unbiased and better systems stay better; above 1 means that the test finds more than on the positives it was tried on.

    Args:
        sums: what the test found and all it looked at, for the sample, for known positives and for known negatives in turn.
    """
    found, looked_at = sums[:, 0::2], sums[:, 1::2]
    observed, sensitivity, false_alarms = np.divide(found, looked_at, out=np.full(found.shape, np.nan), where=looked_at > 0).T
    youden = sensitivity - false_alarms
    usable = youden > LEAST_YOUDEN  # False for NaN
    return np.divide(observed - false_alarms, youden, out=np.full(len(sums), np.nan), where=usable)
