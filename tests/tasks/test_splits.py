import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contracts import Example
from tasks.splits import capped, divide, place

TRAIN = tuple(Example(id=f"demo/train/{index}", target=f"text {index % 3000}") for index in range(4000))


def test_place_is_the_head_of_sha256() -> None:
    head = int(hashlib.sha256("grün".encode()).hexdigest()[:16], 16)
    assert place("grün") == pytest.approx(head / 2**64, abs=2**-53)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_place_lies_in_the_unit_interval(text: str) -> None:
    assert 0 <= place(text) < 1
    assert place(text) == place(text)


def test_shares_of_the_folds() -> None:
    """Standard deviation of each share of 3,000 texts is below 0.008; the tolerance is four of them."""
    folds = divide(TRAIN)
    assert len(folds.judge) / 4000 == pytest.approx(0.20, abs=0.032)
    assert len(folds.valid) / 4000 == pytest.approx(0.05, abs=0.032)
    assert len(folds.train) + len(folds.valid) + len(folds.judge) == 4000


def test_no_text_is_in_two_folds() -> None:
    folds = divide(TRAIN)
    train, valid, judge = ({example.target for example in fold} for fold in (folds.train, folds.valid, folds.judge))
    assert not train & valid | train & judge | valid & judge


def test_fold_depends_on_the_target_alone() -> None:
    others = tuple(Example(id=f"other/{example.id}", target=example.target, source="x") for example in reversed(TRAIN))
    assert {example.target for example in divide(others).judge} == {example.target for example in divide(TRAIN).judge}


def test_own_validation_split_is_kept_whole() -> None:
    valid = TRAIN[:7]
    folds = divide(TRAIN, valid=valid)
    assert folds.valid == valid
    assert folds.judge == divide(TRAIN).judge
    assert len(folds.train) + len(folds.judge) == 4000


def test_empty_validation_split_is_not_a_missing_one() -> None:
    assert divide(TRAIN, valid=()).valid == ()


def test_cap_is_nested_ordered_and_spread() -> None:
    small, large = capped(TRAIN, 100), capped(TRAIN, 1000)
    assert (len(small), len(large)) == (100, 1000)
    assert set(small) <= set(large)
    assert list(large) == sorted(large, key=TRAIN.index)
    assert max(TRAIN.index(example) for example in small) > 2000
    assert capped(TRAIN, None) == capped(TRAIN, 4000) == TRAIN


def test_cap_is_independent_of_the_folds() -> None:
    """The cap of the contestants' fold keeps no part of [0.2, 1) above another: mean place near 0.6 (sd 0.0103 at n = 500)."""
    kept = capped(divide(TRAIN, valid=()).train, 500)
    assert sum(place(example.target) for example in kept) / 500 == pytest.approx(0.6, abs=0.045)
