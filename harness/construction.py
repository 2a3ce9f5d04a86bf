"""From names and numbers to an untrained model: the one place where a model class, its schedule and its task meet."""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from harness.contracts import Checkpoint, Pretraining, TaskView, TextModel
from harness.design import Design
from harness.errors import UnknownName
from harness.tokenizer import Tokenizer


def design_of(model_class: Any, size: Mapping[str, Any]) -> Design:
    """Design of a model class for given keys: `design_for(**size)` where it is offered, else `design`.

    Raises:
        UnknownName: a key that a constructor without `design_for` does not take.
    """
    design_for = getattr(model_class, "design_for", None)
    if design_for is not None:
        return design_for(**size)
    check_taken(model_class, size, given=("schedule", "task"))
    return model_class.design


def check_taken(made: Any, options: Mapping[str, Any], given: Sequence[str] = ()) -> None:
    """Refuse keys that a constructor has no parameter for.

    Args:
        made: the class.
        options: the keys, with their values.
        given: what comes before them.

    Raises:
        UnknownName: a key that is not among the parameters.
    """
    parameters = list(inspect.signature(made.__init__).parameters.values())
    if made.__init__ is not object.__init__ and any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    named = [
        parameter.name for parameter in parameters if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    known = named[len(("self", *given)) :]
    for name in options:
        if name not in known:
            raise UnknownName("key", name, known)


def sampling_keys(model_class: Any) -> frozenset[str]:
    """Names of the keys that decide only how a trained model samples; empty where the class names none."""
    return frozenset(getattr(model_class, "sampling_keys", ()))


def begins_with(model_class: Any, size: Mapping[str, Any]) -> Pretraining | Checkpoint | None:
    """With whose weights a model of these keys begins; `None` where it draws its own."""
    asked = getattr(model_class, "begins_with", None)
    return asked(**size) if asked is not None else None


def least_steps(model_class: Any, size: Mapping[str, Any]) -> Callable[[int], int] | None:
    """How many steps a model of these keys needs for texts of up to so many tokens; `None` where any number will do."""
    asked = getattr(model_class, "least_steps", None)
    return None if asked is None else partial(asked, **size)


def construct(
    model_class: Any, specification: str | Mapping[str, Any] | None, task: TaskView, size: Mapping[str, Any]
) -> TextModel:
    """Build the schedule, hand it to the class, return the untrained model.

    Args:
        model_class: the class behind a registered name. Where a schedule depends on the kernel it needs
            `kernel_for(task, **size)`.
        specification: schedule as `harness.schedules.names.build` takes it; `None` for models without one.
        task: what the model may know.
        size: the keys that the grid gives beside the model's name.
    """
    return model_class(schedule_for(model_class, specification, task, size), task, **size)


def schedule_for(model_class: Any, specification: str | Mapping[str, Any] | None, task: TaskView, size: Mapping[str, Any]) -> Any:
    """The schedule object of a model; `None` stays `None`."""
    if specification is None:
        return None
    import torch

    from harness.schedules.names import build

    kernel_for = getattr(model_class, "kernel_for", None)
    kernel = kernel_for(task, **size) if kernel_for is not None else None
    return build(specification, kernel=kernel, unigram=torch.tensor(task.unigram) if task.unigram else None)


def view_to_json(view: TaskView) -> str:
    """Serialise what a model knows of its task."""
    data = {
        "name": view.name, "family": view.family, "tokenizer": view.tokenizer.to_json(), "max_tokens": view.max_tokens,
        "max_source_tokens": view.max_source_tokens, "unigram": list(view.unigram),
    }  # fmt: skip
    return json.dumps(data, ensure_ascii=False)


def view_from_json(text: str) -> TaskView:
    """The inverse of `view_to_json`."""
    data = json.loads(text)
    return TaskView(**{**data, "tokenizer": Tokenizer.from_json(data["tokenizer"]), "unigram": tuple(data["unigram"])})
