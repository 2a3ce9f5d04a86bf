"""Metrics that look at the source of a text beside its references."""

from collections.abc import Sequence

from harness.contracts import Example


def sources_of(examples: Sequence[Example]) -> list[str] | str:
    """The source of every example, or why there are none.

    Returns:
        The sources in order; a string that says how many are missing or blank where any is.
    """
    sources = [example.source for example in examples if example.source is not None and example.source.strip()]
    missing = len(examples) - len(sources)
    if missing:
        return f"{missing} of {len(examples)} items have no source (in a file of references: the key `source`)"
    return sources
