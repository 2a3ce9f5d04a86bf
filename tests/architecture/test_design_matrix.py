"""The committed design matrix is what the code says."""

from pathlib import Path

from typer.testing import CliRunner

from harness.cli import app

MATRIX = Path(__file__).parents[2] / "results" / "design-matrix.md"


def test_the_committed_design_matrix_is_current():
    printed = CliRunner().invoke(app, ["list", "models"]).stdout
    lines = [line.rstrip() for line in printed.strip().splitlines()]
    assert MATRIX.read_text(encoding="utf-8").strip().splitlines() == lines, "run: harness list models > results/design-matrix.md"
