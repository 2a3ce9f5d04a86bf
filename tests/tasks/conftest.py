"""Made-up files in the layout of the real sources, and a catalogue that names their checksums."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks import fetch

CatalogueWriter = Callable[..., Path]


@pytest.fixture
def write_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CatalogueWriter:
    """Writes files of one task below a folder, makes them the catalogue, and points HARNESS_DATA at the folder."""

    def write(task: str, files: dict[str, tuple[str, bytes]], *, member: str | None = None) -> Path:
        folder = tmp_path / "data"
        lines = [f"[{task}]", 'licence = "made up"']
        for name, (path, content) in files.items():
            place = folder / "owner" / "repository" / "c0ffee" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
            fields = {"name": name, "owner": "owner", "repository": "repository", "commit": "c0ffee", "path": path}
            fields["sha256"] = hashlib.sha256(content).hexdigest()
            lines += [f"[[{task}.files]]", *(f"{key} = {json.dumps(value)}" for key, value in fields.items())]
            lines += [f"bytes = {len(content)}"]
            lines += [f"member = {json.dumps(member)}"] if member and path.endswith(".zip") else []
        (tmp_path / "sources.toml").write_text("\n".join(lines), encoding="utf-8")
        monkeypatch.setattr(fetch, "CATALOGUE", tmp_path / "sources.toml")
        monkeypatch.setenv("HARNESS_DATA", str(folder))
        return folder

    return write
