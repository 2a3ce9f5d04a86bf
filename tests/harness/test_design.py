"""Designs: on which schedules a system has the likelihood that it declares."""

from dataclasses import replace

import pytest

from harness.design import Design
from harness.registry import known, resolve

DESIGNS = [pytest.param(resolve("models", name).load().design, id=name) for name in known("models")]
SOME = Design(name="some", kind="diffusion", families=("ucg",), grains=("sequence", "content"), likelihood="bound")


def test_a_likelihood_is_one_on_every_schedule_unless_grains_are_named():
    assert [SOME.likelihood_on(grain) for grain in ("sequence", "content", None)] == ["bound"] * 3
    some = replace(SOME, scored_grains=("sequence",))
    assert [some.likelihood_on(grain) for grain in ("sequence", "position", "content")] == ["bound", None, None]
    assert replace(SOME, likelihood=None).likelihood_on("sequence") is None


@pytest.mark.parametrize("design", DESIGNS)
def test_grains_are_named_of_a_likelihood_and_among_those_that_it_bears(design):
    assert design.scored_grains is None or (design.likelihood and set(design.scored_grains) < set(design.grains))
