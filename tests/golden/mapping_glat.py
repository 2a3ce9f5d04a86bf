"""Golden kinds of glancing -> product code. Conversions and calls only."""

import torch
from golden_conversions import disagreements, first, floats, ints

from baselines.parts.glancing import agreement, glanced


def glancing_count(target, first_pass_argmax, pad, ratio):
    """The count, of the positions that are revealed."""
    ids, guess, text = ints([target]), ints([first_pass_argmax]), ints([[token not in (pad,) for token in target]]).bool()
    length, correct = agreement(ids, guess, text)
    revealed = glanced(ids, guess, text, text, ratio, floats([list(range(len(target)))]))
    return {
        "length": first(length), "correct": first(correct), "revealed": disagreements(revealed, torch.zeros_like(revealed)),
    }  # fmt: skip


KINDS = {"glat.glancing_count": glancing_count}
