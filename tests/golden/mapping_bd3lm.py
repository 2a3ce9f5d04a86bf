"""Golden kinds of BD3-LM -> product code. Conversions and calls only."""

import torch
from golden_conversions import first, floats, ints, row

from baselines.parts.blocks import BlockTimes, block_mask, block_numbers, hitting_times
from baselines.parts.categorical import Absorbing, normalised
from baselines.parts.estimates import Estimate
from baselines.parts.objectives_discrete import masked_bound
from baselines.parts.steps import Step
from baselines.systems.bd3_lm import BD3LM, strict_nucleus
from harness.schedules.names import build


def attention_mask(n, block_size):
    return block_mask(block_numbers(n, block_size)).long()


def loss(V, mask_index, block_size, x0, x_t, t_per_token, logits_LV):
    schedule, t, clean = build(BD3LM.design.schedule), row(t_per_token), ints([x0])
    level, logits = schedule.alpha_bar(t), floats([logits_LV])[..., :mask_index]
    step = Step(
        ids=clean, given=torch.zeros_like(clean, dtype=torch.bool), clean=clean, x0=clean, x_t=ints([x_t]),
        estimate=Estimate(normalised(logits), logits), t=t, alpha_t=level, alpha_s=level, alpha_T=level,
        first=torch.zeros_like(t, dtype=torch.bool),
    )  # fmt: skip
    return first(masked_bound(Absorbing(mask_index), schedule)(step))


def antithetic_times(batch, length, block_size, lo, hi, u):
    return BlockTimes(len(first(u)), block_size, low=lo, high=hi).places(floats(u))


def nucleus(probs, nucleus_p):
    return strict_nucleus(floats(probs), nucleus_p)


def first_hitting_times(num_masked, u):
    return first(hitting_times(row(u[:num_masked])))


KINDS = {
    "bd3lm.antithetic_times": antithetic_times,
    "bd3lm.attention_mask": attention_mask,
    "bd3lm.first_hitting_times": first_hitting_times,
    "bd3lm.loss": loss,
    "bd3lm.nucleus": nucleus,
}
