"""Where sources and targets stand on a canvas."""

import pytest
import torch

from baselines.parts.conditioning import SourceBefore

PAD, EOS = 0, 1
SOURCES = [[5, 6, 7], [8], []]
TARGETS = [[9, EOS], [10, 11, 12, EOS], [EOS]]


@pytest.fixture
def layout() -> SourceBefore:
    return SourceBefore(source=3, target=4)


def test_every_target_begins_at_the_same_position(layout: SourceBefore) -> None:
    canvas = layout.canvas(SOURCES, TARGETS)
    assert canvas.ids.tolist() == [
        [5, 6, 7, EOS, 9, EOS, PAD, PAD],
        [8, EOS, PAD, PAD, 10, 11, 12, EOS],
        [EOS, PAD, PAD, PAD, EOS, PAD, PAD, PAD],
    ]
    assert canvas.given.tolist() == [[True] * 4 + [False] * 4] * 3
    assert [row[: row.index(EOS) + 1] for row in layout.targets(canvas)] == TARGETS


def test_the_place_of_the_target_is_to_be_written_where_there_is_none(layout: SourceBefore) -> None:
    asked, answered = layout.canvas(SOURCES, None), layout.canvas(SOURCES, TARGETS)
    assert torch.equal(asked.ids.where(asked.given, -1), answered.ids.where(answered.given, -1))
    assert torch.equal(asked.given, answered.given)
    assert asked.ids.shape == (3, layout.length)


def test_what_is_too_long_loses_its_right_end(layout: SourceBefore) -> None:
    (row,) = layout.canvas([[5, 6, 7, 8, 9]], [[10, 11, 12, 13, 14, EOS]]).ids.tolist()
    assert row == [5, 6, 7, EOS, 10, 11, 12, 13]
