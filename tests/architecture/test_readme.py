"""What the README shows works as written."""

import re
from pathlib import Path

import yaml

from harness.check import conformance
from harness.grid import load

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def block(language, first_line):
    (found,) = re.findall(rf"```{language}\n(# {re.escape(first_line)}\n.*?)```", README, re.DOTALL)
    return found


def test_the_shown_model_keeps_the_contract(tmp_path):
    path = tmp_path / "my_model.py"
    path.write_text(block("python", "my_model.py"))
    findings = conformance(f"{path}:MyModel", family="ucg")
    assert findings
    assert not [finding for finding in findings if finding.status == "failed"]


def test_the_shown_diffusion_model_keeps_the_contract(tmp_path):
    path = tmp_path / "my_diffusion.py"
    path.write_text(block("python", "my_diffusion.py"))
    findings = conformance(f"{path}:FlatMDLM", family="ucg", size={"width": 16, "layers": 1, "heads": 2})
    assert findings
    assert not [finding for finding in findings if finding.status == "failed"]


def test_the_shown_grid_is_a_grid(tmp_path):
    (tmp_path / "my_model.py").write_text(block("python", "my_model.py"))
    (tmp_path / "my_grid.yaml").write_text(block("yaml", "my_grid.yaml"))
    grid = load(tmp_path / "my_grid.yaml")
    shown = yaml.safe_load(block("yaml", "my_grid.yaml"))
    assert len(grid.models) == len(shown["models"]) == 4
    assert len(grid.schedules) == 4
