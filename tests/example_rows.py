"""Invented rows: a leaderboard with three sections, a failed and a skipped cell, absent values and hostile text."""

from typing import Any

from harness.tracking.rows import Row, Value

TASK = "world[size=small]"
HOSTILE = "returned 3 | texts\n<script>alert(1)</script> [red]x[/red]"


def value(number: float | None, half: float = 1.0, *, better: bool | None = True, **rest: Any) -> Value:
    """A value with a symmetric interval."""
    ends = {} if number is None else {"low": number - half, "high": number + half}
    return Value(value=number, n=512, higher_is_better=better, **{"signature": "v1", **ends, **rest})


def row(index: int, model: str, family: str, **rest: Any) -> Row:
    """One cell of the grid `quickstart`, profile smoke."""
    usual = {
        "digest": f"{index:032x}", "grid": "quickstart", "task": TASK, "schedule": None, "steps": None, "seed": 0,
        "decode": "sample", "status": "done",
        "settings": {"profile": "smoke", "budget": {"tokens": 2_000_000, "parameters": None}},
        "environment": {"host": "somewhere"},
    }  # fmt: skip
    return Row(**{**usual, "model": model, "family": family, **rest})


def unconditional(index: int, model: str, rate: float, judged: float, **rest: Any) -> Row:
    """A finished UCG cell."""
    metrics = {
        "in_language_standardised": value(rate, 0.03), "in_language": value(rate + 0.02, 0.03),
        "judge_ppl": value(judged, 3.0, better=False), "mauve": value(None, reason="n below 500"),
        "own_bits_per_byte": value(1.2, 0.02, better=False, signature=f"kind:{'exact' if model == 'gpt' else 'bound'}"),
    }  # fmt: skip
    latency = {"latency_ms_p50": value(3.0 + index, 0.1, better=False, flags=("shared machine",))}
    cost = {"parameters": 81920.0, "fit_seconds": 31.25, "flops": None}
    return row(index, model, "ucg", metrics=metrics, latency=latency, cost=cost, **rest)


def rows() -> list[Row]:
    """Nine cells, in no good order."""
    return [
        unconditional(1, "unigram", 0.01, 109.0),
        unconditional(2, "d3pm[kernel=uniform]", 0.46823456789, 63.2, schedule="cosine-squared@64", steps=32),
        unconditional(3, "gpt", 0.9, 20.0),
        unconditional(4, "d3pm[kernel=absorbing]", 0.6, 49.7, schedule="mutual-information@64", steps=32),
        row(5, "broken", "ucg", status="failed", reason=HOSTILE),
        row(6, "gpt", "ucg", schedule="sqrt", status="skipped", reason="gpt has no schedule"),
        row(7, "copy-source", "t2t", metrics={"chrf": value(45.5), "chrf++": value(44.2), "bleu": value(32.5)}),
        row(8, "diffuseq", "t2t", metrics={"chrf": value(61.25), "chrf++": value(60.0), "bleu": value(41.0)}, steps=50),
        row(9, "slow", "t2t", status="pending"),
    ]
