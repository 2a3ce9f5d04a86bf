"""Rank bands: systems that the data cannot tell from the best of them share a rank."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

Name = TypeVar("Name")


def rank_bands(ranked: Sequence[Name], told_apart: Mapping[tuple[Name, Name], bool]) -> list[list[Name]]:
    """Split systems, best first, into bands.

    A band is led by the best system that is in no band yet, and holds those that follow it up to the first that is told apart
    from it: a system never stands above one with a better value.

    Args:
        ranked: systems, best value first.
        told_apart: (better, worse) -> whether their difference is significant, after correction for the number of tests. Pairs
            that were not compared count as not told apart.
    """
    bands: list[list[Name]] = []
    for name in ranked:
        if bands and not told_apart.get((bands[-1][0], name), False):
            bands[-1].append(name)
        else:
            bands.append([name])
    return bands
