"""Checkpoints as `transformers` saves them, for systems that begin with one: told apart, checked before anything is spent, read.

configuration and classes                                 -> _described
every tensor there, of its shape, finite; the head tied   -> check
the network with these weights                            -> read
the network with random ones                              -> build
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from baselines.networks.pretrained import (
    Pretrained,
    PretrainedDecoder,
    PretrainedEncoder,
    PretrainedEncoderDecoder,
    Rows,
)
from harness import weights
from harness.errors import ModelError
from harness.pretrained import SAFE, configuration_of, folder_of, why_unreadable

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
    with weights.quiet():
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
    _check_head(place, weights.check(place, model_class, configuration))


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
    model = weights.network(place, model_class, configuration)
    _check_head(place, model)
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
        with weights.quiet():
            configuration = _as_used(model_class.config_class.from_pretrained(str(place), **SAFE), own)
            with torch.device("meta"):
                model_class(configuration)
        own.longest_of(configuration)
    except Exception as error:
        raise ModelError(f"{place / 'config.json'} describes no {kind} that can be built: {weights.said_by(error)}") from error
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


def _check_head(place: Path, model: Any) -> None:
    """See that there is one output head, of the embedding and one bias."""
    head = model.get_output_embeddings()
    of_their_own = {"bert": "cls.predictions.bias", "roberta": "lm_head.bias"}.get(model.config.model_type)
    if of_their_own and head.bias is not model.get_parameter(of_their_own):
        raise ModelError(f"{place} has two biases of its output head; expected one, as save_pretrained writes it.")
    if head.weight is not model.get_input_embeddings().weight:
        raise _own_head(place)


def _own_head(place: Path) -> ModelError:
    return ModelError(f"{place} has an output head of its own; expected one tied to the embedding (tie_word_embeddings).")
