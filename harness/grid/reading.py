"""From a YAML file to a `Grid`; every complaint names the file, the line and near matches."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from harness.errors import GridError, UnknownName
from harness.grid.complaints import Places, complaints, keys
from harness.grid.schema import Grid, ScheduleEntry
from harness.registry import Group, known, resolve

SHIPPED = Path(__file__).parent.parent / "grids"


def shipped() -> list[str]:
    """Names of the grids that come with the harness."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def find(name: str | Path) -> Path:
    """The file of a grid given by path or by shipped name.

    Raises:
        UnknownName: neither a file nor a shipped grid.
    """
    path = Path(name)
    if path.is_file():
        return path
    if str(name) in shipped():
        return SHIPPED / f"{name}.yaml"
    if path.suffix in (".yaml", ".yml"):
        raise GridError(f"no grid file {path}. Shipped grids, which need no path: {', '.join(shipped())}.")
    raise UnknownName("grid", str(name), shipped())


def load(name: str | Path) -> Grid:
    """Read a grid file, or a shipped grid by its name.

    Raises:
        GridError: anything wrong in the file, with its line.
    """
    path = find(name)
    text = _text_of(path)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise GridError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise GridError(f"{path}: a grid file is a mapping with keys such as models, tasks and budget; this one is not.")
    _check_keys(node, path)
    return _validated(data, path, Places(path, node))


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise GridError(f"{path}: cannot be read as UTF-8 text: {error}") from error


def _check_keys(node: yaml.Node | None, path: Path) -> None:
    """Make sure that no mapping names a key twice: YAML would take the last one without a word."""
    for mapping in _mappings(node, set()):
        seen: set[str] = set()
        for key, _ in mapping.value:
            if str(key.value) in seen:
                raise GridError(f"{path}:{key.start_mark.line + 1}: key {key.value!r} stands here twice; keep one.")
            seen.add(str(key.value))


def _mappings(node: yaml.Node | None, seen: set[int]) -> Iterator[yaml.MappingNode]:
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        yield node
    for child in _children(node):
        yield from _mappings(child, seen)


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [value for _, value in node.value]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _validated(data: dict[str, Any], path: Path, places: Places) -> Grid:
    if "folder" in data:
        raise GridError(f"{places(['folder'])}: unknown key 'folder'. Known: {', '.join(keys(Grid))}.")
    given = {"grid": path.stem, **data, "folder": path.resolve().parent}
    try:
        grid = Grid.model_validate(given)
    except ValidationError as error:
        raise GridError("\n".join(complaints(error, places))) from None
    _place(grid, places)
    _check_budgets(grid, places)
    _check_titles(grid, places)
    _check_names(grid, places)
    return grid


def _place(grid: Grid, places: Places) -> None:
    """Let entries know where they stand, for those who find fault with them later."""
    for key, entries in (("models", grid.models), ("tasks", grid.tasks)):
        for index, entry in enumerate(entries):
            entry.put(f"{places([key, index])}: ")
    if "judge" in grid.model_fields_set:
        grid.judge.put(f"{places(['judge'])}: ")
    for key in grid.baselines:
        grid.put(key, f"{places([key])}: ")


def _check_budgets(grid: Grid, places: Places) -> None:
    labels = [entry.title for entry in grid.models]
    for label in grid.budget:
        if label not in ("default", *labels):
            raise UnknownName("model label", label, labels, places(["budget", label]))
    missing = [label for label in labels if label not in grid.budget]
    if missing and "default" not in grid.budget:
        raise GridError(f"{places(['budget'])}: no budget for {', '.join(missing)}; give them one, or add `default`.")
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise GridError(f"{places(['models'])}: two models are called {twice!r}; tell them apart with `label`.")
    for key, label in grid.baselines.items():
        if label not in labels:
            raise UnknownName("model label", label, labels, places([key]))


def _check_titles(grid: Grid, places: Places) -> None:
    """Make sure that different tasks and decodings have different names; the same one twice is one."""
    tasks = [(entry.title, entry.content) for entry in grid.tasks]
    decodings = [(entry.title, entry.model_dump_json(exclude={"name"})) for entry in grid.decode]
    for key, noun, entries, own in (("tasks", "tasks", tasks, "label"), ("decode", "decodings", decodings, "name")):
        contents: dict[str, str] = {}
        for index, (title, content) in enumerate(entries):
            if key == "tasks" and {"'", '"'} <= set(title):
                raise GridError(f"{places([key, index])}: no query of MLflow holds both quotes of {title}; use one of them.")
            if contents.setdefault(title, content) != content:
                raise GridError(
                    f"{places([key, index])}: two different {noun} are called {title!r}; tell them apart with `{own}`."
                )


def _check_names(grid: Grid, places: Places) -> None:
    for index, model in enumerate(grid.models):
        _check_name("models", model.name, grid, places(["models", index, "name"]))
    for index, task in enumerate(grid.tasks):
        _check_name("tasks", task.name, grid, places(["tasks", index, "name"]))
    for index, metric in enumerate(grid.metrics if grid.metrics != "default" else ()):
        _check_name("metrics", metric, grid, places(["metrics", index]))
    for index, schedule in enumerate(grid.schedules):
        _check_schedule(schedule, places(["schedules", index]))
    _check_profile(grid, places(["profile"]))


def _check_name(group: Group, name: str, grid: Grid, where: str) -> None:
    try:
        resolve(group, name, grid.folder)
    except UnknownName as error:
        raise UnknownName(error.noun, error.name, known(group), where) from None
    except GridError as error:
        raise GridError(f"{where}: {error}") from None


def _check_schedule(schedule: ScheduleEntry, where: str) -> None:
    if schedule.name == "native":
        if schedule.options:
            given = ", ".join(schedule.options)
            raise GridError(f"{where}: 'native' is each paper's own schedule and takes no parameters: leave out {given}.")
        return
    from harness.schedules.names import parse

    try:
        parse(schedule.specification)
    except GridError as error:
        raise GridError(f"{where}: {error}") from None


def _check_profile(grid: Grid, where: str) -> None:
    from harness.metrics.profiles import PROFILES

    if grid.profile not in PROFILES:
        raise UnknownName("profile", grid.profile, PROFILES, where)
