"""1,000 rows of 40 metrics and 15 parameters into MLflow's database: at most 30 s on an idle machine."""

import time

import pytest

from harness.tracking.mlflow_runs import MOST_PARAMETERS, metrics_of, run_content
from harness.tracking.mlflow_sink import local_uri, publish
from harness.tracking.rows import Row, Value

ROWS, METRICS, SECONDS = 1000, 40, 30.0
SETTINGS = {
    "profile": "publish", "budget": {"tokens": 1, "parameters": 2}, "native_schedule": True,
    "design": {"kind": "diffusion", "space": "tokens", "kernel": "absorbing", "conditioning": "none"},
}  # fmt: skip


def _row(index: int) -> Row:
    return Row(
        digest=f"{index:032x}", grid="bench", model=f"model-{index % 20}", task="world", family="ucg", schedule="sqrt@2000",
        steps=index, seed=0, decode="sample", status="done", settings=SETTINGS,
        metrics={f"metric_{number}": Value(value=index + number / 7) for number in range(METRICS)},
    )  # fmt: skip


@pytest.mark.bench
def test_publish(report, tmp_path):
    rows = [_row(index) for index in range(ROWS)]
    assert len(metrics_of(rows[0])) == METRICS
    assert len(run_content(rows[0]).params) == MOST_PARAMETERS
    publish([], local_uri(tmp_path), "bench")
    started, processor = time.perf_counter(), time.process_time()
    publish(rows, local_uri(tmp_path), "bench")
    seconds, busy = time.perf_counter() - started, time.process_time() - processor
    started = time.perf_counter()
    publish(rows, local_uri(tmp_path), "bench")
    again = time.perf_counter() - started
    report(f"{ROWS} rows x {METRICS} metrics x {MOST_PARAMETERS} parameters: {seconds:.1f} s, processor {busy:.1f} s")
    report(f"published again: {again:.1f} s")
    assert seconds <= SECONDS
