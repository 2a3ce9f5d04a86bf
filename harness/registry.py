"""Where names become objects: entry points of installed packages, or `file.py:Name` beside a grid.

Three groups: `harness.models`, `harness.tasks`, `harness.metrics`. The harness itself knows no model and no task.
"""

import hashlib
import importlib
import importlib.util
import io
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from harness.errors import GridError, UnknownName

Group = Literal["models", "tasks", "metrics"]


@dataclass(frozen=True, slots=True)
class Target:
    """What a name stands for.

    Attributes:
        name: as written in a grid.
        origin: "package version" for entry points, "file.py sha256" for single files: part of every key.
        reference: `module:attribute` or `/path/file.py:Name`, by which a worker finds it again.
        text: content of the file as it was when the name was resolved; `None` for entry points.
    """

    name: str
    origin: str
    reference: str
    text: str | None = None

    def load(self) -> Any:
        """Import and return the object.

        Raises:
            GridError: the import failed, or ended the process; the message holds the original error.
        """
        module_name, _, attribute = self.reference.rpartition(":")
        try:
            module = self._file(Path(module_name)) if module_name.endswith(".py") else importlib.import_module(module_name)
        except (Exception, SystemExit) as error:
            raise GridError(f"{self.name}: importing {module_name} failed: {type(error).__name__}: {error}") from error
        try:
            return getattr(module, attribute)
        except AttributeError:
            raise UnknownName("class", attribute, classes_of(module), module_name) from None

    def _file(self, path: Path) -> ModuleType:
        return _module_of(path, self.text if self.text is not None else path.read_text(encoding="utf-8"))


def classes_of(module: ModuleType) -> list[str]:
    """Names of the classes that a module defines and shows."""
    found = {name: value for name, value in vars(module).items() if isinstance(value, type) and not name.startswith("_")}
    return [name for name, value in found.items() if value.__module__ == module.__name__]


@cache
def _entries(group: Group) -> Mapping[str, Mapping[str, str]]:
    """Name -> package with its version -> `module:attribute`; one package, unless several register the name."""
    found: dict[str, dict[str, str]] = {}
    for entry in entry_points(group=f"harness.{group}"):
        package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown package"
        found.setdefault(entry.name, {})[package] = entry.value
    return found


def known(group: Group) -> list[str]:
    """Registered names of a group, sorted; those left out that several packages register."""
    return sorted(name for name, registered in _entries(group).items() if len(registered) == 1)


def disputed(group: Group) -> list[str]:
    """Names that several packages register, so that they stand for nothing, sorted."""
    return sorted(name for name, registered in _entries(group).items() if len(registered) > 1)


def resolve(group: Group, name: str, folder: Path | None = None) -> Target:
    """What a name stands for, without importing it; a file is read anew each time.

    Args:
        group: "models", "tasks" or "metrics".
        name: a registered name, or `file.py:Name`.
        folder: where a relative file is looked for: the folder of the grid file.

    Raises:
        UnknownName: nothing is registered under the name.
        GridError: the file does not exist, is no text, or is named without a class; several packages register the name.
    """
    if name.removesuffix(":").endswith(".py"):
        file = name.removesuffix(":")
        raise GridError(f"{name!r} is a file; name the class in it: {file}:ClassName.")
    if ".py:" in name:
        return _resolve_file(name, folder or Path.cwd())
    noun, registered = group.removesuffix("s"), _entries(group).get(name, {})
    if not registered:
        raise UnknownName(noun, name, known(group))
    if len(registered) > 1:
        claims = " and by ".join(f"{package} ({reference})" for package, reference in registered.items())
        raise GridError(
            f"{noun} {name!r} is registered more than once: by {claims}; rename the entry point of one, or uninstall one."
        )
    return Target(name, *next(iter(registered.items())))


def _resolve_file(name: str, folder: Path) -> Target:
    path_text, _, attribute = name.rpartition(":")
    path = (folder / path_text).resolve()
    if not path.is_file():
        raise GridError(f"{name!r}: no file {path}. A model in a single file is named `file.py:Name`, relative to the grid file.")
    content = path.read_bytes()
    try:
        text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8").read()
    except UnicodeDecodeError as error:
        raise GridError(f"{name!r}: {path} is not UTF-8 text: {error}") from error
    return Target(name, f"{path.name} {hashlib.sha256(content).hexdigest()[:16]}", f"{path}:{attribute}", text)


def _module_of(path: Path, text: str) -> ModuleType:
    """The module of a file with this content; an edited file is another module."""
    name = f"harness_file_{hashlib.sha256(f'{path} {text}'.encode()).hexdigest()[:12]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            exec(compile(text.encode(), path, "exec"), vars(module))
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]
