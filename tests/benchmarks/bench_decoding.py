"""`gpt` decoding against `transformers.generate` with its KV cache, on the same weights, in interleaved runs.

As a script it measures and prints JSON; as a test it runs itself as a script, away from the shape checks that pytest switches
on, and compares the ratios with their floors. `BENCH_WRITE=1` writes the report.
"""

import json
import os
import platform
import runpy
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
REPORT = ROOT / "results" / "benchmarks" / "decoding.md"
THREADS, PROMPT, NEW = 2, 9, 64
# layers, width, heads, vocabulary, batch, interleaved rounds, least ratio of tokens per second
CELLS = [
    (4, 128, 4, 1000, 1, 30, 2.0),
    (4, 128, 4, 1000, 16, 30, 1.5),
    (6, 256, 8, 1000, 1, 24, 1.5),
    (6, 256, 8, 1000, 16, 16, 1.25),
    (12, 768, 12, 8192, 1, 7, 1.0),
    (12, 768, 12, 8192, 16, 5, 1.0),
]


def prepared(layers: int, width: int, heads: int, vocabulary: int) -> tuple[Any, Any, list[str]]:
    """Our model, theirs, and the words of the vocabulary."""
    import torch

    from baselines.autoregressive.gpt import GPT
    from baselines.networks.initialise import initialise
    from harness.contracts import TaskView
    from harness.tokenizer import EOS, SPECIALS, Tokenizer

    words = [f"w{place}" for place in range(vocabulary - len(SPECIALS))]
    tokenizer = Tokenizer.train("words", [" ".join(words)])
    view = TaskView(name="bench", family="t2t", tokenizer=tokenizer, max_tokens=NEW, max_source_tokens=PROMPT)
    model = GPT(None, view, width=width, layers=layers, heads=heads).eval()
    initialise(model.network, torch.Generator().manual_seed(0))
    model.network.embedding.weight.data[EOS] = 0
    other = runpy.run_path(str(Path(__file__).with_name("gpt_neox.py")))["as_gpt_neox"](model.network)
    return model, other, words


def runs(model: Any, other: Any, words: list[str], batch: int) -> tuple[Callable[[], Any], Callable[[], Any], float]:
    """Both ways to write 64 tokens greedily, and the largest difference of their logits on what was written."""
    import torch

    from harness.contracts import Request, Sampling

    sources = [" ".join(words[(31 * row + 7 * place) % len(words)] for place in range(PROMPT - 1)) for row in range(batch)]
    requests = [Request(id=str(row), seed=row, max_tokens=NEW, source=text) for row, text in enumerate(sources)]
    ids = torch.tensor(model.prompts(requests))
    mask = torch.ones_like(ids)

    def ours() -> list[tuple[int, ...]]:
        return [answer.ids[0] for answer in model.generate(requests, Sampling(method="greedy", fixed_length=True))]

    def theirs() -> list[tuple[int, ...]]:
        with torch.inference_mode():
            whole = other.generate(ids, attention_mask=mask, max_new_tokens=NEW, do_sample=False, use_cache=True)
        return [tuple(row) for row in whole[:, ids.shape[1] :].tolist()]

    written = torch.cat([ids, torch.tensor(theirs())], 1)
    with torch.inference_mode():
        difference = (model.network(written) - other(written).logits).abs().max().item()
    assert difference < 1e-5, f"logits differ by {difference}"
    assert ours() == theirs()
    return ours, theirs, difference


def seconds(call: Callable[[], Any]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(cell: tuple[int, int, int, int, int, int, float]) -> dict[str, Any]:
    """Medians and ratios of one cell; each round runs both, in alternating order."""
    layers, width, heads, vocabulary, batch, rounds, least = cell
    ours, theirs, difference = runs(*prepared(layers, width, heads, vocabulary), batch)
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for number in range(rounds):
        pair = [("ours", ours), ("theirs", theirs)]
        for name, call in pair if number % 2 else reversed(pair):
            times[name].append(seconds(call))
    ratios = sorted(other / own for own, other in zip(times["ours"], times["theirs"], strict=True))
    tokens = batch * NEW
    return {
        "layers": layers, "width": width, "vocabulary": vocabulary, "batch": batch, "rounds": rounds, "least": least,
        "ratio": statistics.median(times["theirs"]) / statistics.median(times["ours"]),
        "quartiles": [ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]],
        "ours": tokens / statistics.median(times["ours"]), "theirs": tokens / statistics.median(times["theirs"]),
        "difference": difference,
    }  # fmt: skip


def report(rows: list[dict[str, Any]], environment: dict[str, Any]) -> str:
    """The measurement as Markdown."""
    head = "| layers x width | V | batch | ours, tokens/s | generate, tokens/s | ratio | quartiles | wanted | logits differ by |"
    lines = [
        "| {layers} x {width} | {vocabulary} | {batch} | {ours:.0f} | {theirs:.0f} | {ratio:.2f} | {low:.2f} to {high:.2f} | "
        "{least} | {difference:.1e} |".format(**row, low=row["quartiles"][0], high=row["quartiles"][1])
        for row in rows
    ]
    about = "\n".join(f"- {name}: {value}" for name, value in environment.items())
    return (
        "# Decoding: `gpt` against `transformers` generate, same weights, KV cache on both sides\n\n"
        f"Greedy, prompts of {PROMPT} tokens, {NEW} new tokens, float32, CPU. `gpt` is timed from text to text, `generate` from "
        "tensor to tensor.\nEvery round runs both in alternating order; the ratio is that of the median times.\n\n"
        f"{about}\n\n{head}\n|---|---|---|---|---|---|---|---|---|\n" + "\n".join(lines) + "\n"
    )


def main() -> None:
    """Measure all cells and print JSON."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    torch.set_num_threads(THREADS)
    chosen = [CELLS[int(place)] for place in sys.argv[1:]] or CELLS
    load = os.getloadavg()[0]
    rows = [measure(cell) for cell in chosen]
    environment = {
        "torch": torch.__version__, "transformers": transformers.__version__, "python": platform.python_version(),
        "processor": f"{platform.machine()}, {os.cpu_count()} cores, {THREADS} threads",
        "load average before and after": f"{load:.1f}, {os.getloadavg()[0]:.1f}",
    }  # fmt: skip
    json.dump({"rows": rows, "environment": environment}, sys.stdout)


@pytest.mark.bench
def test_decoding_is_faster_than_generate() -> None:
    pytest.importorskip("transformers")
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    text = report(found["rows"], found["environment"])
    sys.stdout.write("\n" + text)
    if os.environ.get("BENCH_WRITE") == "1":
        REPORT.parent.mkdir(parents=True, exist_ok=True)
        REPORT.write_text(text, encoding="utf-8")
    slow = [row for row in found["rows"] if row["ratio"] < row["least"]]
    assert not slow, f"slower than wanted: {slow}"


if __name__ == "__main__":
    main()
