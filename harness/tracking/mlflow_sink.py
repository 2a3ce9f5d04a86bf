"""MLflow as a projection of the rows: one flat run per cell, rebuilt at any time, into any tracking address.

The only file that imports mlflow. One process writes; what it writes depends on the rows alone, so that publishing again
changes nothing and an interrupted publication is completed by the next.
"""

import fcntl
import importlib.util
import itertools
import json
import logging
import os
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import PublishError
from harness.report.sections import Section, sections
from harness.tracking.mlflow_runs import GREYED_TAG, HIGH, LOW, RunContent, description, metric_name, metrics_of, run_content
from harness.tracking.rows import Row
from harness.tracking.saved_views import MOST_VIEWS, SINCE, VIEW_TAG, runs_path, saved_view, view_id, view_path

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

SamplesOf = Callable[[Row], Sequence[Mapping[str, Any]] | None]
_PAGE = 1000
_FIRST_TRY = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
_CREDENTIALS = re.compile(r"(?<=://)\S*@|(?<=[?&])(password|token)=[^&\s]+")
_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """What a publication did.

    Attributes:
        experiment: MLflow's identifier of the experiment.
        views: section title -> path of its saved view, from the server's address on.
        written, unchanged: number of runs.
    """

    experiment: str
    views: Mapping[str, str] = field(default_factory=dict)
    written: int = 0
    unchanged: int = 0


def available() -> bool:
    """Whether MLflow is installed."""
    return importlib.util.find_spec("mlflow") is not None


def local_uri(store: Path) -> str:
    """Tracking address of the database inside a store.

    Raises:
        PublishError: no address can hold the path.
    """
    path = store.resolve() / "mlflow.db"
    odd = sorted(set(str(path)) & set("?%"))
    if odd:
        raise PublishError(
            f"{path}: no address of a database can hold {' or '.join(odd)}. Rename the folder, or publish to another with --to."
        )
    return f"sqlite:///{path}"


@contextmanager
def alone(uri: str) -> Iterator[None]:
    """Let one process at a time write into a database; a server takes care of itself.

    Raises:
        PublishError: MLflow is not installed, or nothing can be written beside the database.
    """
    with _reported(uri):
        path = _database(uri)
        lock = os.open(f"{path}.lock" if path is not None else os.devnull, os.O_RDWR | os.O_CREAT)
    try:
        if path is not None:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def publish(
    rows: Sequence[Row],
    uri: str,
    experiment: str,
    *,
    samples: SamplesOf | None = None,
    artifacts: Path | None = None,
    origin: str = "here",
) -> Published:
    """Write rows into MLflow: finished and failed cells as runs, one saved view for each task and family.

    Afterwards the experiment holds one run for each row and no other run of the same origin; what others have published
    there stays.

    Args:
        rows: rows of one experiment.
        uri: tracking address, such as `sqlite:////abs/mlflow.db` or `https://host`.
        experiment: name of the experiment; made where it is missing.
        samples: texts of a row to browse; `None` for none.
        artifacts: folder of artifacts for a local database; a server decides for itself.
        origin: tells the runs of one store from those of others.

    Raises:
        PublishError: MLflow is not installed, or the address cannot be written.
    """
    with _reported(uri):
        client = _client(uri)
        identifier = _experiment(client, experiment, artifacts)
        contents = [run_content(row, samples(row) if samples else None) for row in rows if row.status in ("done", "failed")]
        existing = _existing(client, identifier, origin)
        written = sum(_write(client, identifier, content, origin, existing.pop(content.key, [])) for content in contents)
        for run in itertools.chain.from_iterable(existing.values()):
            client.delete_run(run.info.run_id)
        views = _describe(client, identifier, sections(rows))
        return Published(experiment=identifier, views=views, written=written, unchanged=len(contents) - written)


@contextmanager
def _reported(uri: str) -> Iterator[None]:
    if not available():
        raise PublishError("MLflow is not installed. Say: pip install 'mlflow>=3.15'.")
    os.environ.update(_QUIET)
    from alembic.util.exc import CommandError
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, CommandError, OSError, ImportError, sqlite3.Error) as error:
        said = without_credentials(f"MLflow at {uri} cannot be written: {error}")
        raise PublishError(f"{said}. The records are safe; say `harness publish` later.") from None


def without_credentials(text: str) -> str:
    """The text with no user, password or token in any address that it holds."""
    return _CREDENTIALS.sub("", text)


def _client(uri: str) -> "MlflowClient":
    from mlflow import MlflowClient

    for name in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
    path = _database(uri)
    if path is not None and not path.exists():
        _make_database(path)
    client = MlflowClient(tracking_uri=uri)
    with _little_patience():
        client.search_experiments(max_results=1)
    if path is not None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode=wal")
    return client


def _make_database(path: Path) -> None:
    """Under another name first: MLflow never mends a database whose making was interrupted."""
    from mlflow import MlflowClient

    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    MlflowClient(tracking_uri=f"sqlite:///{unfinished}").search_experiments(max_results=1)
    unfinished.replace(path)


