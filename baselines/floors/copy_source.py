"""Says what it was given: the floor that some metrics of translation and paraphrase mistake for a good system."""

from collections.abc import Sequence
from typing import Any

from baselines.floors.floor import Floor
from harness.contracts import Budget, Example, FitContext, FitReport, Request, Sampling
from harness.design import Design


class CopySource(Floor):
    """The source, or the canonical text of the control, unchanged; cut where it exceeds the limit.

    Decoding settings mean nothing to it: all candidates are the same text.
    """

    design = Design(
        name="copy-source", kind="floor", families=("a2t", "t2t"), predicts="nothing", conditioning="copy",
        loss_mask="none", length="that of the source",
    )  # fmt: skip

    def fit(self, train: Sequence[Example], valid: Sequence[Example], budget: Budget, run: FitContext) -> FitReport:
        """Nothing to learn."""
        return FitReport(tokens=0, parameters=0)

    def answer(self, request: Request, candidate: int, settings: Sampling) -> tuple[str, tuple[int, ...]]:
        """The condition.

        Raises:
            ValueError: a request without source and control.
        """
        if request.condition is None:
            raise ValueError(f"request {request.id!r} has neither source nor control: there is nothing to copy")
        return self.cut(request.condition, request)

    def state(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing."""
