import json
import math
import sqlite3
from contextlib import closing

import pytest
from example_rows import HOSTILE, row, rows, unconditional, value

from harness.errors import PublishError
from harness.tracking import mlflow_sink
from harness.tracking.mlflow_runs import MOST_PARAMETERS, metric_name, metrics_of, run_content
from harness.tracking.mlflow_sink import local_uri, publish, saved_views
from harness.tracking.saved_views import VIEW_TAG


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A database as MLflow makes it, copied for each test because making one takes seconds."""
    folder = tmp_path_factory.mktemp("empty")
    publish([], local_uri(folder), "nothing")
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return folder / "mlflow.db"


@pytest.fixture
def store(empty, tmp_path):
    (tmp_path / "mlflow.db").write_bytes(empty.read_bytes())
    return tmp_path


def put(store, given, **options):
    return publish(given, local_uri(store), "quickstart", artifacts=store / "mlartifacts", **options)


def client(store):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=local_uri(store))


def runs(store):
    found = client(store).search_runs(["2"])
    return {run.info.run_name: run for run in found}


def dump(store):
    """Everything that publication writes, from the database itself."""
    tables = ("runs", "metrics", "latest_metrics", "params", "tags", "experiment_tags")
    with closing(sqlite3.connect(store / "mlflow.db")) as connection:
        return {table: sorted(map(repr, connection.execute(f"SELECT * FROM {table}"))) for table in tables}


def test_a_greyed_latency_has_a_tag_and_a_column(store):
    greyed = {"latency_ms_p50": value(8.0, flags=("greyed: not alone: others took 1.2 of 2 CPUs",))}
    put(store, [row(0, "gpt", "ucg", metrics={"judge_ppl": value(3.0)}, latency=greyed)])
    assert next(iter(runs(store).values())).data.tags["latency_greyed"] == "not alone: others took 1.2 of 2 CPUs"
    (view,) = [text for name, text in client(store).get_experiment("2").tags.items() if name.startswith(VIEW_TAG)]
    assert "tags.`latency_greyed`" in json.loads(json.loads(view)["state"])["selectedColumns"]


def test_every_finished_or_failed_cell_is_one_flat_run(store):
    done = put(store, rows())
    assert (done.written, done.unchanged) == (7, 0)
    found = runs(store)
    assert len(found) == 7
    gpt = found["gpt | world[size=small]"]
    assert gpt.info.status == "FINISHED"
    assert gpt.data.metrics["in_language_standardised"] == 0.9
    assert gpt.data.metrics["low/judge_ppl"] == 17.0
    assert gpt.data.metrics["latency/latency_ms_p50"] == 6.0
    assert "mauve" not in gpt.data.metrics
    assert gpt.data.tags["cell"] == f"{3:032x}"
    assert gpt.data.tags["grid"] == "quickstart"
    assert gpt.data.params["budget.tokens"] == "2000000"
    uniform = found["d3pm[kernel=uniform] | world[size=small] | cosine-squared@64 | 32 steps"]
    assert uniform.data.metrics["in_language_standardised"] == 0.46823, "five significant digits"
    broken = found["broken | world[size=small]"]
    assert broken.info.status == "FAILED"
    assert broken.data.tags["reason"] == HOSTILE
    assert "<script>" not in broken.data.tags["mlflow.note.content"]


def test_publishing_again_changes_nothing(store):
    put(store, rows())
    before = dump(store)
    done = put(store, rows()[::-1])
    assert (done.written, done.unchanged) == (0, 7)
    assert dump(store) == before


@pytest.mark.parametrize("after", ["create_run", "set_terminated", "log_batch"])
def test_a_publication_killed_half_way_is_completed(store, monkeypatch, after):
    from mlflow import MlflowClient

    original = getattr(MlflowClient, after)

    def killed(self, *arguments, **options):
        if after != "log_batch":
            original(self, *arguments, **options)
        else:
            original(self, arguments[0], metrics=options["metrics"][:2], params=options["params"][:1])
        raise KeyboardInterrupt

    monkeypatch.setattr(MlflowClient, after, killed)
    with pytest.raises(KeyboardInterrupt):
        put(store, rows()[2:3])
    monkeypatch.undo()
    assert [run.data.tags.get("published") for run in runs(store).values()] == [None]
    assert put(store, rows()[2:3]).written == 1
    (run,) = client(store).search_runs(["2"], run_view_type=3)
    assert run.data.metrics == metrics_of(rows()[2])
    assert len(client(store).get_metric_history(run.info.run_id, "judge_ppl")) == 1


def test_what_changed_is_written_anew_and_what_is_gone_goes(store):
    put(store, [unconditional(1, "gpt", 0.5, 20.0), unconditional(2, "unigram", 0.1, 90.0)])
    done = put(store, [unconditional(1, "gpt", 0.6, 20.0)])
    assert (done.written, done.unchanged) == (1, 0)
    (run,) = runs(store).values()
    assert run.data.metrics["in_language_standardised"] == 0.6


def test_runs_of_others_stay(store):
    put(store, rows()[:1], origin="somebody else")
    put(store, rows()[2:3])
    assert len(runs(store)) == 2


def test_two_labels_of_one_cell_are_two_runs(store):
    twins = [unconditional(1, "gpt", 0.5, 20.0), unconditional(1, "again", 0.5, 20.0)]
    assert put(store, twins).written == 2
    assert put(store, twins).unchanged == 2
    assert len(runs(store)) == 2


def test_numbers_that_are_not_finite_are_left_out(store):
    put(store, [row(1, "m", "ucg", metrics={"a": value(math.nan), "b": value(math.inf), "c": value(1.0)})])
    (run,) = runs(store).values()
    assert set(run.data.metrics) == {"c", "low/c", "high/c"}


def test_names_become_what_mlflow_takes():
    assert metric_name("chrf++") == "chrfpp"
    assert metric_name("bleu (4) %") == "bleu__4__percent"
    with pytest.raises(PublishError, match="rename one"):
        metrics_of(row(1, "m", "ucg", metrics={"a(": value(1.0), "a)": value(1.0)}))


def test_a_run_has_few_parameters_and_a_stable_digest():
    settings = {"profile": "smoke", "design": {"kernel": "absorbing", "kind": "diffusion"}, "budget": {"tokens": 1}}
    content = run_content(row(1, "m", "ucg", settings=settings))
    assert len(content.params) <= MOST_PARAMETERS
    assert content.params["design.kernel"] == "absorbing"
    assert content.digest == run_content(row(1, "m", "ucg", settings=settings)).digest


def test_times_come_from_the_row():
    content = run_content(row(1, "m", "ucg", environment={"started": "2026-01-02T03:04:05+00:00", "finished": 1767323046.5}))
    assert (content.started, content.finished) == (1767323045000, 1767323046500)


def test_samples_are_a_table_of_the_run(store):
    put(store, rows()[2:3], samples=lambda row: [{"request": "1", "text": "<b> a\nb"}])
    (run,) = runs(store).values()
    assert run.data.tags["mlflow.loggedArtifacts"] == '[{"path": "samples.json", "type": "table"}]'
    path = client(store).download_artifacts(run.info.run_id, "samples.json", str(store))
    assert path.endswith("samples.json")
    assert run.info.artifact_uri.startswith((store / "mlartifacts").as_uri())


def test_each_section_has_a_view_and_the_description_links_to_it(store):
    done = put(store, rows())
    assert list(done.views) == ["world[size=small] / t2t", "world[size=small] / ucg"]
    assert saved_views(local_uri(store))["quickstart"] == dict(done.views)
    note = client(store).get_experiment("2").tags["mlflow.note.content"]
    assert note.startswith("# Leaderboard: [world[size=small] / t2t](#/experiments/2/runs?")
    assert "4 done, 1 failed, 1 skipped" in note


def test_versions_without_views_get_none(store, monkeypatch):
    monkeypatch.setattr(mlflow_sink, "_has_views", lambda: False)
    assert put(store, rows()).views == {}


def test_a_relative_database_is_refused(tmp_path):
    with pytest.raises(PublishError, match="absolute"):
        publish(rows(), "sqlite:///mlflow.db", "quickstart")


def test_a_database_whose_making_was_interrupted_is_made_again(tmp_path):
    (tmp_path / "mlflow.db.unfinished").write_bytes(b"half of a database")
    assert publish(rows()[:1], local_uri(tmp_path), "quickstart").written == 1
    assert not (tmp_path / "mlflow.db.unfinished").exists()


def test_what_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PublishError, match="harness publish"):
        publish(rows(), f"sqlite:///{tmp_path}/file/mlflow.db", "quickstart")


def test_without_mlflow_the_error_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(mlflow_sink, "available", lambda: False)
    with pytest.raises(PublishError, match="pip install"):
        put(tmp_path, rows())


def test_a_note_is_cut_between_lines_to_what_mlflow_keeps():
    values = {f"metric_{number:03}": value(number, signature="s" * number) for number in range(200)}
    note = run_content(row(1, "gpt", "ucg", metrics=values)).tags["mlflow.note.content"]
    assert 4000 < len(note) <= 7500
    assert note.splitlines()[-1].startswith("| metric_")


@pytest.mark.parametrize("task", ["world", "o'neil", 'the "other"'])
def test_a_view_shows_the_runs_of_its_task(store, task):
    put(store, [row(1, "gpt", "ucg", task=task, metrics={"bleu": value(1.0)})])
    tags = client(store).get_experiment("2").tags
    (view,) = [json.loads(text) for name, text in tags.items() if name.startswith(VIEW_TAG)]
    assert len(client(store).search_runs(["2"], filter_string=json.loads(view["state"])["searchFilter"])) == 1