@contextmanager
def _little_patience() -> Iterator[None]:
    """Let MLflow try a server once and briefly; by itself it repeats for minutes."""
    before = {name: os.environ.get(name) for name in _FIRST_TRY}
    os.environ.update(_FIRST_TRY)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _database(uri: str) -> Path | None:
    """Where a local database lies, its folder made; `None` for a server.

    Raises:
        PublishError: the text is no address, or the database has no absolute path.
    """
    if "://" not in uri and not uri.startswith(("databricks", "file:")):
        raise PublishError(f"{uri!r} is no address: write https://host for a server, sqlite:////absolute/path for a database.")
    path = uri.removeprefix("sqlite:///")
    if path == uri:
        return None
    if not path.startswith("/"):
        raise PublishError(f"{uri!r}: a relative database lies somewhere else for every process; write sqlite:////absolute/path.")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return Path(path)


def _experiment(client: "MlflowClient", name: str, artifacts: Path | None) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        location = (artifacts.resolve() / re.sub(r"[^\w.-]", "_", name)).as_uri() if artifacts else None
        try:
            return client.create_experiment(name, artifact_location=location)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)
            assert found is not None
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return found.experiment_id


def _existing(client: "MlflowClient", experiment: str, origin: str) -> dict[tuple[str, str], list["Run"]]:
    runs: dict[tuple[str, str], list[Run]] = {}
    token: str | None = None
    while True:
        page = client.search_runs([experiment], filter_string=f"tags.store = '{origin}'", max_results=_PAGE, page_token=token)
        for run in page:
            runs.setdefault((run.data.tags["cell"], run.info.run_name), []).append(run)
        token = page.token
        if not token:
            return runs


def _write(client: "MlflowClient", experiment: str, content: RunContent, origin: str, existing: Sequence["Run"]) -> bool:
    """Bring the one run of a cell up to date; whether anything was written."""
    current = [run for run in existing if run.data.tags.get("published") == content.digest]
    half_made = [run for run in existing if "published" not in run.data.tags]
    keep = (current or half_made)[:1]
    for run in existing:
        if run not in keep:
            client.delete_run(run.info.run_id)
    if current:
        return False
    tags = {"cell": content.cell, "store": origin}
    made = keep or [client.create_run(experiment, start_time=content.started, tags=tags, run_name=content.name)]
    _fill(client, made[0], content)
    return True


def _fill(client: "MlflowClient", run: "Run", content: RunContent) -> None:
    """Everything but the tag `published` may be there already; that tag is written last."""
    from mlflow.entities import Metric, Param, RunTag

    identifier, moment = run.info.run_id, run.info.start_time
    tags = {**content.tags, "published": content.digest}
    if content.samples is not None:
        client.log_dict(identifier, dict(content.samples), "samples.json")
        tags["mlflow.loggedArtifacts"] = json.dumps([{"path": "samples.json", "type": "table"}])
    client.set_terminated(identifier, status="FAILED" if content.failed else "FINISHED", end_time=content.finished or moment)
    client.log_batch(
        identifier,
        metrics=[Metric(name, value, moment, 0) for name, value in content.metrics.items()],
        params=[Param(name, value) for name, value in content.params.items()],
        tags=[RunTag(name, value) for name, value in tags.items()],
    )


def _describe(client: "MlflowClient", experiment: str, found: Sequence[Section]) -> dict[str, str]:
    """Write views and description where they changed; title -> path."""
    tags, paths = {}, {}
    for section in found[:MOST_VIEWS] if _has_views() else []:
        view = view_id(section)
        tags[f"{VIEW_TAG}{view}"] = _view(section)
        paths[section.title] = view_path(experiment, view)
    tags["mlflow.note.content"] = description(found, paths or {"runs": runs_path(experiment)})
    tags["mlflow.experimentKind"] = "custom_model_development"
    present = client.get_experiment(experiment).tags
    for name, value in tags.items():
        if present.get(name) != value:
            client.set_experiment_tag(experiment, name, value)
    return paths


def _view(section: Section) -> str:
    known = {name: value for row in section.rows for name, value in row.metrics.items()}
    columns = [metric_name(name) for name in section.metrics]
    if section.headline is None:
        return saved_view(section, columns, sort=None, ascending=True)
    recorded = {name for row in section.rows for name in metrics_of(row)}
    bounds = [f"{end}{columns[0]}" for end in (LOW, HIGH) if f"{end}{columns[0]}" in recorded]
    rest = sorted(name for name in recorded if name.startswith(("latency/", "cost/")))
    ascending = known[section.headline].higher_is_better is False
    shown = [columns[0], *bounds, *columns[1:], *rest]
    tags = [GREYED_TAG] if any(row.latency_greyed for row in section.rows) else []
    return saved_view(section, shown, sort=columns[0], ascending=ascending, tags=tags)


def _has_views() -> bool:
    from mlflow.version import VERSION

    return tuple(int(part) for part in re.findall(r"\d+", VERSION)[:2]) >= SINCE


def saved_views(uri: str) -> dict[str, dict[str, str]]:
    """Experiment name -> view title -> path, as they stand in MLflow, latest experiment first.

    Raises:
        PublishError: the address cannot be read.
    """
    with _reported(uri):
        found = _client(uri).search_experiments(order_by=["last_update_time DESC"])
        return {item.name: _views_of(item.experiment_id, item.tags) for item in found if item.name != "Default"}


def _views_of(experiment: str, tags: Mapping[str, str]) -> dict[str, str]:
    views = {name.removeprefix(VIEW_TAG): json.loads(value)["name"] for name, value in tags.items() if name.startswith(VIEW_TAG)}
    return {title: view_path(experiment, view) for view, title in sorted(views.items(), key=lambda item: item[1])}
