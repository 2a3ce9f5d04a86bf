"""A finished cell is scored again by a new metric from the texts that were kept: no model is loaded."""

from pathlib import Path

import pytest

from harness.grid import load
from harness.metrics.lengths import Lengths
from harness.runner import artefacts
from harness.runner.execute import run
from harness.runner.plan import make_plan
from harness.runner.pool import InProcessPool, SerialPool
from harness.tracking.records import Store, rows

PLUGINS = Path(__file__).parents[2] / "end_to_end" / "plugins.py"
GRID = f"""
models: ["{PLUGINS}:Parrot", "{PLUGINS}:Diffuser"]
tasks: ["{PLUGINS}:Letters"]
steps: [2]
seeds: [0, 1]
budget: {{tokens: 100}}
judge: {{name: "{PLUGINS}:Judge"}}
profile: test
latency: false
"""
ADDED = ("bleu", "chrf", "rouge", "lengths", "diversity", "self-bleu", "sentence-bleu", "copying", "sari", "memorisation")


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """A store whose cells were scored by one metric, and a run of their grid with others that tells what it did and loaded."""
    monkeypatch.setenv("HARNESS_TEST_WITNESS", str(tmp_path / "witness"))
    store, path = Store(tmp_path / "runs"), tmp_path / "grid.yaml"
    path.write_text(GRID + f'metrics: ["{PLUGINS}:Counted"]\n')
    with InProcessPool() as pool:
        assert run(make_plan(load(path), store), store, pool).failed == 0
    before = (tmp_path / "witness").read_text()
    assert "fit" in before
    assert "generate" in before
    loaded = []

    def restore(store, key, source, device, keys):
        loaded.append(source.target.name.rpartition(":")[2])
        return _restore(store, key, source, device, keys)

    _restore = artefacts._restore
    artefacts.MODELS.clear()
    monkeypatch.setattr(artefacts, "_restore", restore)

    def again(metrics, pool=InProcessPool):
        path.write_text(GRID + f"metrics: [{', '.join(metrics)}]\n")
        events = []
        with pool() as opened:
            summary = run(make_plan(load(path), store), store, opened, events.append)
        assert summary.failed == 0
        kinds = {event.title.partition(" ")[0] for event in events if event.status == "done"}
        written = (tmp_path / "witness").read_text()[len(before) :]
        return [row for row in rows(store) if row.status == "done"], kinds, written, loaded

    yield again
    artefacts.MODELS.clear()


def test_new_metrics_score_what_was_kept(finished):
    found, kinds, written, loaded = finished([f'"{PLUGINS}:Counted"', *ADDED])
    assert (kinds, written, loaded) == ({"score"}, "", [])
    assert len(found) == 2 * (3 + 1)
    for row in found:
        wanted = {"words", *Lengths.values, *({"self_bleu"} if row.family == "ucg" else {"bleu", "chrf++", "rouge_1"})}
        assert wanted <= row.metrics.keys()
        assert row.metrics["mean_words"].value == pytest.approx(row.metrics["words"].value)
        assert row.family != "t2t" or row.metrics["sari"].value is not None


def test_another_process_scores_without_models_too(finished):
    found, kinds, written, _ = finished(["lengths"], SerialPool)
    assert (kinds, written) == ({"score"}, "")
    assert {row.metrics["mean_words"].n for row in found} == {16}


def test_the_judge_is_the_only_model_that_a_metric_may_load(finished):
    found, kinds, written, loaded = finished(["judge-perplexity"])
    assert kinds == {"fit", "score"}
    assert set(loaded) == {"Judge"}
    assert "generate" not in written
    assert written.splitlines() == ["fit 0"]
    assert all(row.metrics["judge_ppl"].value > 1 for row in found if row.family == "ucg")
