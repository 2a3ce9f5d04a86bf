"""Block diffusion behind a cache: time per token from 256 to 1,024 tokens grows by at most 20 %."""

import statistics
import time

import pytest
import torch

from baselines.networks.initialise import initialise
from baselines.systems.bd3_lm import BD3LM
from harness.construction import construct
from harness.contracts import Request, Sampling, TaskView
from harness.tokenizer import SPECIALS, Tokenizer

LENGTHS, ROUNDS, VOCABULARY, MOST_GROWTH = (256, 512, 768, 1024), 5, 1000, 0.2
# layers, width, heads, positions of a block
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


def seconds_per_token(model, length, seed):
    """Wall time of one text, a position at a time."""
    start = time.perf_counter()
    (answer,) = model.generate([Request(id="0", seed=seed, max_tokens=length)], Sampling(fixed_length=True))
    taken = time.perf_counter() - start
    assert answer.network_calls == length + length // model.keys["block"]
    return taken / length


@pytest.mark.bench
@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_time_per_token_hardly_grows(report, cell):
    layers, width, _, block = cell
    made, found = models(*cell), {length: [] for length in LENGTHS}
    seconds_per_token(made[256], 256, 0)
    for number in range(ROUNDS):
        for length, model in made.items():
            found[length].append(seconds_per_token(model, length, number))
    medians = {length: statistics.median(taken) for length, taken in found.items()}
    curve = ", ".join(f"{taken * 1000:.2f} ms at {length:,}" for length, taken in medians.items())
    growth = medians[1024] / medians[256] - 1
    report(
        f"{layers} x {width}, blocks of {block}, V = {VOCABULARY:,}, one text at a time, first-hitting: per token {curve}; "
        f"growth {growth:+.1%}, wanted: at most {MOST_GROWTH:.0%} (medians of {ROUNDS} rounds)"
    )
    assert growth <= MOST_GROWTH
