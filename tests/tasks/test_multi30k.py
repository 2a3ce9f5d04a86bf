import gzip

import pytest

from harness.errors import DataError
from tasks.multi30k import Multi30k


def _files(german_test: str) -> dict[str, tuple[str, bytes]]:
    texts = {
        "train.en": "".join(f"A dog runs {index}.\n" for index in range(50)),
        "train.de": "".join(f"Ein Hund rennt {index}.\n" for index in range(50)),
        "valid.en": "A cat.\n",
        "valid.de": "Eine Katze. \n",
        "test.en": "Two\u2028men.\nA hat\n",
        "test.de": german_test,
    }
    return {name: (f"raw/{name}.gz", gzip.compress(text.encode())) for name, text in texts.items()}


def test_pairs_of_lines(write_sources) -> None:
    write_sources("multi30k", _files("Zwei Männer.\nEin Hut\n"))
    data = Multi30k().load("t2t")
    pairs = [(example.id, example.source, example.target) for example in data.test]
    assert pairs == [("multi30k/test/0", "Two\u2028men.", "Zwei Männer."), ("multi30k/test/1", "A hat", "Ein Hut")]
    assert data.valid[0].target == "Eine Katze."
    assert len(data.train) + len(data.judge) == 50
    assert all(example.source.split()[-1] == example.target.split()[-1] for example in data.train)


def test_files_must_be_parallel(write_sources) -> None:
    write_sources("multi30k", _files("Zwei Männer.\n"))
    with pytest.raises(DataError, match="multi30k/test: 2 English and 1 German lines"):
        Multi30k().load("t2t")
