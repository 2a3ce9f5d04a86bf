import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness import cli
from harness.cli import grids, results
from harness.report.matrix import listing
from harness.tracking.records import Store

PLUGINS = Path(__file__).parents[1] / "end_to_end" / "plugins.py"
ASKED = grids.Asked(Path("tiny.yaml"), "harness run tiny.yaml", "rename it")
BABBLER = f"{Path(__file__).parent / 'check_models.py'}:Babbler"


def call(*arguments):
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments], catch_exceptions=False)
    return result.exit_code, result.output


def main(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["harness", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return stopped.value.code, capsys.readouterr()


@pytest.fixture
def grid(tmp_path):
    path = tmp_path / "tiny.yaml"
    text = (
        "models: [{name: PLUGINS:Parrot}, {name: PLUGINS:Parrot, label: other}]\ntasks: [PLUGINS:Letters:ucg]\n"
        "budget: {tokens: 100}\nprofile: test\njudge: {name: PLUGINS:Judge}\nlatency: false\n"
    )
    path.write_text(text.replace("PLUGINS", str(PLUGINS)))
    return path


@pytest.fixture
def failing(grid):
    spoilt = grid.with_name("two words.yaml")
    stepwise = f"grid: spoilt\nmodels: [{{name: {PLUGINS}:Stepwise}}]"
    spoilt.write_text("\n".join([stepwise, *grid.read_text().replace("Letters", "Spoilt").splitlines()[1:], "steps: [8]\n"]))
    return spoilt


def test_a_grid_from_plan_to_table(grid, tmp_path):
    store = tmp_path / "runs"
    code, text = call("plan", grid, "--store", store)
    assert code == 0
    assert "Grid tiny: 2 cells, 0 skipped." in text
    assert "Nothing has been spent." in text
    assert not store.exists()

    code, text = call("run", grid, "--store", store, "--pool", "serial")
    assert code == 0, text
    assert "[1/" in text
    assert "MLflow experiment tiny: 2 runs written, 0 unchanged." in text
    assert f"Leaderboard: harness table tiny --store {store}" in text

    code, text = call("run", grid, "--store", store, "--pool", "serial")
    assert "stages 0 done," in text
    assert "0 runs written, 2 unchanged." in text

    data = json.loads(call("plan", grid, "--store", store, "--json")[1])
    assert data["stages"]["left"] == 0
    assert len(data["cells"]) == 2

    data = json.loads(call("table", "tiny", "--store", store, "--json", "--model", "other")[1])
    assert [row["status"] for row in data] == ["done"]
    text = call("table", grid, "--store", store, "--where", "words > 1", "--sort", "words", "--format", "csv")[1]
    assert text.startswith("digest,grid,model")
    assert "other" in call("table", "--store", store)[1]

    database = f"sqlite:///{store / 'mlflow.db'}"
    text = call("publish", "tiny", "--to", database, "--store", store)[1]
    assert "2 unchanged" in text
    assert text.endswith(f"To open them: mlflow server --backend-store-uri {database}\n")
    text = call("publish", "tiny", "--store", store)[1]
    assert "/#/experiments/" in text
    assert text.endswith(f"To open them: harness ui tiny --store {store}\n")


def test_errors_of_users_are_one_line_and_status_2(monkeypatch, capsys, tmp_path):
    code, said = main(monkeypatch, capsys, "table", "--store", tmp_path / "nowhere")
    assert (code, said.out) == (2, "")
    assert said.err.startswith("error: no store at ")
    code, said = main(monkeypatch, capsys, "plan", "quikstart", "--store", tmp_path / "nowhere")
    assert code == 2
    assert "'quickstart'" in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("command", [["table"], ["ui"], ["publish", "--to", "sqlite:////tmp/none.db"]])
def test_a_mistyped_store_is_refused_and_not_made(monkeypatch, capsys, tmp_path, command):
    code, said = main(monkeypatch, capsys, *command, "--store", tmp_path / "typo")
    assert code == 2
    assert said.err.startswith("error: no store at ")
    assert not (tmp_path / "typo").exists()


def test_a_plan_looks_for_modules_that_shadow_ours(monkeypatch, capsys, grid, tmp_path):
    from harness.runner import shadowing

    monkeypatch.setattr(shadowing, "check_not_shadowed", partial(shadowing.check_not_shadowed, ("json",)))
    code, said = main(monkeypatch, capsys, "plan", grid, "--store", tmp_path / "s")
    assert code == 2
    assert "`import json` finds" in said.err


def test_a_wrong_value_of_an_option_is_status_2(monkeypatch, capsys):
    code, said = main(monkeypatch, capsys, "list", "modells")
    assert code == 2
    assert "modells" in said.err


def test_options_of_ray_are_refused_without_it(monkeypatch, capsys, grid, tmp_path):
    code, said = main(monkeypatch, capsys, "run", grid, "--store", tmp_path / "s", "--pool", "serial", "--cpus", "2")
    assert code == 2
    assert "--pool ray" in said.err


def test_without_mlflow_a_run_says_so_and_goes_on(grid, tmp_path, monkeypatch):
    from harness.runner.execute import Summary
    from harness.tracking import mlflow_sink

    monkeypatch.setattr(mlflow_sink, "available", lambda: False)
    store = Store(tmp_path)
    store.snapshot("tiny", {"grid": "tiny", "cells": []})
    with CliRunner().isolation() as (out, *_):
        grids._conclude(store, "tiny", Summary(done=1, failed=0, blocked=0, cached=0, skipped=0, seconds=1.0), ASKED)
        text = out.getvalue().decode()
    assert "Not in MLflow: MLflow is not installed" in text
    assert "Leaderboard:" in text


def test_lists_come_from_code():
    models = {entry["registered"]: entry for entry in json.loads(call("list", "models", "--json")[1])}
    assert models["unigram"]["kind"] == "floor"
    assert not [entry for entry in models.values() if "error" in entry]
    assert "| d3pm " in call("list", "models")[1]
    schedules = json.loads(call("list", "schedules", "--json")[1])
    assert "sqrt" in {entry["name"] for entry in schedules}
    assert "chrf++ (more is better)" in call("list", "metrics")[1]
    tasks = {entry["registered"]: entry for entry in json.loads(call("list", "tasks", "--json")[1])}
    assert tasks["e2e"]["sources"]


def test_a_model_is_listed_with_its_keys_and_what_another_value_costs(monkeypatch, capsys):
    page = call("list", "models", "llada")[1]
    assert "remasking: what is written first" in page
    rows = {
        row[1].strip(): [cell.strip() for cell in row[2:4]] for row in (line.split("|") for line in page.splitlines()) if row[1:]
    }
    assert rows["`blocks`"] == ["1", "samples the same training"]
    assert rows["`guidance`"] == ["null", "samples the same training"]
    assert rows["`width`"] == ["128", "is trained anew"]
    entry = json.loads(call("list", "models", "llada", "--json")[1])
    assert entry["keys"]["remasking"] == {"default": "low-confidence", "trained": False}
    assert "| e2e " in call("list", "tasks", "e2e")[1]
    assert "| sqrt " in call("list", "schedules", "sqrt")[1]
    code, said = main(monkeypatch, capsys, "list", "models", "lada")
    assert code != 0
    assert "unknown model 'lada'. Did you mean 'llada'?" in said.err


def test_every_shipped_model_with_keys_says_what_they_mean():
    """In its own words or those of what it varies."""
    entries = [entry for entry in listing("models") if entry["kind"] == "diffusion"]
    assert len(entries) == 17
    for entry in entries:
        told = {name.strip() for line in entry["documentation"].splitlines() for name in line.partition(":")[0].split(",")}
        assert set(entry["keys"]) <= told, entry["registered"]


def test_data_files_are_listed_with_licence_and_checksum(monkeypatch, tmp_path):
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    records = json.loads(call("data", "list", "--json")[1])
    assert all(len(record["sha256"]) == 64 and record["licence"] and record["present"] is False for record in records)
    assert "| e2e/" in call("data", "list")[1]


def test_fetching_what_is_missing_is_an_error_of_the_data(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    code, said = main(monkeypatch, capsys, "data", "fetch", "mrpc")
    assert code == 2
    code, said = main(monkeypatch, capsys, "data", "fetch", "mrpcc")
    assert "'mrpc'" in said.err


def test_check_ends_with_status_1_where_a_contract_is_broken():
    code, text = call("check", BABBLER, "--family", "ucg")
    assert code == 0
    assert re.fullmatch(r"\d+ passed, 0 failed, \d+ skipped", text.splitlines()[-1])
    code, text = call("check", BABBLER, "--family", "ucg", "--set", "trick=deaf", "--json")
    assert code == 1
    broken = [item["check"] for item in json.loads(text) if item["status"] == "failed"]
    assert broken == ["depends on the seed", "survives saving and loading"]


def test_a_grid_of_the_same_name_is_not_replaced_without_a_word(grid, tmp_path, monkeypatch, capsys):
    other = tmp_path / "other" / grid.name
    other.parent.mkdir()
    other.write_text(grid.read_text() + "seeds: [1]\n")
    said = [
        main(monkeypatch, capsys, "run", file, "--store", tmp_path / "s", "--pool", "serial")[1] for file in (grid, grid, other)
    ]
    assert ["warning" in text.err for text in said] == [False, False, True]
    assert f"was that of {grid}; from now on it is that of {other}" in said[2].err


def test_a_plan_says_what_this_machine_has_not_and_which_metrics_are_silent(grid, tmp_path):
    grid.write_text(grid.read_text() + "metrics: [bleu, lengths]\nresources: {fit: {cpus: 5000}, generate: {memory: 1.0e+6}}\n")
    text = call("plan", grid, "--store", tmp_path / "s")[1]
    assert "a fit stage asks for cpus 5000, this machine has" in text
    assert "a generate stage asks for memory 1e+06, this machine has" in text
    assert "metric bleu is none for ucg" in text
    assert "metric lengths" not in text
    assert len(json.loads(call("plan", grid, "--store", tmp_path / "s", "--json")[1])["notes"]) == 3


def test_too_few_steps_for_the_texts_are_skipped_before_anything_is_trained(grid, tmp_path):
    stepwise = f"models: [{{name: {PLUGINS}:Stepwise, trick: raise}}, {{name: {PLUGINS}:Diffuser}}]"
    grid.write_text("\n".join([stepwise, *grid.read_text().splitlines()[1:], "steps: [7, 8]\n"]))
    store = tmp_path / "runs"
    text = call("plan", grid, "--store", store)[1]
    assert "Grid tiny: 4 cells, 0 skipped." in text
    assert "- note: cells with too few steps for how long their texts get are skipped once the texts are cut" in text

    code, text = call("run", grid, "--store", store, "--pool", "serial")
    assert code == 1
    assert "stages 8 done, 0 cached, 1 failed, 3 blocked; cells skipped 1;" in text
    text = call("plan", grid, "--store", store)[1]
    assert "Grid tiny: 3 cells, 1 skipped." in text
    assert "- skipped: Stepwise[trick=raise] needs 8 steps at least for texts of 8 tokens" in text
    assert "note:" not in text

    grid.write_text(grid.read_text().replace("[7, 8]", "[6, 7]").replace(f", {{name: {PLUGINS}:Diffuser}}", ""))
    code, text = call("run", grid, "--store", store, "--pool", "serial")
    assert "stages 0 done, 1 cached, 0 failed, 0 blocked; cells skipped 2;" in text
    assert code == 0


def test_a_task_that_cannot_be_read_is_tried_once_a_run(grid, tmp_path):
    stepwise = f"models: [{{name: {PLUGINS}:Stepwise}}]"
    grid.write_text("\n".join([stepwise, *grid.read_text().replace("Letters", "Spoilt").splitlines()[1:], "steps: [8]\n"]))
    store = tmp_path / "runs"
    for retry in ([], ["--retry", "failed"]):
        code, text = call("run", grid, "--store", store, "--pool", "serial", *retry)
        assert code == 1
        assert "stages 0 done, 0 cached, 1 failed" in text
        failures = {path.name for path in store.rglob("*.fail-*.json")}
        assert len(failures) == 1 + len(retry) // 2


def test_a_value_that_is_no_yaml_is_refused(monkeypatch, capsys):
    code, said = main(monkeypatch, capsys, "check", BABBLER, "--set", "width=: [")
    assert code == 2
    assert said.err.startswith("error: --set: a value is not valid YAML: ")


def test_a_terminal_that_knows_only_ascii_is_written_to(grid, tmp_path):
    grid.write_text(grid.read_text().replace("other", "größer"), encoding="utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-c", "from harness.cli import main; main()", "plan", str(grid), "--store", str(tmp_path / "s")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert r"gr\xf6\xdfer" in done.stdout


def test_what_failed_is_tried_again_by_the_printed_command(failing, tmp_path):
    store = tmp_path / "the runs"
    code, text = call("run", failing, "--store", store, "--pool", "serial")
    assert code == 1
    printed = text.partition("Again: ")[2].strip()
    assert shlex.split(printed) == ["harness", "run", str(failing), "--retry", "failed", "--store", str(store)]
    code, text = call(*shlex.split(printed)[1:], "--pool", "serial")
    assert "0 cached, 1 failed" in text


def test_a_suggested_command_can_be_copied(monkeypatch, capsys, tmp_path):
    assert f"--store '{tmp_path}/a b'` makes one" in main(monkeypatch, capsys, "table", "--store", tmp_path / "a b")[1].err


def test_the_server_ends_when_it_is_told_to_while_it_starts(tmp_path, monkeypatch):
    from harness.tracking import mlflow_server

    ended = []

    @contextmanager
    def starting(folder, *, port):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
            yield "never"
        finally:
            ended.append(port)

    monkeypatch.setattr(mlflow_server, "serving", starting)
    monkeypatch.setattr(results, "published", lambda *_: {})
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert call("ui", "--store", Store(tmp_path).address, "--port", "5999")[0] == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended == [5999]


def test_no_password_is_printed_with_the_views(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "published", lambda *_: {"g: t": "/#/runs"})
    text = call("publish", "--to", "https://user:secret@host/", "--store", Store(tmp_path).address)[1]
    assert text == "g: t: https://host/#/runs\n"
