"""What a process keeps, what it gives back, and what it shares with other users of the machine."""

import os
import subprocess
import sys
from pathlib import Path

from harness.registry import Target
from harness.runner import artefacts
from harness.runner.stage import Source
from harness.runner.worker import _held
from harness.tracking.records import Record, Store, own_folder

MODEL = """
from harness.design import Design


class Model:
    design = Design(name="kept", kind="floor", families=("ucg",))

    @classmethod
    def load(cls, folder, device):
        return cls()

    def fit(self, *given):
        raise NotImplementedError

    generate = likelihood = save = fit
"""


def test_the_device_is_emptied_when_the_model_changes(tmp_path, monkeypatch):
    emptied = []
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: emptied.append("cuda"))
    monkeypatch.setattr(artefacts, "MODELS", artefacts.Warm(1))
    file, store = tmp_path / "model.py", Store(tmp_path / "runs")
    file.write_text(MODEL)
    for key in ("a", "b"):
        store.commit(Record(key=key * 64, kind="fit", status="done"))
    source = Source(Target("Model", "model.py", f"{file}:Model"))
    for key in ("a", "a", "b"):
        artefacts.load_model(store, key * 64, source, "cuda", {})
    assert len(emptied) == 2
    artefacts.load_model(store, "a" * 64, source, "cpu", {})
    assert len(emptied) == 2


def test_files_of_a_plug_in_are_copied_into_a_folder_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = artefacts.localised(Source(Target("Model", "gone.py", f"{tmp_path}/gone.py:Model"), MODEL))
    path = Path(found.reference.rpartition(":")[0])
    assert path.read_text() == MODEL
    assert own_folder() in path.parents
    assert own_folder().stat().st_uid == os.getuid()


def test_the_lock_of_a_device_is_for_all_users(tmp_path):
    lock, mask = tmp_path / "device.lock", os.umask(0o077)
    try:
        with _held(lock) as first, _held(lock) as second:
            assert (first, second) == (True, False)
    finally:
        os.umask(mask)
    assert lock.stat().st_mode & 0o777 == 0o666
    with _held(lock) as again:
        assert again


def test_a_worker_bounds_what_is_compiled_for_shapes_and_heeds_who_says_otherwise():
    """In a process of its own: torch reads it once."""
    name = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
    code = f"import os; from harness.runner.worker import warm_up; warm_up(); print(os.environ['{name}'])"
    usual = {key: value for key, value in os.environ.items() if key != name}
    for given, expected in (({}, "32"), ({name: "7"}, "7")):
        ran = subprocess.run([sys.executable, "-c", code], env=usual | given, capture_output=True, text=True, check=True)
        assert ran.stdout.strip() == expected
