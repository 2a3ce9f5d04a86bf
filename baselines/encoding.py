"""Examples and requests as token ids, cut to the task; and the bytes that are left of a text when it is cut."""

from collections.abc import Sequence

from harness.contracts import Example, Request, TaskView
from harness.tokenizer import EOS


def targets(task: TaskView, examples: Sequence[Example]) -> list[list[int]]:
    """Target ids with EOS, cut to the task's canvas; a cut target has no EOS."""
    return [[*ids, EOS][: task.max_tokens] for ids in task.tokenizer.encode_batch([example.target for example in examples])]


def sizes_in_bytes(task: TaskView, examples: Sequence[Example], ids: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """UTF-8 bytes of what is scored: the target, or what is left of one that was cut to the canvas.

    Args:
        ids: of every example's target, as `targets` gives them.
    """
    kept = [example.target if row[-1] == EOS else task.tokenizer.decode(row) for example, row in zip(examples, ids, strict=True)]
    return tuple(len(text.encode()) for text in kept)


def conditions(task: TaskView, items: Sequence[Example] | Sequence[Request]) -> list[list[int]]:
    """Condition ids, cut to the task's longest source; empty where there is no condition."""
    texts = [item.condition or "" for item in items]
    return [ids[: task.max_source_tokens] for ids in task.tokenizer.encode_batch(texts)]
