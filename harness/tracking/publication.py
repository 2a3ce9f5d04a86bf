"""A store into MLflow: every grid becomes one experiment."""

from pathlib import Path

from harness.errors import PublishError
from harness.report.samples import SamplesOf
from harness.tracking.mlflow_sink import Published, alone, local_uri, publish
from harness.tracking.records import Store, rows


def publish_store(store: Store, *, grid: str | None = None, uri: str | None = None) -> dict[str, Published]:
    """Publish the grids of a store.

    Args:
        store: where the records lie.
        grid: one grid; `None` for all.
        uri: tracking address; `None` for the database inside the store.

    Returns:
        Grid -> what was done.

    Raises:
        PublishError: MLflow is missing, cannot be written, or the store has no folder for a database.
    """
    artifacts = None if uri is not None else folder_of(store) / "mlartifacts"
    target = uri or local_uri(folder_of(store))
    samples = SamplesOf(store)
    names = [grid] if grid is not None else sorted(store.grids())
    with alone(target):
        origin = store.identity()
        return {
            name: publish(rows(store, name), target, name, samples=samples, artifacts=artifacts, origin=origin) for name in names
        }


def folder_of(store: Store) -> Path:
    """Folder of a store on this machine.

    Raises:
        PublishError: the store is remote.
    """
    if "://" in store.address:
        raise PublishError(f"the store {store.address} is remote and holds no database; say `harness publish --to URI`.")
    return Path(store.address)
