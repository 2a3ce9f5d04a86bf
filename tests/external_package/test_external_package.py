"""A package that knows the harness, but that the harness does not know, registers a model and completes a cell."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent / "parrot"
PLUGINS = Path(__file__).parents[1] / "end_to_end" / "plugins.py"
GRID = """
models: [parrot-of-a-package, "own.py:Parrot"]
tasks: ["{plugins}:Letters:ucg"]
budget: {{tokens: 10}}
profile: test
"""
DRIVER = """
import json, sys
from harness.grid import load
from harness.runner.execute import run
from harness.runner.plan import make_plan
from harness.runner.pool import SerialPool
from harness.tracking.records import Store, rows

store = Store(sys.argv[2])
with SerialPool() as pool:
    run(make_plan(load(sys.argv[1]), store), store, pool)
told = [[row.model, row.status, row.reason, row.settings["origin"], row.metrics["words"].value] for row in rows(store)]
print(json.dumps(told))
"""


def test_a_package_and_a_single_file_complete_a_cell(tmp_path):
    site = tmp_path / "site"
    shutil.copytree(PACKAGE, site)
    shutil.copy(PACKAGE / "parrot_package.py", tmp_path / "own.py")
    (tmp_path / "grid.yaml").write_text(GRID.format(plugins=PLUGINS))
    command = [sys.executable, "-c", DRIVER, str(tmp_path / "grid.yaml"), str(tmp_path / "runs")]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    package, single = json.loads(done.stdout)
    assert package[:4] == ["parrot-of-a-package", "done", None, "parrot-package 1.0"]
    assert single[:3] == ["Parrot", "done", None]
    assert package[4] == single[4] > 0


def test_the_model_takes_at_most_25_lines():
    lines = (PACKAGE / "parrot_package.py").read_text().splitlines()
    assert sum(bool(line.strip()) for line in lines) <= 25
