"""Put a system that ran elsewhere on the leaderboard: a grid of one cell, made from a file of texts."""

from collections.abc import Sequence
from pathlib import Path

from harness.contracts import Example
from harness.design import Family
from harness.errors import OutputsError
from harness.grid import Grid, TaskEntry
from harness.grid.catalogue import Catalogue
from harness.leaderboard import bare
from harness.metrics.profiles import profile
from harness.outputs.imported import digest_of_file
from harness.outputs.reading import paired, read_outputs
from harness.registry import known
from harness.runner.artefacts import test_items

JUDGE_TOKENS = 2_000_000


def items_of(task: TaskEntry, family: Family | None, profile_name: str, folder: Path) -> tuple[Family, list[Example]]:
    """The test items of a task and family under a profile, in the order in which texts without ids are taken.

    Args:
        task: with its options.
        family: `None` where the task has only one.
        profile_name: decides how many.
        folder: where `file.py:Name` is looked for.

    Raises:
        OutputsError: the task has several families and none was chosen, or not this one.
    """
    made = Catalogue(folder).task(task)
    if family is None and len(made.families) > 1:
        raise OutputsError(f"task {task.name} has the families {', '.join(made.families)}: say which with --family.")
    chosen = family or made.families[0]
    if chosen not in made.families:
        raise OutputsError(f"task {task.name} has the families {', '.join(made.families)}, not {chosen}.")
    made.check()
    items, samples = profile(profile_name).size(chosen)
    return chosen, test_items(made.load(chosen), items, samples)


def grid_of_outputs(
    outputs: Path, *, model: str, task: TaskEntry, family: Family | None, like: Grid | None, profile_name: str, name: str
) -> Grid:
    """A grid with one cell, whose texts are those of a file; checked against the test items before anything is spent.

    Args:
        outputs: JSON lines with `text` and optionally `id`.
        model: label of the system.
        task: with its options.
        family: `None` where the task has only one.
        like: a grid whose judge, metrics and profile make the values comparable with its own; `None` = a judge of its own.
        profile_name: without `like`.
        name: of the grid.

    Raises:
        OutputsError: texts and test items do not correspond, or the system has no name of its own.
    """
    _check_name(model, like)
    chosen = like.profile if like else profile_name
    folder = like.folder if like else Path.cwd()
    family, items = items_of(task, family, chosen, folder)
    written = read_outputs(outputs)
    paired(written, items, by_id=written[0].id is not None, noun="test items")
    entry = {"name": "imported", "label": model, "outputs": str(outputs.resolve()), "sha256": digest_of_file(outputs)}
    shared = {"judge": _judge_of(like), "metrics": like.metrics} if like else {"judge": {"tokens": JUDGE_TOKENS}}
    wanted = {"name": task.name, "label": task.label, "families": [family], **task.options}
    fields = {"grid": name, "models": [entry], "tasks": [wanted], "budget": {"tokens": 0}, "profile": chosen, "latency": False}
    return Grid.model_validate({**fields, **shared, "folder": folder})


def _check_name(model: str, like: Grid | None) -> None:
    if not model.strip():
        raise OutputsError("--model is empty; give the system the name that it is to have on the leaderboard.")
    name = bare(model.strip())
    owner = "a registered model" if name in known("models") else ""
    if like is not None and model.strip() in (entry.title for entry in like.models):
        owner = f"a model of the grid {like.grid}"
    if owner:
        raise OutputsError(
            f"--model {model!r} is {owner}, and on the leaderboard nothing would tell the two apart; choose another name, "
            f"such as {name}-elsewhere."
        )


def _judge_of(like: Grid) -> dict[str, object]:
    """The judge that a grid's own cells have, its budget written out."""
    from harness.runner.plan import judge_budget

    return {**like.judge.model_dump(), **like.judge.options, **judge_budget(like)}


def task_of(like: Grid | None, task: str) -> TaskEntry:
    """A task by name or label: of a grid, with its options, else by its registered name.

    Raises:
        OutputsError: the grid has no such task, or several.
    """
    if like is None:
        return TaskEntry(name=task)
    found = [entry for entry in like.tasks if task in (entry.name, entry.title)]
    if len(found) != 1:
        titles = ", ".join(entry.title for entry in like.tasks)
        raise OutputsError(f"grid {like.grid} has {len(found)} tasks {task!r}; expected one of {titles}.")
    return found[0]


def lines_of(items: Sequence[Example]) -> list[dict[str, str | None]]:
    """Test items as they are given to whoever writes texts for them: id and condition."""
    return [{"id": item.id, "condition": item.condition} for item in items]
