"""Stub networks that the golden cases write out: arithmetic of the case, not of any system."""

import torch
from golden_conversions import floats

from baselines.parts.estimates import Estimate


class ToyDenoiser(torch.nn.Module):
    """logits[i] = P[i] + sum over j != i of W[x_j] + E[x_i], without time."""

    def __init__(self, P, W, E):
        super().__init__()
        self.P, self.W, self.E = floats(P), floats(W), floats(E)

    def forward(self, x_t, time, given, previous):
        others = self.W[x_t].sum(1, keepdim=True) - self.W[x_t]
        logits = self.P + others + self.E[x_t]
        return Estimate(logits.log_softmax(-1), logits)


class MeanDenoiser(torch.nn.Module):
    """logits[i] = E[x_i] + P[i] + mean over all j of W[x_j], without time; the last column is the mask's."""

    def __init__(self, E, P, W):
        super().__init__()
        self.E, self.P, self.W = floats(E), floats(P), floats(W)

    def forward(self, x_t, time, given, previous):
        logits = (self.E[x_t] + self.P + self.W[x_t].mean(1, keepdim=True))[..., :-1]
        return Estimate(logits.log_softmax(-1), logits)
