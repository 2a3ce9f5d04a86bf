"""Extra memory of a sampling step at V = 50,257, L = 1,024, batch 8: at most a quarter of the network's logits beside them.

The peak of the process, less what it held before the step, is compared with one table of logits: 8 x 1,024 x 50,257 float32,
1.65 GB. The network is as narrow as it can be, so that what it needs itself is next to nothing. One process for each system.
"""

import subprocess
import sys

import pytest

SYSTEMS = {
    "multinomial": ("baselines.systems.multinomial", "Multinomial", "cosine-plain@1000", {}),
    "d3pm, exact count": ("baselines.systems.d3pm", "D3PM", "linear-alpha-bar", {"unmasking": "exact-count"}),
    "diffusion-bert": ("baselines.systems.diffusion_bert", "DiffusionBERT", "spindle", {"plm": None}),
    "diffusion-nat": ("baselines.systems.diffusion_nat", "DiffusionNAT", "linear-alpha-bar", {"plm": None}),
    "diffusion-nat-code": ("baselines.systems.diffusion_nat", "DiffusionNATCode", "linear-alpha-bar-fixed@2000", {"plm": None}),
    "diff-glat": ("baselines.systems.diff_glat", "DiffGLAT", "linear-alpha-bar", {}),
    "mdlm": ("baselines.systems.mdlm", "MDLM", "log-linear", {}),
    "mdlm, guided": ("baselines.systems.mdlm", "MDLM", "log-linear", {"guidance": 2.0}),
    "md4": ("baselines.systems.md4", "MD4", "log-linear", {}),
    "llada": ("baselines.systems.llada", "LLaDA", "linear-alpha-bar", {}),
    "sedd": ("baselines.systems.sedd", "SEDD", "log-linear", {}),
    "sedd-uniform": ("baselines.systems.sedd", "SEDD", "log-linear", {"kernel": "uniform"}),
    "udlm": ("baselines.systems.udlm", "UDLM", "log-linear(eps=0.001)", {}),
    "udlm, guided": ("baselines.systems.udlm", "UDLM", "log-linear(eps=0.001)", {"guidance": 2.0}),
    "duo": ("baselines.systems.duo", "Duo", "log-linear(eps=0.001)", {}),
    "bd3-lm, one block": ("baselines.systems.bd3_lm", "BD3LM", "linear-alpha-bar", {"block": 1024}),
}
LIMIT = 1.25
CHILD = """
import resource, sys
import torch
from baselines.blocks import BlockDiffusion
from baselines.parts.calls import Calls
from baselines.parts.conditioning import Canvas, Source
from baselines.parts.randomness import Noise
from harness.construction import construct
from harness.contracts import Sampling, TaskView
from harness.tokenizer import Tokenizer
import importlib
V, L, B = 50_257, 1024, 8
module, name, schedule, keys = eval(sys.argv[1])
words = Tokenizer.train("words", [" ".join(f"w{i}" for i in range(V))])
system = getattr(importlib.import_module(module), name)
family = "ucg" if "ucg" in system.design.families else "t2t"
view = TaskView(
    name="empty", family=family, tokenizer=words, max_tokens=L, max_source_tokens=8 * (family == "t2t"),
    unigram=(1,) * len(words),
)
model = construct(system, schedule, view, {"width": 8, "layers": 1, "heads": 2, **keys})
model.eval()
diffusion, empty = model.diffusion, torch.zeros(B, L, dtype=torch.int64)
source = None if family == "ucg" else Source(ids=empty[:, :8], present=empty[:, :8] == 0)
canvas, noise = Canvas(ids=empty, given=empty.bool(), source=source), Noise(torch.arange(B))
if isinstance(diffusion, BlockDiffusion):  # two steps of the only block
    step = lambda: model.write(canvas, noise, 2, Sampling(steps=2), Calls(B))
else:
    denoiser = model.sampling_denoiser(diffusion.reading(canvas))
    x = diffusion.kernel.prior(diffusion.kernel.noise(noise, 0, L))
    draws = diffusion.kernel.noise(noise, 1, L)
    step = lambda: diffusion.advance(x, canvas, 0.75, 0.25, draws, denoiser, None, model.reverse_for(2))
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
with torch.no_grad():
    before = peak()
    step()
    print((peak() - before) / (B * L * len(words) * 4))
"""


@pytest.mark.bench
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_step_makes_no_second_table_of_logits(system, report):
    ran = subprocess.run([sys.executable, "-c", CHILD, repr(SYSTEMS[system])], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    share = float(ran.stdout)
    report(f"{system}: the peak of a step rises by {share:.2f} tables of logits (at most {LIMIT} with the table itself)")
    assert share <= LIMIT
