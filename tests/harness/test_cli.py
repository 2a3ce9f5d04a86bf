import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness import cli
from harness.tracking.records import Store

PLUGINS = Path(__file__).parents[1] / "end_to_end" / "plugins.py"
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

    assert "2 unchanged" in call("publish", "tiny", "--to", f"sqlite:///{store / 'mlflow.db'}", "--store", store)[1]


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

    monkeypatch.setattr(shadowing.check_not_shadowed, "__defaults__", (("json",),))
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
        cli._conclude(store, "tiny", Summary(done=1, failed=0, blocked=0, cached=0, skipped=0, seconds=1.0))
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
    assert (code, text.splitlines()[-1]) == (0, "8 passed, 0 failed, 1 skipped")
    code, text = call("check", BABBLER, "--family", "ucg", "--set", "trick=deaf", "--json")
    assert code == 1
    broken = [item["check"] for item in json.loads(text) if item["status"] == "failed"]
    assert broken == ["depends on the seed", "survives saving and loading"]
