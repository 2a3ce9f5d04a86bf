"""Examples and requests as token ids, cut to the task; and the bytes that are left of a text when it is cut."""

from collections.abc import Sequence

from harness.contracts import Example, Request, TaskView
from harness.tokenizer import EOS, PretrainedTokenizer, Tokenizer


def targets(task: TaskView, examples: Sequence[Example]) -> list[list[int]]:
    """Target ids with EOS, cut to the task's canvas; a cut target has no EOS."""
    return [[*ids, EOS][: task.max_tokens] for ids in task.tokenizer.encode_batch([example.target for example in examples])]


def sizes_in_bytes(task: TaskView, examples: Sequence[Example], ids: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """UTF-8 bytes of what is scored: the target, or what is left of one that was cut to the canvas.

    None of a target that the tokenizer of a checkpoint spells otherwise: what it drops, or does not know, costs nothing.

    Args:
        ids: of every example's target, as `targets` gives them.
    """
    return tuple(_size(task.tokenizer, example.target, row) for example, row in zip(examples, ids, strict=True))


def _size(tokenizer: Tokenizer, target: str, row: Sequence[int]) -> int:
    whole, brought = row[-1] == EOS, isinstance(tokenizer, PretrainedTokenizer)
    if whole and not brought:
        return len(target.encode())
    said = tokenizer.decode(row)
    if brought and not _spells(said, target, whole=whole):
        return 0
    return len((target if whole else said).encode())


def _spells(said: str, target: str, *, whole: bool) -> bool:
    """Whether what tokens say is a target, or how it begins, but for whitespace."""
    said, target = ("".join(text.split()) for text in (said, target))
    return said == target if whole else target.startswith(said.removesuffix("\N{REPLACEMENT CHARACTER}"))


def conditions(task: TaskView, items: Sequence[Example] | Sequence[Request]) -> list[list[int]]:
    """Condition ids, cut to the task's longest source; empty where there is no condition."""
    texts = [item.condition or "" for item in items]
    return [ids[: task.max_source_tokens] for ids in task.tokenizer.encode_batch(texts)]
