"""Pinned source files: where they lie, how they are fetched, and that they are what they should be.

`sources.toml` names every file by owner, repository, commit, path and sha256. With `HARNESS_DATA=<folder>` in the
environment files are read at `<folder>/<owner>/<repository>/<commit>/<path>` and nothing is downloaded; otherwise pooch
downloads them once into the user's cache folder, in the same layout. The checksum is verified at every reading.
"""

import gzip
import hashlib
import io
import os
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

from harness.errors import DataError, UnknownName

HOST = "https://raw.githubusercontent.com"
CATALOGUE = Path(__file__).with_name("sources.toml")


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One file of a public repository.

    Attributes:
        name: `task/file`, such as "e2e/train".
        licence: as the source states it.
        owner, repository, commit, path: the parts of its address.
        sha256: of the file as it is downloaded.
        bytes: size of the file as it is downloaded.
        member: the member to be read of a zip archive; `None` where the file is no archive.
    """

    name: str
    licence: str
    owner: str
    repository: str
    commit: str
    path: str
    sha256: str
    bytes: int
    member: str | None = None

    @property
    def task(self) -> str:
        """The task that reads it."""
        return self.name.partition("/")[0]

    @property
    def place(self) -> str:
        """`<owner>/<repository>/<commit>/<path>`, the same on the host, under HARNESS_DATA and in the cache."""
        return f"{self.owner}/{self.repository}/{self.commit}/{self.path}"

    @property
    def address(self) -> str:
        """Where it is downloaded from."""
        return f"{HOST}/{self.place}"

    def fetch(self, *, host: str = HOST) -> Path:
        """The verified file, downloaded where it has to be; see `path_of`."""
        return path_of(self, host=host)

    def present(self) -> bool:
        """Whether the file is here and has the right checksum; downloads nothing."""
        return checksum_of(location_of(self)) == self.sha256


def list_sources() -> tuple[Source, ...]:
    """Every file that the tasks of this package read, by task in the order of `sources.toml`."""
    catalogue = tomllib.loads(CATALOGUE.read_text(encoding="utf-8"))
    return tuple(
        Source(**{**file, "name": f"{task}/{file['name']}"}, licence=entry["licence"])
        for task, entry in catalogue.items()
        for file in entry["files"]
    )


def sources_of(task: str) -> tuple[Source, ...]:
    """The files that one task reads.

    Raises:
        UnknownName: `sources.toml` has no such task.
    """
    sources = list_sources()
    found = tuple(source for source in sources if source.task == task)
    if not found:
        raise UnknownName("data set", task, {source.task for source in sources})
    return found


def fetch_all(task: str, *, host: str = HOST) -> tuple[Path, ...]:
    """Fetch and verify every file of a task.

    Args:
        task: name of the task.
        host: first part of the address, for mirrors.

    Raises:
        UnknownName: no such task.
        DataError: a file is missing, corrupt or cannot be downloaded.
    """
    return tuple(path_of(source, host=host) for source in sources_of(task))


def data_folder() -> Path | None:
    """HARNESS_DATA, or `None`; made absolute in the environment when first used, as processes started later may run elsewhere."""
    folder = os.environ.get("HARNESS_DATA")
    if not folder:
        return None
    os.environ["HARNESS_DATA"] = str(Path(folder).expanduser().absolute())
    return Path(os.environ["HARNESS_DATA"])


def location_of(source: Source) -> Path:
    """Where a file belongs on this machine, whether it is there or not."""
    folder = data_folder()
    if folder:
        return folder / source.place
    import pooch

    return Path(pooch.os_cache("text-diffusion-harness")) / source.place


def checksum_of(path: Path) -> str | None:
    """sha256 of a file in hexadecimal; `None` where there is no file."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def path_of(source: Source, *, host: str = HOST) -> Path:
    """The verified file: under HARNESS_DATA where that is set, else in the cache, downloaded where it is not there yet.

    Args:
        source: the file.
        host: first part of the address, for mirrors.

    Raises:
        DataError: under HARNESS_DATA the file is missing or corrupt, or the download failed or is not the pinned file.
    """
    if not os.environ.get("HARNESS_DATA"):
        _download(source, host)
    return verified(source)


def verified(source: Source) -> Path:
    """The file where it belongs, without downloading.

    Raises:
        DataError: it is missing or corrupt; the message names expected and found sha256 and what to do.
    """
    path = location_of(source)
    found = checksum_of(path)
    if found != source.sha256:
        state = "is missing" if found is None else "is corrupt or another version"
        raise DataError(f"{source.name}: {path} {state}: {_comparison(source, found)}. {_remedy(source)}")
    return path


def _comparison(source: Source, found: str | None) -> str:
    return f"expected sha256 {source.sha256}, found {found or 'no file'}"


def _remedy(source: Source) -> str:
    fetch = f"`harness data fetch {source.task}`"
    if os.environ.get("HARNESS_DATA"):
        return f"Put the file of {source.address} there, or unset HARNESS_DATA and say {fetch}."
    return f"Say {fetch} to download it, or set HARNESS_DATA to a folder that holds {source.place}."


def _download(source: Source, host: str) -> None:
    # pooch leaves a file alone whose checksum is right
    import pooch

    target = location_of(source)
    address = f"{host}/{source.place}"

    def download(url: str, output_file: str, pup: object) -> None:
        pooch.HTTPDownloader()(url, output_file, pup)
        found = checksum_of(Path(output_file))
        if found != source.sha256:
            raise DataError(f"{source.name}: {url} is not the pinned file: {_comparison(source, found)}. {_remedy(source)}")

    try:
        pooch.retrieve(address, f"sha256:{source.sha256}", target.name, target.parent, downloader=download)
    except OSError as error:
        remedy = f"Set HARNESS_DATA to a folder that holds {source.place}, or try again."
        raise DataError(
            f"{source.name}: {address} could not be downloaded to {target} ({type(error).__name__}: {error}); "
            f"{_comparison(source, None)}. {remedy}"
        ) from error


def text_of(source: Source) -> str:
    """The text of a file, or of its archive member: verified, unpacked, decoded from UTF-8, a leading mark dropped.

    Raises:
        DataError: see `path_of`.
    """
    content = path_of(source).read_bytes()
    if source.member is not None:
        content = zipfile.ZipFile(io.BytesIO(content)).read(source.member)
    elif source.path.endswith(".gz"):
        content = gzip.decompress(content)
    return content.decode("utf-8-sig")


def lines_of(source: Source) -> list[str]:
    r"""The lines of a file, split at \n alone (texts may hold other line separators), without their end."""
    return [line.removesuffix("\r") for line in text_of(source).removesuffix("\n").split("\n")]
