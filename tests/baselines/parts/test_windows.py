"""Windows on texts: where they stand, what they show, what they write."""

import pytest
import torch

from baselines.parts.conditioning import SourceBefore, TargetOnly
from baselines.parts.estimates import Estimate
from baselines.parts.windows import OfSource, Windows
from harness.tokenizer import BOS, EOS, PAD

TARGETS = [[7, 8, 9, 10, 11, 12, 13, EOS], [7, EOS]]


def alone(size=4):
    return Windows(TargetOnly(8), target=8, size=size)


def behind(size=4):
    return Windows(SourceBefore(source=2, target=8), target=8, size=size)


@pytest.mark.parametrize(("size", "stride"), [(2, 1), (4, 1), (4, 2), (4, 3), (5, 1), (5, 3), (9, 4)])
def test_every_position_but_the_first_is_written_once_with_something_known_before_it(size, stride):
    written = []
    for first, known in alone(size).stretches(stride):
        assert 0 <= first < known
        written += range(known, first + size)
    assert written == list(range(1, 9))


def test_the_last_window_moves_by_less_where_the_canvas_ends():
    assert alone(4).stretches(2) == [(0, 1), (2, 4), (4, 6), (5, 8)]


def test_a_canvas_has_its_start_before_the_target_and_is_longer_than_what_is_seen():
    canvas = behind().canvas([[20, 21], [22]], TARGETS)
    assert canvas.ids.tolist() == [[20, 21, EOS, BOS, *TARGETS[0]], [22, EOS, PAD, BOS, *TARGETS[1], *[PAD] * 6]]
    assert canvas.given.tolist() == [[True] * 3 + [False] * 9] * 2
    assert behind().length == 3 + 4
    assert behind().targets(canvas) == [TARGETS[0], [*TARGETS[1], *[PAD] * 6]]


def test_a_window_is_seen_behind_the_whole_source():
    layout = behind()
    canvas = layout.canvas([[20, 21], [22]], TARGETS)
    seen = layout.seen(canvas, torch.tensor([2, 0]))
    assert seen.ids.tolist() == [[20, 21, EOS, 8, 9, 10, 11], [22, EOS, PAD, BOS, 7, EOS, PAD]]
    assert seen.given.tolist() == [[True] * 3 + [False] * 4] * 2


def test_what_stands_before_a_window_is_given_and_so_is_all_of_a_text_that_has_ended():
    layout = alone()
    canvas = layout.canvas([[], []], TARGETS)
    assert layout.to_write(canvas, 0, 1).given.tolist() == [[True, False, False, False]] * 2
    assert layout.to_write(canvas, 2, 4).given.tolist() == [[True, True, False, False], [True] * 4]
    assert layout.to_write(canvas, 2, 4, ends=False).given.tolist() == [[True, True, False, False]] * 2


def test_a_window_is_put_back_where_it_was_taken():
    layout = behind()
    canvas = layout.canvas([[20, 21], [22]], TARGETS)
    for first, known in layout.stretches(2):
        assert torch.equal(layout.put(canvas, first, layout.to_write(canvas, first, known).ids).ids, canvas.ids)
    changed = layout.put(canvas, 5, layout.seen(canvas, 5).ids + 1)
    assert (changed.ids - canvas.ids).tolist() == [[0] * 8 + [1] * 4] * 2


def test_training_begins_at_the_start_or_anywhere_up_to_the_end():
    """Half of the shares each; the end of the first text may stand first in no window, as the canvas ends there."""
    layout, shares = alone(), (torch.arange(1000) + 0.5).double() / 1000
    long, short = (layout.canvas([()] * 1000, [target] * 1000) for target in TARGETS)
    begins = layout.begins(long, shares)
    assert begins[:500].tolist() == [0] * 500
    assert begins[500:].bincount().tolist() == [0, 100, 100, 100, 100, 100]
    assert layout.begins(short, shares).tolist() == [0] * 1000


def test_what_was_written_before_is_no_condition():
    heard, given = [], torch.tensor([[True, True, True, False], [True, False, True, True]])

    def denoiser(x_t, time, given, previous):
        heard.append(given.tolist())
        return Estimate(x_t, x_t)

    for wrapped in (OfSource(denoiser, 2), OfSource(denoiser, 2).select(torch.tensor([0]))):
        wrapped(given.double(), torch.zeros(2), given, None)
    assert heard == [[[True, True, False, False], [True, False, False, False]]] * 2
