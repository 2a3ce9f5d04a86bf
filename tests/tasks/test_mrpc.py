import pytest

from harness.errors import DataError
from tasks.mrpc import MRPC

HEADER = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String"


def _file(rows: list[str]) -> bytes:
    return "\r\n".join([HEADER, *rows, ""]).encode()


def test_pairs_judged_to_be_paraphrases(write_sources) -> None:
    train = [f'{index % 2}\t1\t2\tHe said "no {index}.\tNo {index}", he said.' for index in range(100)]
    test = ["0\t1\t2\tA.\tB.", "1\t3\t4\tC.\tD."]
    write_sources("mrpc", {"train": ("train.txt", _file(train)), "test": ("test.txt", _file(test))})
    data = MRPC().load("t2t")
    assert [(example.id, example.source, example.target) for example in data.test] == [("mrpc/test/0", "C.", "D.")]
    assert len(data.train) + len(data.valid) + len(data.judge) == 50
    assert {example.target for example in (*data.train, *data.valid, *data.judge)} == {
        f'No {index}", he said.' for index in range(1, 100, 2)
    }


@pytest.mark.parametrize(("rows", "line"), [(["1\t1\t2\tA."], 2), (["1\t1\t2\tA.\tB.", "1\t1\t2\tA.\tB.\tC."], 3)])
def test_a_wrong_number_of_columns_names_the_line(rows: list[str], line: int, write_sources) -> None:
    write_sources("mrpc", {"train": ("train.txt", _file(rows)), "test": ("test.txt", _file(rows))})
    with pytest.raises(DataError, match=f"mrpc/train: line {line} has not the five columns"):
        MRPC().load("t2t")
