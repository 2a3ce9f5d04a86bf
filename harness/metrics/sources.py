"""Metrics that look at the source of a text beside its references."""

from collections.abc import Sequence

from harness.contracts import Example


def sources_of(examples: Sequence[Example]) -> list[str] | str:
    """The source of every example, or why there are none.

    Returns:
        The sources in order; a string that says how many are missing where any is.
    """
    sources = [example.source for example in examples]
    missing = sources.count(None)
    if missing:
        return f"{missing} of {len(sources)} items have no source (in a file of references: the key `source`)"
    return [source for source in sources if source is not None]
