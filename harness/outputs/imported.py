"""A system that ran elsewhere: its texts are read from a file, and nothing else is known of it."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.contracts import Budget, Example, FitContext, FitReport, Generation, Likelihood, Request, Sampling, TaskView
from harness.design import FAMILIES, Design
from harness.errors import ModelError, OutputsError
from harness.outputs.reading import Output, paired, read_outputs
from harness.schedules.base import Schedule

_FILE = "outputs.json"


class Imported:
    """Texts of a system that was run elsewhere, one for each test item; cost, latency and likelihood stay empty.

    Args:
        schedule: none.
        task: of the test items.
        outputs: JSON lines with `text` and optionally `id`; without ids they are in the order of the test items.
        sha256: of that file, which makes its content part of every key.

    Raises:
        OutputsError: the file cannot be read, or is another one.
    """

    design = Design(
        name="imported", kind="imported", families=FAMILIES, predicts="unknown", conditioning="unknown", loss_mask="unknown",
        length="unknown", tokenizer="unknown",
    )  # fmt: skip

    def __init__(self, schedule: Schedule | None, task: TaskView, *, outputs: str = "", sha256: str = "") -> None:
        self.file, self.sha256 = outputs, sha256
        self.outputs: list[Output] = []

    @classmethod
    def design_for(cls, *, outputs: str = "", sha256: str = "") -> Design:
        """The one design, after a look at the file.

        Raises:
            OutputsError: the file cannot be read, or is another one.
        """
        if not outputs:
            raise OutputsError("imported: no file of texts; say `outputs: FILE`, JSON lines with `text` and optionally `id`.")
        found = digest_of_file(Path(outputs))
        if found != sha256:
            raise OutputsError(f"{outputs} has sha256 {found}, expected {sha256 or 'none was given'}; say `sha256: {found}`.")
        return cls.design

    def fit(self, train: Sequence[Example], valid: Sequence[Example], budget: Budget, run: FitContext) -> FitReport:
        """Read the texts; nothing is trained, and what was is not known."""
        self.design_for(outputs=self.file, sha256=self.sha256)
        self.outputs = read_outputs(Path(self.file))
        return FitReport(tokens=0, parameters=0)

    def generate(self, requests: Sequence[Request], settings: Sampling) -> list[Generation]:
        """The text of every request.

        Raises:
            ModelError: several candidates are asked for.
            OutputsError: texts and requests do not correspond.
        """
        if any(request.n != 1 for request in requests):
            raise ModelError("imported has one text for each item: use `candidates: 1`.")
        asked = [Example(id=request.id, target="") for request in requests]
        texts = paired(self.outputs, asked, by_id=self.outputs[0].id is not None, noun="test items")
        return [Generation(id=request.id, texts=(text,)) for request, text in zip(requests, texts, strict=True)]

    def likelihood(self, examples: Sequence[Example]) -> Likelihood | None:
        """Not known."""
        return None

    def save(self, folder: Path) -> None:
        """Write one JSON file."""
        folder.mkdir(parents=True, exist_ok=True)
        lines = [[output.id, output.text] for output in self.outputs]
        (folder / _FILE).write_text(json.dumps(lines, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, device: str) -> "Imported":
        """The texts as they were saved."""
        made: Any = cls.__new__(cls)
        lines = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        made.outputs = [Output(text, name) for name, text in lines]
        return made  # type: ignore[no-any-return]


def digest_of_file(path: Path) -> str:
    """sha256 of a file.

    Raises:
        OutputsError: it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise OutputsError(f"{path}: cannot be read: {error}") from error
