"""Which test items a profile takes, and how what is made of them is kept."""

from dataclasses import replace

import pytest

from harness.contracts import Example, Generation, TaskData
from harness.runner.artefacts import digest_of_items, pack_lines, unpack_generations
from harness.runner.artefacts import test_items as items_of


def split(count: int) -> TaskData:
    examples = tuple(Example(id=f"item-{index}", target=f"text {index}") for index in range(count))
    return TaskData(
        name="counted",
        family="ucg",
        train=examples[:1],
        valid=examples[:1],
        test=examples,
        judge=(),
        tokenizer="words",
        digest="-",
    )


def ids(data: TaskData, items: int | None, samples: int = 1) -> list[str]:
    return [item.id for item in items_of(data, items, samples)]


def test_items_come_from_the_whole_of_a_sorted_split():
    chosen = [int(name.partition("-")[2]) for name in ids(split(1000), 100)]
    assert chosen == sorted(chosen)
    assert 400 < sum(chosen) / len(chosen) < 600


def test_fewer_items_are_a_subset_of_more():
    assert set(ids(split(1000), 100)) < set(ids(split(1000), 200))


def test_the_choice_does_not_depend_on_what_else_is_there():
    data = split(1000)
    shorter = replace(data, test=data.test[:500])
    assert set(ids(data, 100)) & set(ids(shorter, 500)) <= set(ids(shorter, 100))


def test_none_takes_all():
    assert ids(split(10), None) == ids(split(10), 10)


@pytest.mark.parametrize(("items", "samples"), [(4, 3), (4, 2), (20, 2)])
def test_each_item_repeats_at_most_as_often_as_it_may(items, samples):
    found = ids(split(10), items, samples)
    assert len(found) == len(set(found)) == min(items * samples, 10 * samples)
    assert max(name.count("#") for name in found) <= 1
    assert set(ids(split(10), 10)) <= {name.partition("#")[0] for name in found} or items * samples < 10


def test_digests_tell_items_and_references_apart():
    data = split(10)
    other = [Example(id=item.id, target=item.target, references=("another",)) for item in data.test]
    assert len({digest_of_items(data.test), digest_of_items(data.test[:5]), digest_of_items(other)}) == 3


def test_generations_survive_packing_whatever_their_texts_hold():
    texts = ("a\u2028b\u2029c\u0085d\x1ce\r\nf", "", "\u00e4")
    item = Generation(id="x", texts=texts, ids=None, finish_reasons=("eos",) * 3, network_calls=1)
    assert unpack_generations(pack_lines([item, item])) == [item, item]
    assert unpack_generations(pack_lines([])) == []
