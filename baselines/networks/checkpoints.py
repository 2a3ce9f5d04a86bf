"""Checkpoints as `transformers` saves them: told apart, checked whole before anything is spent, and read.

    configuration and classes                                 -> _described
    every tensor there, of its shape, finite; the head tied   -> check
    the network with these weights                            -> read
    the network with random ones                              -> build

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

from baselines.networks.pretrained import (
    Pretrained,
    PretrainedDecoder,
    PretrainedEncoder,
    PretrainedEncoderDecoder,
    Rows,
)
from harness.errors import ModelError
from harness.pretrained import SAFE, configuration_of, folder_of, weights_of_network, why_unreadable

_CLASSES: Mapping[str, tuple[str, type[Pretrained]]] = {
    "bert": ("BertForMaskedLM", PretrainedEncoder),
    "roberta": ("RobertaForMaskedLM", PretrainedEncoder),
    "gpt2": ("GPT2LMHeadModel", PretrainedDecoder),
    "bart": ("BartForConditionalGeneration", PretrainedEncoderDecoder),
}
_DROPOUTS = (
    "hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout", "activation_dropout",
    "encoder_layerdrop", "decoder_layerdrop", "resid_pdrop", "embd_pdrop", "attn_pdrop",
)  # fmt: skip
_WITHOUT_USE = re.compile(r"(^|\.)pooler\.|^cls\.seq_relationship\.|\.position_ids$|\.attn\.masked_bias$")
"""Tensors of published checkpoints that no hidden state and no logit depends on: heads over sentence pairs, tables of places, the
score that GPT-2 once gave to what is not looked at."""
_TOLD = 6  # keys that an error names


def build(name: str, rows: Rows | None = None, vocabulary: int | None = None, holds: type[Pretrained] = Pretrained) -> Pretrained:
    """The network that a folder describes, with random weights.

    Args:
        name: absolute path of a folder, or a name in the hub's local cache.
        rows, vocabulary: see `Pretrained`.
        holds: see `check`.

    Raises:
        ModelError: see `read`, but for the weights.
    """
    configuration, model_class, own = _described(place_of(name), holds)
    with _quiet():
        return own(model_class(configuration), rows, vocabulary)


def check(name: str, holds: type[Pretrained] = Pretrained) -> None:
    """See that a network can be read from a folder; its weights are looked at one by one, and not kept.

    Args:
        name: absolute path of a folder, or a name in the hub's local cache.
        holds: class of the networks that are taken.

    Raises:
        ModelError: see `read`; or a network of another class.
    """
    place = place_of(name)
    configuration, model_class, _ = _described(place, holds)
    stand_ins, bad = {}, []
    try:
        for key, tensor in _stored(place):
            stand_ins[key] = _stand_in(tensor, configuration.vocab_size)
            bad += [] if _is_finite(tensor) else [key]
    except (OSError, SafetensorError) as error:
        raise _unreadable(place, error) from error
    _loaded(place, model_class, None, config=configuration, state_dict=stand_ins)
    _refuse(place, bad)


def read(name: str, rows: Rows | None = None, vocabulary: int | None = None) -> Pretrained:
    """The network of a folder with its weights, in float32.

    Args:
        name: absolute path of a folder, or a name in the hub's local cache.
        rows, vocabulary: see `Pretrained`.

    Raises:
        ModelError: `transformers` is missing, there is no such folder, it holds no safetensors, another class of network, an
            output head of its own, or tensors that are missing, too many, of other shapes, or not finite.
    """
    place = place_of(name)
    configuration, model_class, own = _described(place)
    model = _loaded(place, model_class, str(place), config=configuration)
    _refuse(place, [key for key, tensor in model.state_dict().items() if not _is_finite(tensor)])
    return own(model, rows, vocabulary)


def place_of(name: str) -> Path:
    """The folder of a checkpoint.

    Raises:
        ModelError: `transformers` is missing, or there is no such folder, or no safetensors in it.
    """
    reason = why_unreadable()
    if reason:
        raise ModelError(reason)
    try:
        return folder_of(name)
    except ValueError as error:
        raise ModelError(str(error)) from error


def _described(place: Path, holds: type[Pretrained] = Pretrained) -> tuple[Any, Any, type[Pretrained]]:
    """Configuration, class of `transformers`, and class of this package."""
    import transformers

    kind = configuration_of(place).get("model_type")
    taken = [name for name, (_, own) in _CLASSES.items() if issubclass(own, holds)]
    if not isinstance(kind, str) or kind not in _CLASSES:
        raise ModelError(f"{place} holds a model of type {kind!r}; expected one of {', '.join(taken)}. No code of it is run.")
    if kind not in taken:
        raise ModelError(f"{place} is a {kind}; the system needs {' or '.join(taken)}. Name a checkpoint of that type.")
    name, own = _CLASSES[kind]
    model_class = getattr(transformers, name)
    try:
        with _quiet():
            configuration = _as_used(model_class.config_class.from_pretrained(str(place), **SAFE), own)
            with torch.device("meta"):
                model_class(configuration)
        own.longest_of(configuration)
    except Exception as error:
        said = f"{type(error).__name__}: {_one_line(error)}"
        raise ModelError(f"{place / 'config.json'} describes no {kind} that can be built: {said}") from error
    if not configuration.tie_word_embeddings:
        raise _own_head(place)
    return configuration, model_class, own


def _as_used(configuration: Any, own: type[Pretrained]) -> Any:
    """Without dropout, and encoders looking in both directions, whatever a checkpoint says of itself."""
    for dropout in _DROPOUTS:
        if hasattr(configuration, dropout):
            setattr(configuration, dropout, 0.0)
    if issubclass(own, PretrainedEncoder):
        configuration.is_decoder = configuration.add_cross_attention = False
    configuration.return_dict = True
    return configuration


def _loaded(place: Path, model_class: Any, source: str | None, **keys: Any) -> Any:
    """The network of `transformers`, if every tensor has its place and every place its tensor."""
    try:
        with _quiet():
            model, found = model_class.from_pretrained(
                source, use_safetensors=True, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True,
                **SAFE, **keys,
            )  # fmt: skip
    except Exception as error:
        raise _unreadable(place, error) from error
    other = [f"{key} {tuple(shape)} for {tuple(expected)}" for key, shape, expected in found["mismatched_keys"]]
    extra = [key for key in found["unexpected_keys"] if not _WITHOUT_USE.search(key)]
    complaints = {"lacks": found["missing_keys"], "has too many:": extra, "has of other shapes:": other}
    wrong = "; ".join(f"{noun} {some_of(sorted(keys))}" for noun, keys in complaints.items() if keys)
    if wrong:
        expected = f"expected those of {model_class.__name__}, as its save_pretrained writes them"
        raise ModelError(f"the checkpoint in {place} {wrong}; {expected}.")
    if model.get_output_embeddings().weight is not model.get_input_embeddings().weight:
        raise _own_head(place)
    return model


def _stored(place: Path) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a folder, one after another."""
    for path in weights_of_network(place):
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118
                yield key, file.get_tensor(key)


