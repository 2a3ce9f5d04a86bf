"""MLflow's saved views: which columns a leaderboard shows, in which order, sorted by what.

A view is one tag of an experiment. The form of the tag is internal to MLflow (read from the user interface of 3.17; the
feature is there since 3.15), so whoever writes one checks the version, and a browser test reads one back.
"""

import hashlib
import json
from collections.abc import Sequence
from urllib.parse import quote

from harness.report.sections import Section

VIEW_TAG = "mlflow.sharedViewState."
SINCE = (3, 15)
MOST_VIEWS = 40
_MOST_CHARACTERS = 20_000
_PARAMETERS = ("model", "schedule", "steps", "seed")
_COLUMN_PREFIX = {"params": "$$$param$$$", "metrics": "$$$metric$$$"}
_WIDTHS = {"model": 220, "schedule": 170, "steps": 80, "seed": 70}
_METRIC_WIDTH = 130


def view_id(section: Section) -> str:
    """Identifier of a section's view, the same at every publication."""
    return hashlib.sha256(section.title.encode()).hexdigest()[:32]


def saved_view(section: Section, metrics: Sequence[str], *, sort: str | None, ascending: bool) -> str:
    """Value of the tag that holds a view.

    Args:
        section: task and family whose runs the view shows.
        metrics: names of MLflow metrics, one column each, in order.
        sort: metric by which the view is sorted; `None` leaves MLflow's order.
        ascending: whether small values come first.
    """
    columns = [("params", name) for name in _PARAMETERS] + [("metrics", name) for name in metrics]
    state = {
        "searchFilter": f"params.task = '{_quoted(section.task)}' and params.family = '{section.family}'",
        "orderByKey": f"metrics.`{sort}`" if sort else "attributes.start_time",
        "orderByAsc": ascending if sort else False,
        "startTime": "ALL", "lifecycleFilter": "Active", "datasetsFilter": [], "modelVersionFilter": "All Runs",
        "selectedColumns": [f"{kind}.`{name}`" for kind, name in columns],
        "columnOrder": [f"{_COLUMN_PREFIX[kind]}-{name}" for kind, name in columns],
        "columnWidths": {f"{_COLUMN_PREFIX[kind]}-{name}": _WIDTHS.get(name, _METRIC_WIDTH) for kind, name in columns},
        "runsHiddenMode": "FIRST_20_RUNS",
    }  # fmt: skip
    envelope = {"name": section.title, "createdAt": 0, "updatedAt": 0, "state": json.dumps(state)}
    text = json.dumps(envelope)
    return (
        text
        if len(text) <= _MOST_CHARACTERS
        else saved_view(section, metrics[: len(metrics) // 2], sort=sort, ascending=ascending)
    )


def _quoted(text: str) -> str:
    return text.replace("'", "\\'")


def view_path(experiment: str, view: str) -> str:
    """Path of a view in MLflow's user interface, from the server's address on."""
    return f"/#/experiments/{quote(experiment)}/runs?workflowType=machine_learning&viewStateShareKey={view}"


def runs_path(experiment: str) -> str:
    """Path of the plain table of runs."""
    return f"/#/experiments/{quote(experiment)}/runs?workflowType=machine_learning"
