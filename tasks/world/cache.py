"""Compiled tables on disk, by digest: compiled once on a machine, read afterwards.

They lie under `$XDG_CACHE_HOME/text-diffusion-harness/world`, by default `~/.cache/...`. A folder that cannot be written is no
error: the tables are then compiled again. A damaged file is replaced.
"""

import json
import logging
import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tasks.world.automaton import Tables, tables_of
from tasks.world.expansion import Label, RawAutomaton

logger = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Where compiled tables lie."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "text-diffusion-harness" / "world"


def cached_tables(digest: str, build: Callable[[], RawAutomaton]) -> tuple[tuple[Label, ...], Tables]:
    """Labels and tables of an automaton, read from the cache or built and written to it."""
    path = cache_folder() / f"{digest}.npz"
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        logger.warning("compiled tables %s cannot be read (%s); compiling again", path, error)
    labels, tables = tables_of(build())
    try:
        _write(path, labels, tables)
    except OSError as error:
        logger.info("compiled tables are not kept: %s", error)
    return labels, tables


def _read(path: Path) -> tuple[tuple[Label, ...], Tables]:
    with np.load(path, allow_pickle=False) as stored:
        tables = {name: stored[name] for name in stored.files if name != "labels"}
        labels = json.loads(str(stored["labels"]))
    return tuple((name, attribute, value) for name, attribute, value in labels), tables


def _write(path: Path, labels: tuple[Label, ...], tables: Tables) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        np.savez(file, allow_pickle=False, **{"labels": np.array(json.dumps(labels)), **tables})
    os.replace(file.name, path)
