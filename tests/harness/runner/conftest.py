from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[2] / "end_to_end" / "plugins.py"


@pytest.fixture
def grid_file(tmp_path):
    """Writes a grid whose plug-ins are the fakes of the end-to-end tests."""

    def write(models: str, rest: str = "", name: str = "grid") -> Path:
        path = tmp_path / f"{name}.yaml"
        head = f"models: [{models}]\ntasks: [PLUGINS:Letters:ucg]\nbudget: {{tokens: 100}}\nprofile: test\n"
        judge = "" if "judge:" in rest else "judge: {name: PLUGINS:Judge}\n"
        path.write_text((head + judge + rest).replace("PLUGINS", str(PLUGINS)))
        return path

    return write
