"""text-diffusion-harness: which diffusion text model is better, at what cost, against which autoregressive baseline.

The public names load on first use, so that `import harness` costs nothing.
"""

import importlib
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.contracts import (
        Budget,
        Checkpoint,
        Content,
        Example,
        FitContext,
        FitReport,
        Generation,
        Likelihood,
        Pretraining,
        Request,
        Sampling,
        Task,
        TaskData,
        TaskView,
        TextModel,
    )  # fmt: skip
    from harness.design import Design
    from harness.leaderboard import table
    from harness.measurement import Measurement

_CONTRACTS = (
    "Budget", "Checkpoint", "Content", "Example", "FitContext", "FitReport", "Generation", "Likelihood", "Pretraining",
    "Request", "Sampling", "Task", "TaskData", "TaskView", "TextModel",
)  # fmt: skip
_HOME_OF = {
    **dict.fromkeys(_CONTRACTS, "harness.contracts"),
    "Design": "harness.design",
    "Measurement": "harness.measurement",
    "table": "harness.leaderboard",
}

__all__ = [
    "Budget", "Checkpoint", "Content", "Design", "Example", "FitContext", "FitReport", "Generation", "Likelihood", "Measurement",
    "Pretraining", "Request", "Sampling", "Task", "TaskData", "TaskView", "TextModel", "table",
]  # fmt: skip
__version__ = _version("text-diffusion-harness")


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)