def _stand_in(tensor: Tensor, vocabulary: int) -> Tensor:
    """A tensor of that shape without memory; one with a row for every token itself, because a tied head equals the embedding."""
    return tensor if tensor.shape[:1] == (vocabulary,) else torch.zeros(()).expand(tensor.shape)


def _is_finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(tensor.float().isfinite().all())


def _refuse(place: Path, bad: Sequence[str]) -> None:
    used = [key for key in bad if not _WITHOUT_USE.search(key)]
    if used:
        raise ModelError(
            f"the checkpoint in {place} has numbers that are not finite in {some_of(used)}; take another copy of it."
        )


@contextmanager
def _quiet() -> Iterator[None]:
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


def _own_head(place: Path) -> ModelError:
    return ModelError(f"{place} has an output head of its own; expected one tied to the embedding (tie_word_embeddings).")


def _unreadable(place: Path, error: Exception) -> ModelError:
    said = f"{type(error).__name__}: {_one_line(error)}"
    return ModelError(f"the weights in {place} cannot be read: {said}; expected those that save_pretrained writes.")


def some_of(keys: Sequence[str]) -> str:
    """The first keys, and how many more there are: for errors."""
    more = f" and {len(keys) - _TOLD} more" if len(keys) > _TOLD else ""
    return ", ".join(keys[:_TOLD]) + more


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
