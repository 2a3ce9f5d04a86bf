"""Block diffusion behind a cache: time per token from 256 to 1,024 tokens; the default network is held to a growth of 20 %."""

import statistics
import time

import pytest
import torch

from baselines.networks.initialise import initialise
from baselines.systems.bd3_lm import BD3LM
from harness.construction import construct
from harness.contracts import Request, Sampling, TaskView
from harness.tokenizer import SPECIALS, Tokenizer

LENGTHS, ROUNDS, VOCABULARY, MOST_GROWTH = (256, 512, 768, 1024), 3, 1000, 0.2
# layers, width, heads, positions of a block; the default network comes first
CELLS = [(4, 128, 4, 4), (6, 256, 8, 16)]


def models(layers, width, heads, block):
    """One untrained network for canvases of every length: it has nothing that belongs to a place."""
    tokenizer = Tokenizer.train("words", [" ".join(f"w{place}" for place in range(VOCABULARY - len(SPECIALS)))])
    keys = {"layers": layers, "width": width, "heads": heads, "block": block, "sampler": "first-hitting"}
    made = {}
    for length in LENGTHS:
        view = TaskView(name="bench", family="ucg", tokenizer=tokenizer, max_tokens=length)
        made[length] = construct(BD3LM, BD3LM.design.schedule, view, keys).eval()
        initialise(made[length].diffusion, torch.Generator().manual_seed(0))
    return made


def per_token(model, length, seed):
    """Milliseconds of one text by position, on the clock and of the processor; each position has a call of its own."""
    start, busy = time.perf_counter(), time.process_time()
    (answer,) = model.generate([Request(id="0", seed=seed, max_tokens=length)], Sampling(fixed_length=True))
    taken = time.perf_counter() - start, time.process_time() - busy
    assert answer.network_calls == length + length // model.keys["block"]
    return [1000 * seconds / length for seconds in taken]


@pytest.mark.bench
@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_time_per_token_hardly_grows(report, cell):
    """Growth is that of the processor's time, which other processes move less; each round has every length.

    The wider network is shown and not held to it: its keys and values, read anew in every call, outgrow the processor's caches.
    """
    layers, width, _, block = cell
    made, rounds = models(*cell), []
    per_token(made[256], 256, 0)
    for number in range(ROUNDS):
        rounds.append({length: per_token(model, length, number) for length, model in made.items()})
    clock, busy = (
        {length: statistics.median(found[length][which] for found in rounds) for length in LENGTHS} for which in (0, 1)
    )
    curve = ", ".join(f"{busy[length]:.2f} ms at {length:,} ({clock[length]:.2f} on the clock)" for length in LENGTHS)
    growth = statistics.median(found[1024][1] / found[256][1] for found in rounds) - 1
    report(
        f"{layers} x {width}, blocks of {block}, V = {VOCABULARY:,}, one text at a time, first-hitting; of the processor, per "
        f"token: {curve}; growth {growth:+.1%}, wanted: at most {MOST_GROWTH:.0%} (medians of {ROUNDS} rounds)"
    )
    assert growth <= MOST_GROWTH or cell != CELLS[0]
