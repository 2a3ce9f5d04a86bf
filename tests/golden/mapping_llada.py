"""Golden kinds of confidence-ordered unmasking -> product code. Conversions and calls only."""

from golden_conversions import disagreements, first, ints, zeros
from golden_stubs import MeanDenoiser, ToyDenoiser

from baselines.engine import Diffusion
from baselines.parts.categorical import Absorbing
from baselines.parts.clocks import Continuum
from baselines.parts.conditioning import Canvas
from baselines.parts.denoisers import Guided
from baselines.parts.objectives_discrete import masked_bound
from baselines.parts.randomness import Noise
from baselines.parts.samplers_discrete import reveal_first
from baselines.parts.spaces import DiscreteSpace
from baselines.parts.timesteps import ContinuousTimes
from baselines.systems.llada import DEFAULTS, FIRST_TIME, grid_of, reverse_of, strata
from harness.schedules.names import build

GAMMA = {0.0: None, 1.0: 2.0}
"""Released guidance scale, 0 for none -> weight of the condition, which is one more."""
DECIDED = {**DEFAULTS, "tokens": "argmax"}
DREAM = {**DECIDED, "remasking": "entropy", "commits": "schedule"}
TOKENS = 2


def diffusion(mask, denoiser):
    schedule, kernel = build("linear-alpha-bar"), Absorbing(mask)
    clock = Continuum(FIRST_TIME, grid_of)
    return Diffusion(
        space=DiscreteSpace(mask), kernel=kernel, schedule=schedule, denoiser=denoiser, objective=masked_bound(kernel, schedule),
        times=ContinuousTimes(FIRST_TIME), reverse=reveal_first, clock=clock, time_input=clock.network_time,
    )  # fmt: skip


def written(keys, steps, mask_index, grid):
    """Positions that every step writes, for each row of positions to write."""
    states = [zeros(TOKENS) for _ in ("one token", "the other", "the mask")]
    even = ToyDenoiser([zeros(TOKENS) for _ in first(mask_index)], states, states)
    model, reverse = diffusion(TOKENS, even), reverse_of(keys, steps)
    prompt = Canvas(ids=ints([[0 for _ in row] for row in mask_index]), given=ints(mask_index).bool().logical_not())
    noise = Noise(ints([0 for _ in mask_index]))
    x = model.pin(model.kernel.prior(model.kernel.noise(noise, 0, len(first(mask_index)))), prompt)
    counts = []
    for number, (t, s) in enumerate(zip(grid.tolist()[:-1], grid.tolist()[1:], strict=True)):
        draws = model.kernel.noise(noise, number, len(first(mask_index)))
        after = first(model.advance(x, prompt, t, s, draws, even, None, reverse))
        counts.append([disagreements(old, new) for old, new in zip(x, after, strict=True)])
        x = after
    return [list(row) for row in zip(*counts, strict=True)]


def even_counts(mask_index, steps):
    return written(DECIDED, steps, mask_index, grid_of(steps))


def scheduled_counts(num_masks, steps, eps):
    return first(written(DREAM, steps, [[1 for _ in range(num_masks)]], grid_of(steps, eps)))


def generate(V, mask_id, prompt, gen_length, block_length, steps, cfg_scale, E, P, W):
    network = MeanDenoiser(E, P, W)
    canvas = Canvas(
        ids=ints([[*prompt, *[0 for _ in range(gen_length)]]]),
        given=ints([[*[1 for _ in prompt], *[0 for _ in range(gen_length)]]]).bool(),
    )
    gamma = GAMMA[cfg_scale]
    denoiser = network if gamma is None else Guided(network, gamma, mask_id)
    reverse = reverse_of({**DECIDED, "blocks": len(range(0, gen_length, block_length))}, steps)
    return first(diffusion(mask_id, network).sample(canvas, Noise(ints([0])), grid_of(steps), denoiser, reverse))


def likelihood_masks(b, answer_len, first_k):
    counts, shares = strata(ints([first_k]), ints([answer_len]), b)
    return {"masked_counts": first(counts), "p_mask": first(shares)}


KINDS = {
    "llada.transfer_counts": even_counts,
    "llada.generate": generate,
    "llada.likelihood_masks": likelihood_masks,
    "dream.transfer_counts": scheduled_counts,
}
