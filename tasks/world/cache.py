"""Compiled tables, and texts that are slow to find, on disk by digest: made once on a machine, read afterwards.

They lie under `$XDG_CACHE_HOME/text-diffusion-harness/world`, by default `~/.cache/...`. A folder that cannot be written is no
error: they are then made again. A damaged file is replaced.
"""

import json
import logging
import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, TypeVar

import numpy as np

from tasks.world.automaton import Tables, tables_of
from tasks.world.expansion import Label, RawAutomaton

logger = logging.getLogger(__name__)
Compiled = tuple[tuple[Label, ...], Tables]
Rows = list[tuple[str, ...]]
Made = TypeVar("Made")


def cache_folder() -> Path:
    """Where compiled tables lie."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "text-diffusion-harness" / "world"


def cached_tables(digest: str, build: Callable[[], RawAutomaton]) -> Compiled:
    """Labels and tables of an automaton, read from the cache or built and written to it."""
    return _cached(f"{digest}.npz", _read_tables, lambda: tables_of(build()), _write_tables)


def cached_texts(digest: str, build: Callable[[], Rows]) -> Rows:
    """Rows of texts, read from the cache or built and written to it."""
    return _cached(f"{digest}.json", _read_texts, build, _write_texts)


def _cached(name: str, read: Callable[[Path], Made], build: Callable[[], Made], write: Callable[[IO[bytes], Made], None]) -> Made:
    path = cache_folder() / name
    try:
        return read(path)
    except FileNotFoundError:
        pass
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        logger.warning("%s cannot be read (%s); making it again", path, error)
    made = build()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            write(file, made)
        os.replace(file.name, path)
    except OSError as error:
        logger.info("%s is not kept: %s", path, error)
    return made


def _read_tables(path: Path) -> Compiled:
    with np.load(path, allow_pickle=False) as stored:
        tables = {name: stored[name] for name in stored.files if name != "labels"}
        labels = json.loads(str(stored["labels"]))
    return tuple((name, attribute, value) for name, attribute, value in labels), tables


def _write_tables(file: IO[bytes], made: Compiled) -> None:
    labels, tables = made
    np.savez(file, allow_pickle=False, **{"labels": np.array(json.dumps(labels)), **tables})


def _read_texts(path: Path) -> Rows:
    return [tuple(row) for row in json.loads(path.read_bytes())]


def _write_texts(file: IO[bytes], rows: Rows) -> None:
    file.write(json.dumps(rows).encode())
