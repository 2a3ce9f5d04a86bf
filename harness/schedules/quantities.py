"""Quantities that papers use in place of alpha-bar: amplitudes, signal-to-noise ratio, total noise, loss weights."""

import torch
from jaxtyping import Float
from torch import Tensor

Values = Float[Tensor, "*shape"]


def amplitude(alpha: Values) -> Values:
    """Factor on x0 in a variance-preserving kernel: sqrt(alpha)."""
    return torch.sqrt(alpha)


def noise_std(alpha: Values) -> Values:
    """Standard deviation of the noise in a variance-preserving kernel: sqrt(1 - alpha)."""
    return torch.sqrt(1 - alpha)


def snr(alpha: Values) -> Values:
    """Signal-to-noise ratio alpha / (1 - alpha); infinite where nothing is destroyed."""
    return alpha / (1 - alpha)


def log_snr(alpha: Values) -> Values:
    """log(alpha / (1 - alpha))."""
    return torch.logit(alpha)


def destroyed(alpha: Values) -> Values:
    """1 - alpha: for absorbing noise, the probability of a mask (`move chance`)."""
    return 1 - alpha


def total_noise(alpha: Values) -> Values:
    """sigma-bar = -log(alpha), the integral of the noise rate (SEDD, arXiv 2310.16834)."""
    return -torch.log(alpha)


def noise_rate(alpha: Values, rate: Values) -> Values:
    """sigma(t) = -alpha' / alpha, the derivative of the total noise."""
    return -rate / alpha


def masked_weight(alpha: Values, rate: Values) -> Values:
    """Factor on log p(x0) in the bound of MD4 (arXiv 2406.04329, eq. 4): alpha' / (1 - alpha), at most 0."""
    return rate / (1 - alpha)


def score_weight(total: Values, rate: Values) -> Values:
    """The same weight with the other sign, sigma' / (exp(sigma) - 1) as MDLM writes it (arXiv 2406.07524, eq. 10)."""
    return rate / torch.expm1(total)


def velocity_weight(alpha: Values) -> Values:
    """SNR + 1 = 1 / (1 - alpha): the weight on the x0 error that a plain error of v amounts to (arXiv 2202.00512)."""
    return 1 / (1 - alpha)


def spread(kept: Values, masked: Values, states: int) -> Values:
    """Probability of each single state when a token is neither kept nor masked: (1 - kept - masked) / K (arXiv 2111.14822)."""
    return (1 - kept - masked) / states
