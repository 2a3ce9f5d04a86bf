"""Names that packages show: each exists, and none hides a submodule."""

import importlib
import pkgutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(
    ".".join(path.parent.relative_to(ROOT).parts)
    for top in ("harness", "baselines", "tasks")
    for path in (ROOT / top).rglob("__init__.py")
)
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for top in ("harness", "baselines", "tasks")
    for path in (ROOT / top).rglob("*.py")
    if path.name != "__init__.py" and "__all__" in path.read_text()
)


@pytest.mark.parametrize("name", PACKAGES)
def test_no_exported_name_hides_a_submodule(name):
    package = importlib.import_module(name)
    submodules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    assert not set(getattr(package, "__all__", ())) & submodules


@pytest.mark.parametrize("name", PACKAGES + MODULES)
def test_all_is_honest(name):
    module = importlib.import_module(name)
    exported = list(getattr(module, "__all__", ()))
    assert len(set(exported)) == len(exported), "a name stands twice"
    missing = [attribute for attribute in exported if not hasattr(module, attribute)]
    assert not missing


def test_the_public_names_of_the_harness_are_the_lazy_ones():
    import harness

    assert sorted(harness._HOME_OF) == sorted(harness.__all__)
