"""Where a store's bytes lie: a local (or shared) folder, or any address that fsspec knows."""

import os
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Protocol, runtime_checkable

from harness.errors import StoreError


@runtime_checkable
class Files(Protocol):
    """Immutable small files under relative names; a write is seen whole or not at all."""

    address: str

    def read(self, name: str) -> bytes | None:
        """Content of a file; `None` where there is none."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write at once, or leave what was there."""
        ...

    def remove(self, name: str) -> None:
        """Delete a file."""
        ...

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""
        ...

    def names(self, folder: str) -> Iterator[str]:
        """Names of the files in a folder and its sub-folders, relative to it."""
        ...


def existing_files(address: str | Path) -> Files | None:
    """The files at a path or URL, to be read; `None` where there are none.

    Raises:
        StoreError: no read permission, or an address that nothing serves.
    """
    try:
        files = _opened(str(address))
        return files if files.exists("") else None
    except (OSError, ValueError, ImportError) as error:
        raise StoreError(f"store {address}: cannot read ({type(error).__name__}: {error}). --store names another.") from error


def files_at(address: str | Path) -> Files:
    """The files at a path or URL, to be read and written; the place is made where it is missing.

    Raises:
        StoreError: no write permission, or an address that nothing serves.
    """
    text = str(address)
    probe = f".probe-{uuid.uuid4().hex}"
    try:
        files = _opened(text)
        files.write(probe, b"")
        files.remove(probe)
    except (OSError, ValueError, ImportError) as error:
        raise StoreError(
            f"store {text}: cannot write ({type(error).__name__}: {error}). Name a folder that you may write to with --store."
        ) from error
    return files


def _opened(address: str) -> Files:
    return RemoteFiles(address) if "://" in address else LocalFiles(Path(address))


class LocalFiles:
    """Files in a folder: written beside their place, synced, then moved there."""

    def __init__(self, root: Path) -> None:
        self.address = str(root.absolute())
        self._folders: set[str] = set()

    def _path(self, name: str) -> str:
        return f"{self.address}/{name}"

    def read(self, name: str) -> bytes | None:
        """See `Files`."""
        try:
            with open(self._path(name), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """See `Files`."""
        path = self._path(name)
        folder, _, last = path.rpartition("/")
        if folder not in self._folders:
            os.makedirs(folder, exist_ok=True)
            self._folders.add(folder)
        temporary = f"{folder}/.{last}.{os.getpid()}-{threading.get_ident()}.tmp"
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)

    def remove(self, name: str) -> None:
        """See `Files`."""
        os.unlink(self._path(name))

    def exists(self, name: str) -> bool:
        """See `Files`."""
        return os.path.exists(self._path(name))

    def names(self, folder: str) -> Iterator[str]:
        """See `Files`."""
        root = self._path(folder)
        for place, _, files in os.walk(root):
            relative = os.path.relpath(place, root)
            yield from (f"{relative}/{name}" if relative != "." else name for name in files if not name.endswith(".tmp"))


class RemoteFiles:
    """Files behind an fsspec address, such as `s3://bucket/runs`; uploads there are atomic by themselves."""

    def __init__(self, address: str) -> None:
        from fsspec.core import url_to_fs

        self.address = address
        self.system, self.root = url_to_fs(address)

    def _path(self, name: str) -> str:
        return str(PurePosixPath(self.root) / name)

    def read(self, name: str) -> bytes | None:
        """See `Files`."""
        try:
            return bytes(self.system.cat_file(self._path(name)))
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """See `Files`."""
        path = self._path(name)
        self.system.makedirs(str(PurePosixPath(path).parent), exist_ok=True)
        temporary = f"{path}.{uuid.uuid4().hex}.tmp"
        self.system.pipe_file(temporary, data)
        self.system.mv(temporary, path)

    def remove(self, name: str) -> None:
        """Delete a file."""
        self.system.rm_file(self._path(name))

    def exists(self, name: str) -> bool:
        """See `Files`."""
        return bool(self.system.exists(self._path(name)))

    def names(self, folder: str) -> Iterator[str]:
        """See `Files`."""
        root = self._path(folder)
        self.system.invalidate_cache()
        if self.system.exists(root):
            found = (str(PurePosixPath(path).relative_to(root)) for path in self.system.find(root))
            yield from (name for name in found if not name.endswith(".tmp"))
