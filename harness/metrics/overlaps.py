"""N-grams that a text shares with each of its references, counted for all texts at once with n-grams as integers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from harness.metrics.words import numbered

_CHUNK = 256  # items; sorting few n-grams at a time is faster


@dataclass(frozen=True, kw_only=True, slots=True)
class Overlaps:
    """Counts of n texts with up to R >= 1 references each; an absent reference counts as an empty one.

    Attributes:
        texts: n-grams of every text, by order.
        references: n-grams of every reference.
        shared: n-grams in common with every reference, each as often as in the side that has fewer of it.
        clipped: the same where an n-gram may be as frequent as in any of the references.
    """

    texts: Int[np.ndarray, "orders n"]
    references: Int[np.ndarray, "R orders n"]
    shared: Int[np.ndarray, "R orders n"]
    clipped: Int[np.ndarray, "orders n"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sequences:
    """Texts and references of all items as integers in a row; those of one item stand together.

    Attributes:
        symbols: words or characters; equal ones have equal integers from 0.
        lengths: of every sequence, in symbols.
        items: index of the item that a sequence belongs to, ascending.
        columns: 0 for a text, k for the k-th reference.
    """

    symbols: Int[np.ndarray, " m"]
    lengths: Int[np.ndarray, " s"]
    items: Int[np.ndarray, " s"]
    columns: Int[np.ndarray, " s"]


def in_a_row(texts: Sequence[str], references: Sequence[Sequence[str]]) -> list[str]:
    """Every text, followed by its references.

    Raises:
        ValueError: not one list of references per text, an item without a reference, or references that are no strings.
    """
    if isinstance(texts, str) or len(texts) != len(references):
        raise ValueError(f"{len(texts)} texts and {len(references)} lists of references: expected one list per text")
    for index, accepted in enumerate(references):
        if isinstance(accepted, str) or not accepted or not all(isinstance(text, str) for text in accepted):
            raise ValueError(f"references of item {index} are {accepted!r}: expected at least one string in a sequence")
    return [side for text, accepted in zip(texts, references, strict=True) for side in (text, *accepted)]


def of_words(rows: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> Sequences:
    """Words as symbols.

    Args:
        rows: words of every text and of its references, in the order of `in_a_row`.
        references: all references of every text, for their number.
    """
    return _sequences(numbered(rows), [len(row) for row in rows], references)


def of_characters(rows: Sequence[str], references: Sequence[Sequence[str]]) -> Sequences:
    """Characters as symbols; otherwise as `of_words`."""
    points = np.frombuffer("".join(rows).encode("utf-32-le", "surrogatepass"), dtype="<u4")
    present = np.bincount(points) > 0
    return _sequences((np.cumsum(present) - 1)[points], [len(row) for row in rows], references)


def _sequences(symbols: Int[np.ndarray, " m"], lengths: Sequence[int], references: Sequence[Sequence[str]]) -> Sequences:
    sizes = [1 + len(accepted) for accepted in references]
    columns = np.array([column for size in sizes for column in range(size)], dtype=np.int64)
    return Sequences(
        symbols=symbols, lengths=np.array(lengths, dtype=np.int64), items=np.repeat(np.arange(len(sizes)), sizes), columns=columns
    )


def overlaps(sequences: Sequences, *, longest: int) -> Overlaps:
    """Count n-grams of orders 1 to `longest`."""
    lengths, items, columns = sequences.lengths, sequences.items, sequences.columns
    n, most = int(items.max(initial=-1)) + 1, int(columns.max(initial=1)) + 1
    totals = np.zeros((most, longest, n), dtype=np.int64)
    for order in range(longest):
        totals[columns, order, items] = np.maximum(lengths - order, 0)
    shared, clipped = np.zeros((most - 1, longest, n), dtype=np.int64), np.zeros((longest, n), dtype=np.int64)
    for part, places in _parts(sequences, n):
        for order, (common, owner) in enumerate(_common(part, most, longest)):
            for row, found in zip([*shared[:, order], clipped[order]], [*common, common.max(0, initial=0)], strict=True):
                row[places] = np.bincount(owner, weights=found, minlength=places.stop - places.start)
    return Overlaps(texts=totals[0], references=totals[1:], shared=shared, clipped=clipped)


def _parts(sequences: Sequences, n: int) -> Iterator[tuple[Sequences, slice]]:
    """Sequences of a few items each, items counted from 0 in every part."""
    ends = np.concatenate([[0], np.cumsum(sequences.lengths)])
    for start in range(0, n, _CHUNK):
        stop = min(start + _CHUNK, n)
        first, last = np.searchsorted(sequences.items, [start, stop])
        part = Sequences(
            symbols=sequences.symbols[ends[first] : ends[last]], lengths=sequences.lengths[first:last],
            items=sequences.items[first:last] - start, columns=sequences.columns[first:last],
        )  # fmt: skip
        yield part, slice(start, stop)


def _common(part: Sequences, most: int, longest: int) -> Iterator[tuple[Int[np.ndarray, "R k"], Int[np.ndarray, " k"]]]:
    """For every order: how often the texts' n-grams stand in text and reference both, and the item of each n-gram.

    An n-gram is numbered within its item, so that the number of its first n - 1 symbols and its last symbol make the next.
    """
    owner, sequence = (np.repeat(values, part.lengths) for values in (part.items, np.arange(len(part.lengths))))
    column, start = part.columns[sequence], np.arange(len(part.symbols))
    grams, symbols = owner, int(part.symbols.max(initial=0)) + 1
    for order in range(1, longest + 1):
        fits = start + order - 1 < len(part.symbols)
        start, grams = start[fits], grams[fits]
        inside = sequence[start] == sequence[start + order - 1]
        start, grams = start[inside], grams[inside]
        kinds, grams = np.unique(grams * symbols + part.symbols[start + order - 1], return_inverse=True)
        counts = np.bincount(column[start] * len(kinds) + grams, minlength=most * len(kinds)).reshape(most, -1)
        of = np.zeros(len(kinds), dtype=np.int64)
        of[grams] = owner[start]
        here = np.flatnonzero(counts[0])
        yield np.minimum(counts[0, here], counts[1:, here]), of[here]
