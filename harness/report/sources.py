"""The source files of all tasks: what they are, where they come from, whether they are here."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from harness import registry
from harness.report.escape import markdown_cell
from harness.report.export import grid_of_text

_FIELDS = ("name", "licence", "address", "sha256", "bytes")


class SourceFile(Protocol):
    """One file that a task reads."""

    name: str
    licence: str
    sha256: str
    bytes: int

    @property
    def address(self) -> str:
        """Where it is downloaded from."""
        ...

    def present(self) -> bool:
        """Whether it is here and whole."""
        ...

    def fetch(self) -> Any:
        """Its path, downloaded and verified."""
        ...


def sources(tasks: Sequence[str] = ()) -> Iterator[SourceFile]:
    """Files of the named tasks, or of all.

    Raises:
        UnknownName: no such task.
        GridError: several packages register the name.
    """
    for target in [registry.resolve("tasks", name) for name in tasks or registry.known("tasks")]:
        task = target.load()()
        yield from task.sources() if hasattr(task, "sources") else ()


def as_records(tasks: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The files as plain objects."""
    return [{**{name: getattr(source, name) for name in _FIELDS}, "present": source.present()} for source in sources(tasks)]


def as_table(tasks: Sequence[str] = ()) -> str:
    """The files as a Markdown table."""
    header = ("name", "here", "MB", "licence", "address")
    body = [
        [
            record["name"],
            "yes" if record["present"] else "no",
            f"{record['bytes'] / 1e6:.1f}",
            record["licence"],
            record["address"],
        ]
        for record in as_records(tasks)
    ]
    return "\n".join(grid_of_text(header, [[markdown_cell(cell) for cell in line] for line in body])) + "\n"
