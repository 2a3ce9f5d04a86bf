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
_RUN_NAME = "attributes.`Run Name`"
_LAST = ("runDateAndNestInfo", "duration")
_WIDTHS = {"model": 220, "schedule": 170, "steps": 80, "seed": 70}
_RUN_NAME_WIDTH = 120
_NARROWEST, _WIDEST, _CHARACTER, _MARGIN = 90, 210, 6, 45


def view_id(section: Section) -> str:
    """Identifier of a section's view, the same at every publication."""
    return hashlib.sha256(section.title.encode()).hexdigest()[:32]


def saved_view(section: Section, metrics: Sequence[str], *, sort: str | None, ascending: bool, tags: Sequence[str] = ()) -> str:
    """Value of the tag that holds a view.

    Args:
        section: task and family whose runs the view shows.
        metrics: names of MLflow metrics, one column each, in order.
        sort: metric by which the view is sorted; `None` leaves MLflow's order.
        ascending: whether small values come first.
        tags: names of tags, one column each, after the metrics.
    """
    widths = {f"params.`{name}`": _WIDTHS[name] for name in _PARAMETERS}
    widths |= {f"metrics.`{name}`": _width(name) for name in metrics}
    widths |= {f"tags.`{name}`": _WIDEST for name in tags}
    state = {
        "searchFilter": f"params.task = {_quoted(section.task)} and params.family = '{section.family}'",
        "orderByKey": f"metrics.`{sort}`" if sort else "attributes.start_time",
        "orderByAsc": ascending if sort else False,
        "startTime": "ALL", "lifecycleFilter": "Active", "datasetsFilter": [], "modelVersionFilter": "All Runs",
        "selectedColumns": list(widths),
        "columnOrder": [_RUN_NAME, *widths, *_LAST],
        "columnWidths": {_RUN_NAME: _RUN_NAME_WIDTH, **widths},
        "runsHiddenMode": "FIRST_20_RUNS",
    }  # fmt: skip
    envelope = {"name": section.title, "createdAt": 0, "updatedAt": 0, "state": json.dumps(state)}
    text = json.dumps(envelope)
    if len(text) <= _MOST_CHARACTERS:
        return text
    return saved_view(section, metrics[: len(metrics) // 2], sort=sort, ascending=ascending, tags=tags)


def _width(name: str) -> int:
    """Pixels of a metric's column; the ends of an interval say what they are in their first letters."""
    bound = name.startswith(("low/", "high/"))
    return _NARROWEST if bound else min(_WIDEST, max(_NARROWEST, _CHARACTER * len(name) + _MARGIN))


def _quoted(text: str) -> str:
    return f'"{text}"' if "'" in text else f"'{text}'"


def view_path(experiment: str, view: str) -> str:
    """Path of a view in MLflow's user interface, from the server's address on."""
    return f"/#/experiments/{quote(experiment)}/runs?workflowType=machine_learning&viewStateShareKey={view}"


def runs_path(experiment: str) -> str:
    """Path of the plain table of runs."""
    return f"/#/experiments/{quote(experiment)}/runs?workflowType=machine_learning"
