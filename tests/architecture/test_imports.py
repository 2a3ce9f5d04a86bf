"""What an import costs, and which way imports point."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "ray", "mlflow", "mauve", "transformers", "pandas", "scipy", "sklearn")


def loaded_by(statement):
    """Names of top-level modules that a fresh interpreter has after a statement."""
    program = f"import sys, json\n{statement}\nprint(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "statement",
    [
        "import harness",
        "import harness.cli",
        "import harness.contracts, harness.errors, harness.design, harness.registry",
        "from harness import Design, TextModel",
        "import sys; sys.argv = ['harness', '--help']\nfrom harness.cli import main\ntry: main()\nexcept SystemExit: pass",
    ],
)
def test_light_imports_load_nothing_heavy(statement):
    assert not loaded_by(statement) & set(HEAVY)


@pytest.mark.parametrize("module", ["harness.leaderboard", "harness.report.export", "harness.report.samples", "harness.display"])
def test_reading_results_needs_no_torch(module):
    assert not loaded_by(f"import {module}") & {"torch", "ray", "mlflow"}


def test_the_import_contracts_hold():
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
