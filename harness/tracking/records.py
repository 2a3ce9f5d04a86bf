"""The truth: one small immutable record per finished stage, and the blobs that it names.

Layout of a store: `objects/ab/<sha256>` (blobs), `records/ab/<key>.json` (finished stages), `records/ab/<key>.fail-<n>.json`
(failed attempts), `checkpoints/<key>/` (training under way), `grids/<name>.json` (the plan as it was run). A record is
written last and at once: it is the commit. A stage that was killed has none and runs again.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.errors import StoreError
from harness.tracking.files import LocalFiles, files_at
from harness.tracking.rows import Row


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """What became of one stage.

    Attributes:
        inputs: role -> key of the stage that it was made from.
        result: small plain values ("parameters": 81920).
        blobs: name -> sha256 of what is too large for the record.
        environment: versions, host, device, threads, when: everything that is in no key.
        attempts: what was tried before ("out of memory at micro-batch 64").
        message, traceback: of a failure.
    """

    key: str
    kind: str
    status: Literal["done", "failed"]
    spec: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)
    blobs: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    environment: Mapping[str, Any] = field(default_factory=dict)
    attempts: tuple[str, ...] = ()
    message: str | None = None
    traceback: str | None = None

    def to_json(self) -> bytes:
        """UTF-8 JSON; NaN and infinity are refused, absent is null."""
        try:
            fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
            return json.dumps(fields, ensure_ascii=False, allow_nan=False).encode()
        except ValueError as error:
            raise StoreError(f"{self.kind} stage {self.key[:12]}: a result is not a finite plain value: {error}") from error

    @classmethod
    def from_json(cls, data: bytes) -> "Record":
        """The inverse of `to_json`."""
        fields = json.loads(data)
        return cls(**{**fields, "attempts": tuple(fields["attempts"])})


class Store:
    """Records, blobs and checkpoints of any number of grids under one path or fsspec address.

    Raises:
        StoreError: the place cannot be written.
    """

    def __init__(self, address: str | Path) -> None:
        self.files = files_at(address)

    @property
    def address(self) -> str:
        """By which another process opens the same store."""
        return self.files.address

    def __reduce__(self) -> tuple[type["Store"], tuple[str]]:
        return (Store, (self.address,))

    def put(self, data: bytes) -> str:
        """Keep a blob; its sha256 is its name."""
        digest = hashlib.sha256(data).hexdigest()
        name = f"objects/{digest[:2]}/{digest}"
        if not self.files.exists(name):
            self.files.write(name, data)
        return digest

    def get(self, digest: str) -> bytes:
        """A blob, verified.

        Raises:
            StoreError: missing, or not what its name says.
        """
        name = f"objects/{digest[:2]}/{digest}"
        data = self.files.read(name)
        if data is None:
            raise StoreError(f"{self.address}/{name} is missing; delete the records that name it and run the grid again.")
        found = hashlib.sha256(data).hexdigest()
        if found != digest:
            raise StoreError(
                f"{self.address}/{name} is corrupt: expected sha256 {digest}, found {found}. Delete it and its record."
            )
        return data

    def commit(self, record: Record) -> None:
        """Write the record of a finished stage; the first one stays."""
        if not self.files.exists(_record_name(record.key)):
            self.files.write(_record_name(record.key), record.to_json())

    def fail(self, record: Record) -> None:
        """Write down a failed attempt, beside those before it."""
        count = 1
        while self.files.exists(_failure_name(record.key, count)):
            count += 1
        self.files.write(_failure_name(record.key, count), record.to_json())

    def has(self, key: str) -> bool:
        """Whether a stage is finished."""
        return self.files.exists(_record_name(key))

    def record(self, key: str) -> Record | None:
        """The record of a finished stage; `None` where there is none."""
        data = self.files.read(_record_name(key))
        return None if data is None else _parsed(data, key)

    def failure(self, key: str) -> Record | None:
        """The latest failed attempt; `None` where there is none."""
        latest, count = None, 1
        while (data := self.files.read(_failure_name(key, count))) is not None:
            latest, count = data, count + 1
        return None if latest is None else _parsed(latest, key)

    def keys(self) -> tuple[set[str], set[str]]:
        """Keys of finished stages, and of stages with failed attempts, by one look at the folder."""
        done: set[str] = set()
        failed: set[str] = set()
        for name in self.files.names("records"):
            key, _, rest = name.rpartition("/")[2].partition(".")
            (failed if rest.startswith("fail-") else done).add(key)
        return done, failed

    def put_folder(self, folder: Path) -> dict[str, str]:
        """Keep every file of a folder; relative name -> sha256."""
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): self.put(path.read_bytes()) for path in files}

    def get_folder(self, blobs: Mapping[str, str], folder: Path) -> None:
        """Write the files of a kept folder."""
        for name, digest in blobs.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.get(digest))

    def checkpoints(self, key: str) -> Path:
        """Folder in which the training of a stage keeps its checkpoint; on this machine when the store is remote."""
        local = isinstance(self.files, LocalFiles)
        root = Path(self.address) if local else Path(tempfile.gettempdir()) / "harness-checkpoints"
        folder = root / "checkpoints" / key
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def forget_checkpoints(self, key: str) -> None:
        """Delete the checkpoint of a finished training."""
        shutil.rmtree(self.checkpoints(key), ignore_errors=True)

    def snapshot(self, grid: str, plan: Mapping[str, Any]) -> None:
        """Keep a plan, so that its rows can be told without any plug-in."""
        self.files.write(f"grids/{grid}.json", json.dumps(plan, ensure_ascii=False, allow_nan=False).encode())

    def grids(self) -> dict[str, dict[str, Any]]:
        """Plans by the name of their grid."""
        names = sorted(name for name in self.files.names("grids") if name.endswith(".json"))
        plans = ((name, self.files.read(f"grids/{name}")) for name in names)
        return {name.removesuffix(".json"): json.loads(data) for name, data in plans if data is not None}


def rows(store: Store, grid: Any = None) -> list[Row]:
    """All rows of a store, or of one grid (a name, or a `Grid`); see `harness.tracking.projection`."""
    from harness.tracking.projection import rows as project

    return project(store, getattr(grid, "grid", grid))


def _record_name(key: str) -> str:
    return f"records/{key[:2]}/{key}.json"


def _failure_name(key: str, count: int) -> str:
    return f"records/{key[:2]}/{key}.fail-{count}.json"


def _parsed(data: bytes, key: str) -> Record:
    try:
        return Record.from_json(data)
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(f"record {key} cannot be read ({error}); delete it and run the grid again.") from error
