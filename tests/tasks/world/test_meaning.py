import pytest

from tasks.world.lexicon import GROUPS, JOINT, law
from tasks.world.meaning import ORDER, Memory, ordered, zipf
from tasks.world.sizes import SIZES


@pytest.mark.parametrize("size", SIZES.values(), ids=lambda size: size.name)
def test_every_conditional_law_sums_to_one(size):
    rules = law(size)
    groups = ["", *dict.fromkeys(GROUPS.values())]
    memories = [Memory(price=group) for group in groups if group in ("", "cheap", "dear")]
    memories += [Memory(rating=group) for group in groups if group in ("bad", "fine")]
    for attribute, values in rules.values.items():
        for memory in memories if values else []:
            if rules.joint or not (memory.price or memory.rating):
                assert sum(rules.conditional(attribute, value, memory) for value in values) == pytest.approx(1)


def test_the_joint_law_does_not_depend_on_what_is_said_first():
    rules = law(SIZES["small"])
    for price in rules.values["price"]:
        for rating in rules.values["rating"]:
            price_first = rules.conditional("price", price, Memory()) * rules.conditional(
                "rating", rating, rules.remember(Memory(), "price", price)
            )
            rating_first = rules.conditional("rating", rating, Memory()) * rules.conditional(
                "price", price, rules.remember(Memory(), "rating", rating)
            )
            assert price_first == pytest.approx(rating_first)


def test_a_cheap_place_is_rarely_rated_well():
    rules = law(SIZES["small"])
    cheap = rules.remember(Memory(), "price", "low")
    assert rules.conditional("rating", "superb", cheap) < 0.5 * rules.conditional("rating", "superb", Memory())
    assert sum(JOINT.values()) == pytest.approx(1)


def test_the_memory_forgets_prices_and_ratings_when_both_are_said():
    rules = law(SIZES["small"])
    both = rules.remember(rules.remember(Memory(), "price", "low"), "rating", "poor")
    assert both == Memory(said=rules.bit("price") | rules.bit("rating"))


def test_zipf_falls_and_sums_to_one():
    assert sum(zipf(7)) == pytest.approx(1)
    assert list(zipf(7)) == sorted(zipf(7), reverse=True)


def test_attributes_of_a_second_place_come_after_all_of_the_first():
    names = [name for name, _ in ordered({"food2": "thai", "near": "mill", "name2": "heron", "name": "crown"})]
    assert names == ["name", "near", "name2", "food2"]


def test_attributes_have_one_order():
    assert ordered({"near": "mill", "name": "crown"}) == (("name", "crown"), ("near", "mill"))
    assert len(set(ORDER)) == len(ORDER)
