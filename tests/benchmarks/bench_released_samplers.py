"""Samplers of this harness beside released ones, end to end, at one network: never slower; 1.5 times where overhead dominates.

Overhead is what a released run takes beyond as many passes through the trunk as it has steps, logits not read. It dominates where
it is the larger part.

What runs released code is no part of this project: RELEASED_SAMPLERS names a Python file with one function per system, such as
`mdlm(network, vocabulary, length, batch, steps)`: it gives a call without arguments that draws a batch by the released sampler.
The network takes ids "B L" and a time "B" and gives new logits "B L V + 1", the mask last; its trunk is the harness's own.
Runs are interleaved; ratios are of medians.
"""

import importlib.util
import os
import time
from pathlib import Path
from statistics import median

import pytest
import torch

from baselines.networks.initialise import initialise
from baselines.parts.conditioning import Canvas
from baselines.parts.randomness import Noise
from baselines.systems.mdlm import MDLM
from baselines.systems.sedd import SEDD
from harness.construction import construct
from harness.contracts import TaskView
from harness.tokenizer import Tokenizer

LAYERS, HEADS, LENGTH, BATCH, STEPS, REPEATS = 4, 4, 128, 2, 32, 3
WIDTHS, VOCABULARIES = (128, 256, 768), (1000, 50_257)
SYSTEMS = {"mdlm": (MDLM, "log-linear"), "sedd": (SEDD, "log-linear")}
FASTER = 1.5  # at least, at this width and below, where overhead dominates
NARROW = 128


class WithMask(torch.nn.Module):
    """The network of a system with one more logit, as released networks have it."""

    def __init__(self, network, vocabulary, width):
        super().__init__()
        self.network, self.head = network, torch.nn.Linear(width, vocabulary + 1)

    def forward(self, x, time):
        return self.head(self.network(x, time, x < 0, None).hidden)


def view(vocabulary):
    tokenizer = Tokenizer.train("words", [" ".join(f"w{i}" for i in range(vocabulary))])
    missing = vocabulary - len(tokenizer)
    if missing:
        tokenizer = Tokenizer.train("words", [" ".join(f"w{i}" for i in range(vocabulary + missing))])
    return TaskView(name="empty", family="ucg", tokenizer=tokenizer, max_tokens=LENGTH)


def ours(system, vocabulary, width):
    model_class, schedule = SYSTEMS[system]
    model = construct(model_class, schedule, view(vocabulary), {"width": width, "layers": LAYERS, "heads": HEADS}).eval()
    initialise(model.diffusion, torch.Generator().manual_seed(0))
    empty = torch.zeros(BATCH, LENGTH, dtype=torch.int64)
    canvas, grid = Canvas(ids=empty, given=empty.bool()), model.diffusion.clock.grid(STEPS)
    return model, lambda: model.diffusion.sample(canvas, Noise(torch.arange(BATCH)), grid)


@pytest.fixture(scope="module")
def released():
    if "RELEASED_SAMPLERS" not in os.environ:
        pytest.skip("RELEASED_SAMPLERS names no file that runs released samplers; see the module")
    path = Path(os.environ["RELEASED_SAMPLERS"])
    specification = importlib.util.spec_from_file_location("released_samplers", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def passes(network):
    """As many passes through the trunk as there are steps; the head is not asked."""
    ids, given = torch.zeros(BATCH, LENGTH, dtype=torch.int64), torch.zeros(BATCH, LENGTH, dtype=torch.bool)

    @torch.no_grad()
    def call():
        for _ in range(STEPS):
            _ = network(ids, torch.full((BATCH,), 500.0), given, None).hidden

    return call


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


@pytest.mark.bench
@pytest.mark.parametrize("system", SYSTEMS)
def test_no_released_sampler_is_faster(system, released, report):
    for vocabulary in VOCABULARIES:
        for width in WIDTHS:
            model, own = ours(system, vocabulary, width)
            assert len(model.task.tokenizer) == vocabulary
            network = WithMask(model.diffusion.denoiser, vocabulary, width).eval()
            theirs = getattr(released, system)(network, vocabulary, LENGTH, BATCH, STEPS)
            assert int((theirs() < vocabulary).sum()) == BATCH * LENGTH
            assert int((own() < vocabulary).sum()) == BATCH * LENGTH
            calls = own, theirs, passes(model.diffusion.denoiser)
            rounds = [[seconds(call) for call in calls] for _ in range(REPEATS)]
            here, there, trunk = (median(column) for column in zip(*rounds, strict=True))
            report(
                f"{system}, width {width}, V = {vocabulary:,}: released {there:.2f} s, here {here:.2f} s, ratio "
                f"{there / here:.2f}; the trunk alone {trunk:.2f} s ({LAYERS} layers, L = {LENGTH}, batch {BATCH}, {STEPS} steps)"
            )
            assert there > here
            assert there > FASTER * here or width > NARROW or there < 2 * trunk
