"""All tasks on real text: what holds without the files, and, where HARNESS_DATA is set, the published row counts."""

import os
from functools import cache

import pytest

from harness.contracts import Task, TaskData
from harness.errors import DataError
from harness.registry import resolve
from tasks.corpus import Corpus
from tasks.e2e import E2E
from tasks.fetch import lines_of
from tasks.mrpc import MRPC
from tasks.multi30k import Multi30k
from tasks.rocstories import ROCStories
from tasks.text8 import Text8, prefix_of
from tasks.wikitext2 import WikiText2

CLASSES = (E2E, WikiText2, ROCStories, Text8, Multi30k, MRPC)
CASES = [(task, family) for task in CLASSES for family in task.families]
needs_data = pytest.mark.skipif(not os.environ.get("HARNESS_DATA"), reason="HARNESS_DATA names no folder with the real files")


@cache
def _load(task: type[Corpus], family: str) -> TaskData:
    return task().load(family)


@pytest.mark.parametrize("task", CLASSES)
def test_is_a_registered_task(task: type[Corpus]) -> None:
    assert resolve("tasks", task.name).load() is task
    assert isinstance(task(), Task)


@pytest.mark.parametrize(("task", "family"), CASES)
def test_default_metrics(task: type[Corpus], family: str) -> None:
    metrics = task().metrics(family)
    assert {"likelihood", "diversity", "lengths"} <= set(metrics)
    assert ("mauve" in metrics, "bleu" in metrics) == (family == "ucg", family != "ucg")


@pytest.mark.parametrize("task", CLASSES)
def test_nothing_is_read_before_load(task: type[Corpus], monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    instance = task(limit=10)
    assert len(instance.fingerprint(task.families[0])) == 64
    assert not any(source.present() for source in instance.sources())
    with pytest.raises(DataError, match=f"{task.name}/.* is missing: expected sha256"):
        instance.check()


def test_digest_tells_everything_apart_that_decides_the_examples() -> None:
    digests = [task().fingerprint(family) for task, family in CASES]
    digests += [E2E(limit=5).fingerprint("a2t"), E2E(limit=6).fingerprint("a2t")]
    digests += [WikiText2(window=32).fingerprint("ucg"), Text8(window=32).fingerprint("ucg")]
    assert len(set(digests)) == len(digests)
    assert E2E().fingerprint("a2t") == E2E(limit=None).fingerprint("a2t")


def test_digest_follows_version_and_checksums(monkeypatch: pytest.MonkeyPatch, write_sources) -> None:
    digests = [MRPC().fingerprint("t2t")]
    monkeypatch.setattr(MRPC, "version", 2)
    digests.append(MRPC().fingerprint("t2t"))
    write_sources("mrpc", {"train": ("train.txt", b"other"), "test": ("test.txt", b"other")})
    digests.append(MRPC().fingerprint("t2t"))
    assert len(set(digests)) == 3


@pytest.mark.parametrize("task", CLASSES)
def test_refuses_a_limit_below_one(task: type[Corpus]) -> None:
    with pytest.raises(ValueError, match=f"{task.name}: limit is 0; expected at least 1"):
        task(limit=0)


# Rows of the published splits: (training split before it is divided, validation split or None where it has none, test).
PUBLISHED = {
    (E2E, "a2t"): (42_061, 4_672, 630),
    (E2E, "ucg"): (42_061, 4_672, 4_693),
    (ROCStories, "ucg"): (7_751 + 10_877, None, 5_000),
    (Multi30k, "t2t"): (29_000, 1_014, 1_000),
    (MRPC, "t2t"): (2_753, None, 1_147),
    (Text8, "ucg"): (6_400_000 // 256, 200_000 // 256, 277_825 // 256),
}


@needs_data
@pytest.mark.parametrize(("task", "family"), PUBLISHED)
def test_rows_equal_the_published_ones(task: type[Corpus], family: str) -> None:
    train, valid, test = PUBLISHED[task, family]
    data = _load(task, family)
    cut = 0 if valid is not None else len(data.valid)
    assert len(data.train) + len(data.judge) + cut == train
    assert len(data.test) == test
    assert len(data.valid) == (cut if valid is None else valid)


@needs_data
def test_wikitext_has_the_published_lines_and_tokens() -> None:
    files = [lines_of(WikiText2().source(split)) for split in ("train", "valid", "test")]
    assert [len(lines) for lines in files] == [36_718, 3_760, 4_358]
    assert [sum(bool(line.strip()) for line in lines) for lines in files] == [23_767, 2_461, 2_891]
    assert [sum(len(line.split()) + 1 for line in lines) for lines in files] == [2_088_628, 217_646, 245_569]


@needs_data
def test_wikitext_windows_hold_nearly_all_words_of_the_paragraphs() -> None:
    data = _load(WikiText2, "ucg")
    words = sum(len(example.target.split()) for example in (*data.train, *data.judge))
    assert words == 2_007_146 - 42_726
    assert {len(example.target.split()) for example in data.test} == set(range(16, 65))


@needs_data
def test_text8_prefix_is_whole() -> None:
    text = prefix_of(Text8().source("prefix"))
    assert len(text) == 6_877_825
    assert set(text) == set("abcdefghijklmnopqrstuvwxyz ")


@needs_data
def test_e2e_references_are_all_grouped() -> None:
    assert sum(len(example.references) for example in _load(E2E, "a2t").test) == 4_693


@needs_data
@pytest.mark.parametrize(("task", "family"), CASES)
def test_real_folds(task: type[Corpus], family: str) -> None:
    data = _load(task, family)
    train, judge = ({example.target for example in fold} for fold in (data.train, data.judge))
    assert not train & judge
    assert len(data.judge) / (len(data.train) + len(data.judge)) == pytest.approx(0.2, abs=0.025)
    everything = [*data.train, *data.valid, *data.test, *data.judge]
    assert len({example.id for example in everything}) == len(everything)
    assert all(example.target.strip() and example.condition != "" for example in everything)
    assert data.digest == task().fingerprint(family)


@needs_data
@pytest.mark.parametrize("task", CLASSES)
def test_files_are_present_with_their_sizes(task: type[Corpus]) -> None:
    task().check()
    assert all(source.present() and source.fetch().stat().st_size == source.bytes for source in task().sources())
