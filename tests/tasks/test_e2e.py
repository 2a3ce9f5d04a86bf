import csv
import io
import zipfile

import pytest

from harness.contracts import Content
from harness.errors import DataError, IncompatibleCell
from tasks.e2e import E2E, SLOTS, content_of

ARMS = "name[The Arms], eatType[pub], priceRange[more than £30]"
MILL = "name[The Mill], customer rating[3 out of 5]"


def _csv(rows: list[tuple[str, str]], header: tuple[str, str] = ("mr", "ref")) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue().encode()


def _zip(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("e2e-dataset/trainset.csv", content)
    return buffer.getvalue()


@pytest.fixture
def write(write_sources):
    def write(test: bytes) -> None:
        train = _zip(_csv([(ARMS, f"The Arms is a pub, number {index}.") for index in range(200)]))
        valid = _csv([(MILL, 'The  Mill is "fine".\nCome. ')])
        files = {"train": ("a.zip", train), "valid": ("dev.csv", valid), "test": ("test.csv", test)}
        write_sources("e2e", files, member="e2e-dataset/trainset.csv")

    write(_csv([(ARMS, "One."), (ARMS, "Two, three."), (MILL, "Four."), (ARMS, "Five.")]))
    return write


@pytest.mark.usefixtures("write")
def test_descriptions_from_attributes() -> None:
    data = E2E().load("a2t")
    arms = Content((("name", "The Arms"), ("eatType", "pub"), ("priceRange", "more than £30")))
    assert [example.id for example in data.test] == ["e2e/test/0", "e2e/test/1"]
    assert data.test[0].control == arms
    assert data.test[0].references == ("One.", "Two, three.", "Five.")
    assert data.test[0].target == "One."
    assert data.test[1].accepted == ("Four.",)
    assert [(example.id, example.target) for example in data.valid] == [("e2e/valid/0", 'The Mill is "fine". Come.')]
    assert len(data.train) + len(data.judge) == 200
    assert {example.control for example in data.train} == {arms}


@pytest.mark.usefixtures("write")
def test_texts_alone() -> None:
    data, controlled = E2E().load("ucg"), E2E().load("a2t")
    assert [example.target for example in data.test] == ["One.", "Two, three.", "Four.", "Five."]
    assert all(example.condition is None for example in (*data.train, *data.test))
    assert [example.id for example in data.judge] == [example.id for example in controlled.judge]


@pytest.mark.usefixtures("write")
def test_refuses_a_family_that_it_has_not() -> None:
    with pytest.raises(IncompatibleCell, match="'e2e' has no family 't2t'; it has a2t, ucg"):
        E2E().load("t2t")


def test_refuses_other_columns(write) -> None:
    write(_csv([(ARMS, "One.")], header=("mr", "text")))
    with pytest.raises(DataError, match=r"e2e/test: the columns are \['mr', 'text'\]"):
        E2E().load("a2t")


def test_attributes_come_in_the_fixed_order() -> None:
    mr = "near[Burger King], area[city centre], customer rating[low], name[Aromi]"
    assert [name for name, _ in content_of(mr).attributes] == ["name", "customer rating", "area", "near"]
    everything = ", ".join(f"{slot}[value of {slot}]" for slot in SLOTS)
    assert content_of(everything).attributes == tuple((slot, f"value of {slot}") for slot in SLOTS)


@pytest.mark.parametrize("mr", ["name[Aromi", "name Aromi", "colour[red]", "name[Aromi]; area[riverside]"])
def test_malformed_meaning_representation(mr: str) -> None:
    with pytest.raises(DataError, match="expected `slot"):
        content_of(mr)
