import os
import uuid

import pytest

from harness.errors import StoreError, UnknownName
from harness.tracking.records import Record, Store, own_folder, rows

KEY = "ab" + "0" * 62


def record(**changes) -> Record:
    return Record(**{"key": KEY, "kind": "fit", "status": "done", "spec": {"seed": 0}, "result": {"loss": 0.1}, **changes})


@pytest.fixture(params=["path", "file", "memory"])
def store(request, tmp_path) -> Store:
    addresses = {"path": str(tmp_path / "runs"), "file": f"file://{tmp_path}/runs", "memory": f"memory://{uuid.uuid4().hex}"}
    return Store(addresses[request.param])


def test_a_record_comes_back_and_the_first_one_stays(store):
    assert store.record(KEY) is None
    store.commit(record())
    store.commit(record(result={"loss": 0.2}))
    assert store.record(KEY) == record()
    assert Store(store.address).keys() == ({KEY}, set())


def test_failed_attempts_stand_beside_each_other(store):
    store.fail(record(status="failed", message="one"))
    store.fail(record(status="failed", message="two", attempts=("lost",)))
    found = store.failure(KEY)
    assert found is not None
    assert (found.message, found.attempts) == ("two", ("lost",))
    assert store.keys() == (set(), {KEY})


def test_blobs_and_folders(store, tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "a.bin").write_bytes(b"\x00\x01")
    (tmp_path / "in" / "b.txt").write_text("b")
    blobs = store.put_folder(tmp_path / "in")
    assert sorted(blobs) == ["b.txt", "deep/a.bin"]
    store.get_folder(blobs, tmp_path / "out")
    assert (tmp_path / "out" / "deep" / "a.bin").read_bytes() == b"\x00\x01"


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), b"x", {1, 2}, "\ud800"])
def test_what_json_cannot_hold_is_no_result(store, value):
    with pytest.raises(StoreError, match=r"result.losses.1.loss is .*; expected finite plain values"):
        store.commit(record(result={"losses": [{}, {"loss": value}]}))
    assert store.record(KEY) is None


def test_a_corrupt_or_missing_blob_is_noticed(tmp_path):
    store = Store(tmp_path)
    digest = store.put(b"content")
    path = tmp_path / "objects" / digest[:2] / digest
    path.write_bytes(b"changed")
    with pytest.raises(StoreError, match=f"expected sha256 {digest}, found"):
        store.get(digest)
    path.unlink()
    with pytest.raises(StoreError, match="is missing"):
        store.get(digest)


def test_a_torn_record_is_named(tmp_path):
    store = Store(tmp_path)
    store.commit(record())
    (tmp_path / "records" / "ab" / f"{KEY}.json").write_text('{"key": ')
    with pytest.raises(StoreError, match=KEY):
        store.record(KEY)


def test_no_write_permission(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write .*--store"):
        Store(tmp_path / "file" / "runs")
    with pytest.raises(StoreError, match="cannot write"):
        Store("nosuchscheme://bucket/runs")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="cannot write"):
        Store(tmp_path / "runs")


def test_left_over_temporary_files_are_nothing(tmp_path):
    store = Store(tmp_path)
    store.commit(record())
    folder = tmp_path / "records" / "ab"
    (folder / f".{KEY}.json.123.tmp").write_text("{")
    (folder / f"{KEY.replace('0', '1')}.json.bak").write_text("{}")
    (folder / f"{KEY.replace('0', '2')}.fail-1.json~").write_text("{}")
    assert store.keys() == ({KEY}, set())


def test_old_temporary_files_are_swept_away(tmp_path):
    store = Store(tmp_path)
    store.commit(record())
    old, new = (tmp_path / "records" / "ab" / f".{KEY}.json.{writer}.tmp" for writer in (1, 2))
    for path in (old, new):
        path.write_text("{")
    os.utime(old, (0, 0))
    store.sweep()
    assert (old.exists(), new.exists(), store.has(KEY)) == (False, True, True)


def test_temporary_files_lie_in_a_folder_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store = Store(f"memory://{uuid.uuid4().hex}")
    folder = store.checkpoints(KEY)
    assert own_folder() in folder.parents
    assert own_folder().stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr("os.getuid", lambda: os.geteuid() + 1)
    (tmp_path / f"harness-{os.getuid()}").mkdir()
    with pytest.raises(StoreError, match="belongs to another user"):
        store.checkpoints(KEY)


