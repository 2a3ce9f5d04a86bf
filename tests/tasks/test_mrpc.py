import pytest

from harness.contracts import TaskData
from harness.errors import DataError
from tasks.mrpc import MRPC
from tasks.splits import place

HEADER = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String"


def _file(rows: list[str]) -> bytes:
    return "\r\n".join([HEADER, *rows, ""]).encode()


@pytest.fixture
def data(write_sources) -> TaskData:
    train = [f'{index % 2}\t1\t2\tHe said "no {index}.\tNo {index}", he said.' for index in range(100)]
    test = ["0\t1\t2\tA.\tB.", "1\t3\t4\tC.\tD."]
    write_sources("mrpc", {"train": ("train.txt", _file(train)), "test": ("test.txt", _file(test))})
    return MRPC().load("t2t")


def test_pairs_judged_to_be_paraphrases(data: TaskData) -> None:
    assert [(example.id, example.source, example.target) for example in data.test] == [("mrpc/test/0", "C.", "D.")]
    assert len(data.train) + len(data.valid) + len(data.judge) == 50
    assert {example.target for example in (*data.train, *data.valid, *data.judge)} == {
        f'No {index}", he said.' for index in range(1, 100, 2)
    }


def test_validation_is_cut_from_train(data: TaskData) -> None:
    everything = (*data.train, *data.valid, *data.judge)
    assert data.valid
    assert set(data.valid) == {example for example in everything if 0.20 <= place(example.target) < 0.25}


def test_limit_caps_the_contestants_alone(data: TaskData) -> None:
    capped = MRPC(limit=10).load("t2t")
    assert len(capped.train) == 10
    assert set(capped.train) < set(data.train)
    assert (capped.valid, capped.test, capped.judge) == (data.valid, data.test, data.judge)


@pytest.mark.parametrize(("rows", "line"), [(["1\t1\t2\tA."], 2), (["1\t1\t2\tA.\tB.", "1\t1\t2\tA.\tB.\tC."], 3)])
def test_a_wrong_number_of_columns_names_the_line(rows: list[str], line: int, write_sources) -> None:
    write_sources("mrpc", {"train": ("train.txt", _file(rows)), "test": ("test.txt", _file(rows))})
    with pytest.raises(DataError, match=f"mrpc/train: line {line} has not the five columns"):
        MRPC().load("t2t")
