"""The truth: one small immutable record per finished stage, and the blobs that it names.

Layout of a store: `objects/ab/<sha256>` (blobs), `records/ab/<key>.json` (finished stages), `records/ab/<key>.fail-<n>.json`
(failed attempts), `checkpoints/<key>/` (training under way), `grids/<name>.json` (the plan as it was run), `grids/<name>.file`
(the file that it was read from), `identity`. A record is written last and at once: it is the commit. A stage that was killed has
none and runs again.
"""

import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.errors import StoreError
from harness.tracking.files import LocalFiles, existing_files, files_at
from harness.tracking.rows import Row

_OLD_SECONDS = 86_400.0


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
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return plain_json(fields, f"{self.kind} stage {self.key[:12]}")

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

    @classmethod
    def existing(cls, address: str | Path) -> "Store | None":
        """The store at an address, to be read, so that no write permission is needed; `None` where there is none."""
        files = existing_files(address)
        if files is None:
            return None
        store = cls.__new__(cls)
        store.files = files
        return store

    @property
    def address(self) -> str:
        """By which another process opens the same store."""
        return self.files.address

    def __reduce__(self) -> tuple[type["Store"], tuple[str]]:
        return (Store, (self.address,))

    def identity(self) -> str:
        """Tells this store from every other, however it is named and wherever it is moved; made when it is first asked for.

        Raises:
            StoreError: there is none yet and none can be written.
        """
        if not self.files.exists("identity"):
            try:
                self.files.write("identity", uuid.uuid4().hex.encode())
            except OSError as error:
                raise StoreError(f"store {self.address}: cannot write its identity ({error}), and it has none yet.") from error
        return (self.files.read("identity") or b"").decode()

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
        return None if data is None else self._parsed(_record_name(key), data)

    def failure(self, key: str) -> Record | None:
        """The latest failed attempt; `None` where there is none."""
        latest, count = None, 1
        while (data := self.files.read(_failure_name(key, count))) is not None:
            latest, count = data, count + 1
        return None if latest is None else self._parsed(_failure_name(key, count - 1), latest)

    def _parsed(self, name: str, data: bytes) -> Record:
        try:
            return Record.from_json(data)
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(
                f"{self.address}/{name} cannot be read ({error}): it was cut off, or another version of the harness wrote it; "
                "delete it and run the grid again, or take a new --store."
            ) from error

    def keys(self) -> tuple[set[str], set[str]]:
        """Keys of finished stages, and of stages with failed attempts, by one look at the folder."""
        done: set[str] = set()
        failed: set[str] = set()
        for name in self.files.names("records"):
            key, _, rest = name.rpartition("/")[2].partition(".")
            if rest == "json":
                done.add(key)
            elif rest.startswith("fail-") and rest.endswith(".json"):
                failed.add(key)
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
        root = Path(self.address) if isinstance(self.files, LocalFiles) else own_folder()
        folder = root / "checkpoints" / key
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def forget_checkpoints(self, key: str) -> None:
        """Delete the checkpoint of a finished training."""
        shutil.rmtree(self.checkpoints(key), ignore_errors=True)

    def sweep(self) -> None:
        """Delete the temporary files that writers left when they were killed, once they are a day old."""
        if not isinstance(self.files, LocalFiles):
            return
        for folder in ("objects", "records", "grids"):
            for place, _, names in os.walk(f"{self.address}/{folder}"):
                for name in names:
                    if name.endswith(".tmp"):
                        _delete_if_old(Path(place) / name)

    def snapshot(self, grid: str, plan: Mapping[str, Any]) -> None:
        """Keep a plan, so that its rows can be told without any plug-in."""
        self.files.write(f"grids/{grid}.json", json.dumps(plan, ensure_ascii=False, allow_nan=False).encode())

    def take_name(self, grid: str, file: Path) -> str | None:
        """Note which file bears a grid's name from now on; the other file that bore it until now, `None` where there was none."""
        name, new = f"grids/{grid}.file", str(file.resolve())
        before = self.files.read(name)
        if before == new.encode():
            return None
        self.files.write(name, new.encode())
        return before.decode() if before is not None else None

    def grids(self) -> dict[str, dict[str, Any]]:
        """Plans by the name of their grid.

        Raises:
            StoreError: a file that holds no plan.
        """
        names = sorted(name for name in self.files.names("grids") if name.endswith(".json"))
        plans = ((name, self.files.read(f"grids/{name}")) for name in names)
        return {name.removesuffix(".json"): self._plan(name, data) for name, data in plans if data is not None}

    def _plan(self, name: str, data: bytes) -> dict[str, Any]:
        try:
            plan = json.loads(data)
            if isinstance(plan["cells"], list):
                return dict(plan)
        except (ValueError, TypeError, KeyError):
            pass
        raise StoreError(
            f"{self.address}/grids/{name} is no plan: it was cut off, or another version of the harness wrote it. Delete it and "
            "run its grid again: what is finished is not done twice."
        )


def rows(store: Store, grid: Any = None) -> list[Row]:
    """All rows of a store, or of one grid (a name, or a `Grid`); see `harness.tracking.projection`."""
    from harness.tracking.projection import rows as project

    return project(store, getattr(grid, "grid", grid))


def plain_json(data: Any, what: str) -> bytes:
    """UTF-8 JSON of plain values.

    Raises:
        StoreError: names the first value that is none: NaN, infinity, an array or its number, half of a surrogate pair.
    """
    try:
        return json.dumps(data, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise StoreError(f"{what}: {_culprit(data, '') or error}; expected finite plain values.") from error


def _culprit(value: Any, place: str) -> str | None:
    """Where the first value is that JSON cannot hold, and what it is."""
    if isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return next((found for name, item in items if (found := _culprit(item, f"{place}.{name}"))), None)
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError):
        kind = type(value)
        return f"{place.removeprefix('.')} is {str(value)[:80]!r} ({kind.__module__}.{kind.__qualname__})"
    return None


def own_folder() -> Path:
    """A folder among this machine's temporary files that only this user may enter.

    Raises:
        StoreError: somebody else has made it.
    """
    folder = Path(tempfile.gettempdir()) / f"harness-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise StoreError(f"{folder} belongs to another user; delete it, or set TMPDIR to a folder of your own.")
    return folder


def _delete_if_old(path: Path) -> None:
    with suppress(OSError):  # another driver was faster, or the file is somebody else's
        if time.time() - path.stat().st_mtime > _OLD_SECONDS:
            path.unlink()


def _record_name(key: str) -> str:
    return f"records/{key[:2]}/{key}.json"


def _failure_name(key: str, count: int) -> str:
    return f"records/{key[:2]}/{key}.fail-{count}.json"