CELL = {
    "digest": "d", "grid": "g", "model": "m", "task": "t", "family": "ucg", "schedule": None, "steps": None, "seed": 0,
    "decode": "sample", "reason": None, "stages": {"fit": KEY, "score/bleu": "cd" + KEY[2:]}, "settings": {"profile": "test"},
}  # fmt: skip
MEASURED = {"value": 1.5, "low": None, "high": None, "n": 3, "signature": "s", "reason": None, "flags": ["few"]}


def test_rows_follow_the_records(tmp_path):
    store = Store(tmp_path)
    store.snapshot("g", {"grid": "g", "cells": [CELL, {**CELL, "reason": "why not", "stages": {}}]})
    assert [(row.status, row.reason) for row in rows(store)] == [("pending", None), ("skipped", "why not")]
    store.commit(record(result={"parameters": 7, "tokens": 9, "fit_seconds": 1.0, "size": {}, "schedule": None}))
    score = record(key="cd" + KEY[2:], kind="score", result={"measurements": {"bleu": MEASURED}}, seconds=2.0)
    store.fail(Record(key=score.key, kind="score", status="failed", message="ValueError: no"))
    assert (rows(store)[0].status, rows(store)[0].reason) == ("failed", "score/bleu: ValueError: no")
    store.commit(score)
    row = rows(store, "g")[0]
    assert (row.status, row.metrics["bleu"].value, row.metrics["bleu"].flags) == ("done", 1.5, ("few",))
    assert (row.cost["parameters"], row.cost["score_seconds"], row.digests["fit"]) == (7, 2.0, KEY)
    assert type(row).from_json(row.to_json()).to_json() == row.to_json()


def test_rows_of_a_grid_that_never_ran(tmp_path):
    with pytest.raises(StoreError, match="no grid has been run in the store"):
        rows(Store(tmp_path), "h")
    Store(tmp_path).snapshot("g", {"grid": "g", "cells": []})
    with pytest.raises(UnknownName, match="unknown grid 'h'"):
        rows(Store(tmp_path), "h")


@pytest.mark.parametrize("text", ["", "{}", "[]", "{", '{"cells": 3}'])
def test_a_plan_that_is_none_is_named(tmp_path, text):
    Store(tmp_path).snapshot("g", {})
    (tmp_path / "grids" / "g.json").write_text(text)
    with pytest.raises(StoreError, match=r"grids/g\.json is no plan.*another version"):
        rows(Store(tmp_path))


@pytest.mark.parametrize("where", ["cell", "value"])
def test_what_another_version_wrote_is_named(tmp_path, where):
    store = Store(tmp_path)
    store.snapshot("g", {"grid": "g", "cells": [{**CELL, "later": 1} if where == "cell" else CELL]})
    score = {"measurements": {"bleu": {**MEASURED, "later": 1}}}
    store.commit(record(key="cd" + KEY[2:], kind="score", result=score if where == "value" else {"measurements": {}}))
    with pytest.raises(StoreError, match=r"grids/g\.json.* another version .*later"):
        rows(store)


def test_a_name_is_taken_from_another_file_with_a_word(tmp_path):
    store = Store(tmp_path)
    assert store.take_name("g", tmp_path / "a.yaml") is None
    assert store.take_name("g", tmp_path / "a.yaml") is None
    assert store.take_name("g", tmp_path / "b.yaml") == str(tmp_path / "a.yaml")
    assert list(store.grids()) == []


@pytest.mark.parametrize("failed", [False, True])
def test_a_record_that_cannot_be_read_is_named_with_its_file(tmp_path, failed):
    store = Store(tmp_path)
    store.fail(record(status="failed")) if failed else store.commit(record())
    (path,) = (tmp_path / "records").rglob("*.json")
    path.write_text("{")
    with pytest.raises(StoreError) as error:
        store.failure(KEY) if failed else store.record(KEY)
    assert str(error.value).startswith(f"{path} cannot be read (")
    assert str(error.value).endswith("delete it and run the grid again, or take a new --store.")
