"""Tensors that others trained, put into the network of `transformers` that they are for: each there, of its shape, finite.

    the files, which are opened here alone                    -> tensors_in
    whether all is well, one tensor after another             -> check
    the network, in float32                                   -> network

`transformers` is handed tensors and no folder: what a folder says of which file to read, and in which form, is never followed.
What is checked goes through the same loader as what is read, which knows old names of tensors and which of them are one. It then
gets stand-ins that take no memory.
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from harness.errors import ModelError
from harness.pretrained import SAFE, configuration_of, weights_of_network

WITHOUT_USE = re.compile(r"(^|\.)pooler\.|^cls\.seq_relationship\.|\.position_ids$|\.attn\.(masked_)?bias$")
"""Tensors of published checkpoints that no hidden state and no logit depends on: heads over sentence pairs, tables of places,
masks of GPT-2 and the score that it once gave to what is not looked at."""
_OF_A_LAYER = re.compile(r"(^|\.)\d+\.")
_TOLD = 6  # keys that an error names


def check(place: Path, model_class: Any, configuration: Any, *, heads: bool = True) -> Any:
    """See that a network can be read from a folder; its weights are looked at one by one, and not kept.

    Args:
        place: a folder with a network in safetensors.
        model_class: of `transformers`.
        configuration: of `transformers`.
        heads: the network has the heads that the weights were saved with; otherwise they may be too many.

    Returns:
        The network, with stand-ins in the place of its tensors.

    Raises:
        ModelError: see `network`.
    """
    stand_ins, bad = {}, []
    for key, tensor in tensors_in(place):
        stand_ins[key] = stand_in(tensor, configuration.vocab_size)
        bad += [] if _is_finite(tensor) else [key]
    if not any(tensor.shape[:1] == (configuration.vocab_size,) for tensor in stand_ins.values()):
        raise ModelError(
            f"the checkpoint in {place} lacks an embedding of {configuration.vocab_size} rows, vocab_size in its config.json; "
            "expected the configuration that the weights were saved with."
        )
    model = _filled(place, model_class, configuration, stand_ins, heads)
    _refuse(place, bad)
    return model


def network(place: Path, model_class: Any, configuration: Any, *, heads: bool = True) -> Any:
    """A network of `transformers` with the weights of a folder, in float32.

    Args:
        place, model_class, configuration, heads: see `check`.

    Raises:
        ModelError: the files cannot be read, or tensors are missing, too many, of other shapes, no floating-point numbers, or not
            finite.
    """
    tensors = dict(tensors_in(place))
    _refuse(place, [key for key, tensor in tensors.items() if not _is_finite(tensor)])
    return _filled(place, model_class, configuration, tensors, heads)


def tensors_in(place: Path) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a folder's network, one after another.

    Raises:
        ModelError: a file is missing or cannot be read, or holds weights that are no floating-point numbers.
    """
    try:
        for path in weights_of_network(place):
            with safe_open(path, framework="pt") as file:
                for key in file.keys():  # noqa: SIM118
                    tensor = file.get_tensor(key)
                    if not tensor.is_floating_point() and not WITHOUT_USE.search(key):
                        raise ModelError(
                            f"{key} in {path} is {str(tensor.dtype).removeprefix('torch.')}; expected floating-point numbers: "
                            "quantised weights are not read, take the checkpoint that they were made from."
                        )
                    yield key, tensor
    except (OSError, SafetensorError) as error:
        raise unreadable(place, error) from error


def reader_of(place: Path, *, causal: str | None = None) -> tuple[Any, Any]:
    """Class and configuration of `transformers` for the network of a folder, without its head unless it is named.

    Args:
        place: a folder with config.json.
        causal: how names of architectures end that score the next token; `None` = none does.

    Raises:
        ModelError: config.json describes no network that `transformers` knows. No code that lies beside it is run.
    """
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

    kinds = configuration_of(place).get("architectures") or ()
    try:
        auto = AutoModelForCausalLM if causal and any(re.search(causal, str(kind)) for kind in kinds) else AutoModel
        with quiet():
            configuration = AutoConfig.from_pretrained(str(place), **SAFE)
            with torch.device("meta"):
                return type(auto.from_config(configuration, trust_remote_code=False)), configuration
    except Exception as error:
        raise ModelError(f"{place / 'config.json'} describes no network that can be built: {said_by(error)}") from error


def _filled(place: Path, model_class: Any, configuration: Any, tensors: Mapping[str, Tensor], heads: bool) -> Any:
    """The network of `transformers`, if every tensor has its place and every place its tensor."""
    try:
        with quiet():
            model, found = model_class.from_pretrained(
                None, config=configuration, state_dict=dict(tensors), dtype=torch.float32, output_loading_info=True,
                ignore_mismatched_sizes=True, **SAFE,
            )  # fmt: skip
    except Exception as error:
        raise unreadable(place, error) from error
    other = [f"{key} {tuple(shape)} for {tuple(expected)}" for key, shape, expected in found["mismatched_keys"]]
    used = {name: [key for key in found[name] if not WITHOUT_USE.search(key)] for name in ("missing_keys", "unexpected_keys")}
    extra = [key for key in used["unexpected_keys"] if heads or _OF_A_LAYER.search(key)]
    complaints = {"lacks": used["missing_keys"], "has too many:": extra, "has of other shapes:": other}
    wrong = "; ".join(f"{noun} {some_of(sorted(keys))}" for noun, keys in complaints.items() if keys)
    if wrong:
        expected = f"expected those of {model_class.__name__}, as its save_pretrained writes them"
        raise ModelError(f"the checkpoint in {place} {wrong}; {expected}.")
    return model


def stand_in(tensor: Tensor, vocabulary: int) -> Tensor:
    """A tensor of that shape without memory; one with a row for every token itself, because a tied head equals the embedding."""
    return tensor if tensor.shape[:1] == (vocabulary,) else torch.zeros(()).expand(tensor.shape)


def _is_finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(tensor.float().isfinite().all())


def _refuse(place: Path, bad: Sequence[str]) -> None:
    used = [key for key in bad if not WITHOUT_USE.search(key)]
    if used:
        raise ModelError(
            f"the checkpoint in {place} has numbers that are not finite in {some_of(used)}; take another copy of it."
        )


@contextmanager
def quiet() -> Iterator[None]:
    """`transformers` prints tables of keys, which become an error of ours, and bars of progress."""
    from transformers.utils import logging as theirs

    logger, bars = logging.getLogger("transformers"), theirs.is_progress_bar_enabled()
    before = logger.level
    logger.setLevel(logging.ERROR)
    theirs.disable_progress_bar()
    try:
        yield
    finally:
        logger.setLevel(before)
        if bars:
            theirs.enable_progress_bar()


def unreadable(place: Path, error: Exception) -> ModelError:
    """The error of weights that something could not read."""
    return ModelError(f"the weights in {place} cannot be read: {said_by(error)}; expected those that save_pretrained writes.")


def some_of(keys: Sequence[str]) -> str:
    """The first keys, and how many more there are: for errors."""
    more = f" and {len(keys) - _TOLD} more" if len(keys) > _TOLD else ""
    return ", ".join(keys[:_TOLD]) + more


def said_by(error: Exception) -> str:
    """Class and message of an error, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
