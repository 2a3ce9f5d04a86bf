"""Golden kinds of unmasking in an order -> product code. Conversions and calls only."""

import torch
from golden_conversions import disagreements, first, floats, ints, last, zeros
from golden_stubs import MeanDenoiser, ToyDenoiser

from baselines.parts.categorical import Absorbing
from baselines.parts.guidance import Guided
from baselines.systems.llada import DEFAULTS, grid_of, reverse_of, strata
from harness.schedules.names import build

GAMMA = {0.0: None, 1.0: 2.0}
"""Released guidance scale, 0 for none -> weight of the condition, which is one more."""
DECIDED = {**DEFAULTS, "tokens": "argmax"}
TOKENS = 2


def walked(reverse, grid, denoiser, mask, ids, given):
    """States before the first and after every step, given tokens in their places."""
    kernel, levels = Absorbing(mask), build("linear-alpha-bar").alpha_bar(grid.unsqueeze(0))[0].tolist()
    known, noise = ints(given).bool(), torch.full((len(ids), len(ids[0]), 2), 0.5, dtype=torch.float64)
    states = [ints([[v if k else mask for v, k in zip(*pair, strict=True)] for pair in zip(ids, given, strict=True)])]
    for before, after, place in zip(levels[:-1], levels[1:], grid.tolist()[1:], strict=True):
        alphas = [floats([[1.0 if k else level for k in row] for row in given]) for level in (before, after)]
        estimate = denoiser(last(states), floats(zeros(len(ids))), known, None)
        states.append(reverse(kernel, last(states), estimate, *alphas, noise=noise, final=place in (0.0,)))
    return states


def written(keys, mask_index, grid):
    """Positions that every step writes, for each row of positions to write; the network knows nothing."""
    laws = [zeros(TOKENS) for _ in ("one token", "the other", "the mask")]
    network = ToyDenoiser([zeros(TOKENS) for _ in first(mask_index)], laws, laws)
    given = [[not free for free in row] for row in mask_index]
    states = walked(reverse_of(keys, len(grid[1:])), grid, network, TOKENS, [[0 for _ in row] for row in mask_index], given)
    befores, afters = zip(*states[:-1], strict=True), zip(*states[1:], strict=True)
    rows = zip(befores, afters, strict=True)
    return [[disagreements(old, new) for old, new in zip(before, after, strict=True)] for before, after in rows]


def even_counts(mask_index, steps):
    return written(DECIDED, mask_index, grid_of(steps))


def scheduled_counts(num_masks, steps, eps):
    return first(written({**DECIDED, "commits": "schedule"}, [[1 for _ in range(num_masks)]], grid_of(steps, eps)))


def generate(V, mask_id, prompt, gen_length, block_length, steps, cfg_scale, E, P, W):
    network, gamma = MeanDenoiser(E, P, W), GAMMA[cfg_scale]
    denoiser = network if gamma is None else Guided(network, gamma, mask_id)
    reverse = reverse_of({**DECIDED, "blocks": len(range(0, gen_length, block_length))}, steps)
    answer = [0 for _ in range(gen_length)]
    given = [*[1 for _ in prompt], *answer]
    return first(last(walked(reverse, grid_of(steps), denoiser, mask_id, [[*prompt, *answer]], [given])))


def likelihood_masks(b, answer_len, first_k):
    counts, shares = strata(ints([first_k]), ints([answer_len]), b)
    return {"masked_counts": first(counts), "p_mask": first(shares)}


KINDS = {
    "llada.transfer_counts": even_counts,
    "llada.generate": generate,
    "llada.likelihood_masks": likelihood_masks,
    "dream.transfer_counts": scheduled_counts,
}
