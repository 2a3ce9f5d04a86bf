import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from example_rows import rows as example_rows

from harness.errors import PublishError, StoreError
from harness.tracking import mlflow_sink, publication
from harness.tracking.mlflow_sink import local_uri, publish
from harness.tracking.publication import publish_store
from harness.tracking.records import Store

CELL = {
    "digest": "d", "grid": "g", "model": "m", "task": "t", "family": "ucg", "schedule": None, "steps": None, "seed": 0,
    "decode": "sample", "reason": None, "stages": {}, "settings": {},
}  # fmt: skip


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "runs")
    made.snapshot("g", {"grid": "g", "cells": [CELL]})
    return made


def test_a_store_is_one_origin_by_whatever_name_it_is_opened(store, tmp_path, monkeypatch):
    uri = local_uri(tmp_path)
    assert publish_store(store, uri=uri)["g"].written == 1
    (tmp_path / "link").symlink_to("runs")
    (tmp_path / "deep").mkdir()
    monkeypatch.setattr("platform.node", lambda: "another")
    for name in ("link", "deep/../runs"):
        done = publish_store(Store(tmp_path / name), uri=uri)["g"]
        assert (done.written, done.unchanged) == (0, 1)
    shutil.move(tmp_path / "runs", tmp_path / "moved")
    assert publish_store(Store(tmp_path / "moved"), uri=uri)["g"].unchanged == 1


def test_two_stores_have_two_identities(store, tmp_path):
    assert store.identity() == Store(store.address).identity() != Store(tmp_path / "other").identity()
    assert len(store.identity()) == 32


def test_an_identity_that_cannot_be_written_is_named(store, monkeypatch):
    def refuse(name, data):
        raise PermissionError("read-only")

    monkeypatch.setattr(store.files, "write", refuse)
    with pytest.raises(StoreError, match="cannot write its identity"):
        store.identity()


def test_a_store_is_read_without_being_written(store, monkeypatch):
    from harness.tracking.files import LocalFiles

    store.identity()
    before = sorted(os.listdir(store.address))
    monkeypatch.setattr(LocalFiles, "write", lambda files, name, data: pytest.fail(f"{name} was written"))
    opened = Store.existing(store.address)
    assert opened is not None
    assert list(opened.grids()) == ["g"]
    assert opened.identity() == store.identity()
    assert sorted(os.listdir(store.address)) == before


def test_what_does_not_exist_is_not_made(tmp_path):
    assert Store.existing(tmp_path / "typo") is None
    assert Store.existing(f"file://{tmp_path}/typo") is None
    assert not (tmp_path / "typo").exists()
    with pytest.raises(StoreError, match="cannot read"):
        Store.existing("nosuchscheme://bucket/runs")


RACE = """
import sys, time
import mlflow.store.tracking.sqlalchemy_store
from harness.tracking.publication import publish_store
from harness.tracking.records import Store
time.sleep(max(0.0, float(sys.argv[2]) - time.time()))
(done,) = publish_store(Store(sys.argv[1])).values()
print(done.written, done.unchanged)
"""


def test_publications_at_the_same_moment_take_turns(store):
    """The first one makes the database, which takes seconds; unlocked, the others would find it half made."""
    command = [sys.executable, "-c", RACE, store.address, str(time.time() + 12)]
    racing = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate() for process in racing]
    assert [process.returncode for process in racing] == [0, 0], said
    assert sorted(out for out, _ in said) == ["0 1\n", "1 0\n"]
    with closing(sqlite3.connect(Path(store.address) / "mlflow.db")) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (1,)


def test_a_database_that_cannot_be_brought_up_to_date_is_one_clear_error(tmp_path, monkeypatch):
    from alembic.util.exc import CommandError

    def broken(uri):
        raise CommandError("Can't locate revision")

    monkeypatch.setattr(mlflow_sink, "_client", broken)
    with pytest.raises(PublishError, match="Can't locate revision"):
        publish(example_rows(), local_uri(tmp_path), "g")


@pytest.mark.parametrize("name", ["odd ?x=1", "a%41b"])
def test_a_folder_that_no_address_can_hold_is_refused(tmp_path, name, monkeypatch):
    store = Store(tmp_path / name)
    store.snapshot("g", {"grid": "g", "cells": [CELL]})
    monkeypatch.setattr(publication, "publish", None)
    with pytest.raises(PublishError, match="Rename the folder"):
        publish_store(store)
    assert sorted(os.listdir(tmp_path)) == [name]


@pytest.mark.parametrize("uri", ["mlflow.example.org", "localhost:5000", "runs/mlflow"])
def test_an_address_without_a_scheme_is_refused(store, uri, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PublishError, match="write https://"):
        publish_store(store, uri=uri)
    assert sorted(os.listdir(tmp_path)) == ["runs"]


def test_a_dead_server_is_told_soon_and_without_its_password(store):
    start = time.monotonic()
    with pytest.raises(PublishError, match=r"MLflow at http://127\.0\.0\.1:9 cannot be written") as error:
        publish_store(store, uri="http://user:secret@127.0.0.1:9")
    assert "secret" not in str(error.value)
    assert time.monotonic() - start < 60
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ


def test_a_database_without_its_driver_is_one_clear_error(store):
    with pytest.raises(PublishError, match="MLflow at postgresql://host/base cannot be written") as error:
        publish_store(store, uri="postgresql://user:secret@host/base")
    assert "secret" not in str(error.value)
