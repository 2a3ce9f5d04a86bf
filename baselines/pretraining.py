"""Pretrained language models to begin with: small local ones, trained once on a task's texts, and how systems take their weights.

A local model is of the class of the one that a paper begins with, in this harness's own network and with the task's tokenizer, so
that such systems run, and are compared, where no published checkpoint lies. What it has seen is what its systems have seen: the
training texts of the task, conditions and targets, each by itself: of all pairs one on average is shown, by chance.
"""

import difflib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from baselines.adapter import CONFIGURATION, WEIGHTS, SavedModel, merged
from baselines.encoding import conditions, targets
from baselines.networks.checkpoints import build, check, place_of, read
from baselines.networks.initialise import initialise
from baselines.networks.pretrained import (
    Pretrained,
    PretrainedDenoiser,
    PretrainedEncoder,
    PretrainedEncoderDecoder,
    PretrainedSourceDenoiser,
    Rows,
)
from baselines.networks.sizes import width_for
from baselines.training import Data, Draws, Optimisation, train
from harness.construction import view_from_json
from harness.contracts import (
    Budget,
    Checkpoint,
    Example,
    FitContext,
    FitReport,
    Generation,
    Pretraining,
    Request,
    Sampling,
    TaskView,
)
from harness.design import Design
from harness.errors import ModelError
from harness.pretrained import digest_of_folder, folder_of, tokenizer_of
from harness.schedules.base import Schedule
from harness.tokenizer import PretrainedTokenizer, Tokenizer
from harness.weights import some_of

LOCAL = "local"
PLM_KEYS: Mapping[str, Any] = {"plm": LOCAL, "plm_sha256": None, "plm_tokens": None}
"""Keys, with their defaults, of a system that begins with a pretrained language model."""
_IN_PLACE_OF: Mapping[str, type[Pretrained]] = {"local-bert": PretrainedEncoder, "local-bart": PretrainedEncoderDecoder}
"""Local models by registered name, and of what class a checkpoint must be that is named in their place."""
_MEANT = {LOCAL: repr(LOCAL), "none": "null, to begin with nothing", "scratch": "null, to begin with nothing"}
_SIZES = ("width", "layers", "heads")


def beginning(model: str, size: Mapping[str, Any], holds: type[Pretrained] = Pretrained) -> Pretraining | Checkpoint | None:
    """What a system begins with: a local model of the size that the system is given, a checkpoint, or nothing.

    A checkpoint is looked at whole, so that a wrong one costs nothing but this.

    Args:
        model: registered name of the local model.
        size: the system's keys as they were given, among them those of `PLM_KEYS`.
        holds: class of the checkpoints that can take its place.

    Raises:
        ValueError: `plm` is neither "local" nor a checkpoint of that content, or keys are given that it has no use for.
        ModelError: the checkpoint is none, another class's, or it or its tokenizer is broken.
    """
    plm, given, tokens, shared = size.get("plm", LOCAL), size.get("plm_sha256"), size.get("plm_tokens"), sizes_of(size)
    if tokens is not None and not (type(tokens) is int and tokens >= 1):
        raise ValueError(f"plm_tokens {tokens!r}, expected a whole number from 1 on, or null for the system's own budget")
    if given is not None and type(given) is not str:
        raise ValueError(f"plm_sha256 {given!r} is no text; put it between quotes, or YAML takes its digits for a number")
    content, budget = (["plm_sha256"] if given is not None else []), (["plm_tokens"] if tokens is not None else [])
    if plm is None:
        _refuse([*content, *budget], "with plm: null a system begins with nothing")
        return None
    if plm == LOCAL:
        _refuse(content, "plm is 'local', which is trained here and has no content to check")
        return Pretraining(model=model, keys=shared, tokens=tokens)
    _refuse([*shared, *budget], f"the checkpoint {plm} has its own size, and is trained")
    found = digest_of_folder(_folder_of(plm))
    if given and given != found:
        raise ValueError(_asked_for(plm, found, given))
    _check_whole(plm, found, holds)
    if not given:
        raise ValueError(_asked_for(plm, found, "none was given"))
    return Checkpoint(name=plm, sha256=found)


def _refuse(useless: Sequence[str], reason: str) -> None:
    if useless:
        raise ValueError(f"{', '.join(useless)}: {reason}; drop {'this key' if len(useless) == 1 else 'these keys'}")


def _asked_for(plm: str, found: str, given: str) -> str:
    return f"{plm} has sha256 {found}, expected {given}; say `plm_sha256: {found}`"


def _folder_of(plm: str) -> Path:
    """Where a checkpoint lies; what is no checkpoint may be a slip of the pen."""
    try:
        return folder_of(plm)
    except ValueError as error:
        near = difflib.get_close_matches(plm.casefold(), _MEANT, n=1)
        raise ValueError(f"{error}. Did you mean {_MEANT[near[0]]}?" if near else str(error)) from error


@cache
def _check_whole(plm: str, sha256: str, holds: type[Pretrained]) -> None:
    """See that a system can begin with a checkpoint, once for what lies in its folder.

    Raises:
        ModelError: it cannot.
    """
    check(plm, holds)
    _check_mask(plm, tokenizer_of(place_of(plm)))


def _check_mask(plm: str, tokenizer: Tokenizer) -> None:
    if not isinstance(tokenizer, PretrainedTokenizer):
        return
    *others, mask = tokenizer.specials
    if mask is None:
        raise ModelError(
            f"the tokenizer of {plm} has no mask token, which the system reads where there is noise; expected the tokenizer that "
            "the checkpoint was trained with, mask_token in its tokenizer_config.json."
        )
    if mask in others:
        also = [name for name, row in zip(("PAD", "EOS", "BOS", "UNK", "SEP"), others, strict=True) if row == mask]
        raise ModelError(
            f"the tokenizer of {plm} has the mask token {tokenizer.token(others.index(mask))!r}, which is {' and '.join(also)} "
            "too; expected one that is no other token, or noise would read like it: say mask_token in its tokenizer_config.json."
        )


def in_its_tokens(design: Design, size: Mapping[str, Any]) -> Design:
    """A system's design, which names the tokenizer where it comes with a checkpoint."""
    plm = size.get("plm", LOCAL)
    return design if plm in (LOCAL, None) else replace(design, tokenizer=plm)


def sizes_of(size: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a system's keys that its local model shares."""
    return {name: size[name] for name in _SIZES if name in size}


def size_with(local: "type[LocalModel]", parameters: int, task: TaskView, size: Mapping[str, Any]) -> dict[str, Any]:
    """Size keys that meet a parameter target: those of the local model; a checkpoint is as large as it is."""
    return local.size_for(parameters, task, **sizes_of(size)) if size.get("plm", LOCAL) in (LOCAL, None) else {}


def denoiser_of(
    plm: str | None, task: TaskView, local: Callable[[], nn.Module],
    theirs: type[PretrainedDenoiser] | type[PretrainedSourceDenoiser] = PretrainedDenoiser, *, sha256: str | None = None,
) -> nn.Module:  # fmt: skip
    """A denoiser of noisy tokens, before it has its weights.

    Args:
        plm: the system's key; `None` = from scratch, in the local model's network.
        task: in the tokens of the checkpoint, where there is one.
        local: makes the network of the local model.
        theirs: makes the denoiser of a checkpoint.
        sha256: of the checkpoint, by which a saved system knows the configuration that it was trained with.

    Raises:
        ModelError: a checkpoint of another class or other content, or without a mask.
    """
    if plm in (LOCAL, None):
        return local()
    assert plm is not None
    rows = _rows(task)
    _check_mask(plm, task.tokenizer)
    found = digest_of_folder(place_of(plm))
    if sha256 not in (None, found):
        raise ModelError(f"{plm} has sha256 {found}, expected {sha256}: it is not what the system began with. Put that back.")
    made: nn.Module = theirs(build(plm, rows, len(task.tokenizer), theirs.holds))  # type: ignore[arg-type]
    return made


def take_weights(network: nn.Module, run: FitContext, task: TaskView, *, new: Sequence[str] = ()) -> None:
    """Give a network the weights that a training begins with: those of a local model, or of a checkpoint.

    Args:
        network: of the local model's class, or one that holds the checkpoint's.
        run: knows the folder.
        task: what the network reads.
        new: modules of the network that the local model has not ("time"); they stay as they are.

    Raises:
        ModelError: there is no folder, it holds no such model, or its tokenizer or its tensors are others than the network's.
    """
    if run.pretrained is None:
        raise ModelError("this model begins with a pretrained one; give its folder as FitContext.pretrained.")
    theirs = next((module for module in network.modules() if isinstance(module, Pretrained)), None)
    if theirs is not None:
        theirs.load_state_dict(read(str(run.pretrained), _rows(task), len(task.tokenizer)).state_dict())
    else:
        _take_local(network, run.pretrained, task, tuple(new))


def _rows(task: TaskView) -> Rows:
    """The checkpoint's own ids of the task's."""
    if not isinstance(task.tokenizer, PretrainedTokenizer):
        raise ModelError(f"{task.name} is in tokens of its own; a network of a checkpoint reads those of the checkpoint.")
    return task.tokenizer.rows


def _take_local(network: nn.Module, folder: Path, task: TaskView, new: tuple[str, ...]) -> None:
    found = _saved(folder, task)
    expected = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(new)}
    complaints = {
        "it lacks": sorted(expected.keys() - found.keys()),
        "it has too many:": sorted(found.keys() - expected.keys()),
        "of other shapes:": [
            f"{name} {tuple(found[name].shape)} for {tuple(expected[name].shape)}"
            for name in sorted(expected.keys() & found.keys()) if expected[name].shape != found[name].shape
        ],
    }  # fmt: skip
    wrong = "; ".join(f"{noun} {some_of(names)}" for noun, names in complaints.items() if names)
    if wrong:
        raise ModelError(
            f"the pretrained model in {folder} does not fit: {wrong}. Give it the width, layers and heads of the system."
        )
    network.load_state_dict(found, strict=False)


def _saved(folder: Path, task: TaskView) -> dict[str, Tensor]:
    """Weights of the network of a saved local model."""
    try:
        configuration = json.loads((folder / CONFIGURATION).read_text(encoding="utf-8"))
        tensors = load_file(folder / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"{folder} holds no pretrained model; expected {CONFIGURATION} and {WEIGHTS}: {error}") from error
    tokenizer = view_from_json(json.dumps(configuration["task"])).tokenizer
    if tokenizer.digest != task.tokenizer.digest:
        raise ModelError(
            f"the pretrained model in {folder} has a tokenizer of {len(tokenizer)} entries, digest {tokenizer.digest[:12]}; "
            f"expected the task's, {len(task.tokenizer)} entries, digest {task.tokenizer.digest[:12]}."
        )
    return {name.removeprefix("network."): tensor for name, tensor in tensors.items()}


class BeginsWithPLM:
    """Gives a system its first weights: those of the model or checkpoint that its key `plm` names; none where that is `None`.

    Attributes:
        local_model: registered name of the local model.
    """

    local_model: ClassVar[str]
    size: dict[str, Any]
    task: TaskView
    network: nn.Module

    @classmethod
    def begins_with(cls, **size: Any) -> Pretraining | Checkpoint | None:
        """See `TextModel`."""
        return beginning(cls.local_model, size, _IN_PLACE_OF.get(cls.local_model, Pretrained))  # type: ignore[type-abstract]

    @property
    def held_width(self) -> int:
        """See `DiffusionAdapter`; those of a checkpoint where one is held."""
        theirs = [module.width for module in self.network.modules() if isinstance(module, Pretrained)]
        return theirs[0] if theirs else super().held_width  # type: ignore[misc]

    def begin(self, run: FitContext) -> None:
        """See `DiffusionAdapter`."""
        super().begin(run)  # type: ignore[misc]
        if self.size.get("plm", LOCAL) is not None:
            take_weights(self.network, run, self.task)


class LocalModel(SavedModel, nn.Module, ABC):
    """A language model that is trained for others to begin with; a subclass brings network, layout and loss.

    Args:
        schedule: nothing is scheduled; must be `None`.
        task: how text becomes ids.
        size: keys of `defaults`.

    Attributes:
        defaults: width, layers, heads, examples per update (batch), and the plateau of the learning rate at width 128.
        network: what is trained.
    """

    design: Design
    defaults: ClassVar[Mapping[str, Any]] = {"width": 128, "layers": 4, "heads": 4, "batch": 16, "learning_rate": 3e-3}

    def __init__(self, schedule: Schedule | None, task: TaskView, **size: Any) -> None:
        super().__init__()
        if schedule is not None:
            raise ValueError(f"{self.design.name} has no noise schedule, but got {schedule.specification!r}")
        self.measures = merged(size, self.defaults)
        self.network = self.network_of(task, self.measures)

    # --- what a subclass says ---------------------------------------------------------------------------------------
    @classmethod
    @abstractmethod
    def network_of(cls, task: TaskView, keys: Mapping[str, Any]) -> nn.Module:
        """The network."""

    @abstractmethod
    def data(self, sources: Sequence[Sequence[int]], texts: Sequence[Sequence[int]]) -> Data:
        """Rows to learn from; `ids` are the canvases that the budget counts.

        Args:
            sources: ids of conditions, empty where there are none.
            texts: ids of targets, in another order than the conditions.
        """

    @abstractmethod
    def loss(self, batch: Data, draws: Draws) -> Float[Tensor, " B"]:
        """Nats per position, one value per row."""

    # --- the adapter -------------------------------------------------------------------------------------------------
    @classmethod
    def design_for(cls, **size: Any) -> Design:
        """The one design; keys are checked.

        Raises:
            ValueError: a key that the model does not know, or a value that it cannot take.
        """
        merged(size, cls.defaults)
        return cls.design

    @classmethod
    def size_for(cls, parameters: int, task: TaskView, **size: Any) -> dict[str, Any]:
        """Width that meets a parameter target; systems that begin with the model take theirs from here."""
        keys = merged(size, cls.defaults)
        return {
            "width": width_for(
                parameters, lambda width: cls.network_of(task, {**keys, "width": width}), multiple=4 * keys["heads"]
            )
        }

    @property
    def optimisation(self) -> Optimisation:
        """AdamW."""
        rate, batch = self.measures["learning_rate"], self.measures["batch"]
        return Optimisation(learning_rate=rate, batch=batch, weight_decay=0.01).at_width(self.measures["width"])

    def fit(self, train_examples: Sequence[Example], valid: Sequence[Example], budget: Budget, run: FitContext) -> FitReport:
        """Train on conditions and targets, which are paired at random."""
        initialise(self.network, run.generator("init"))
        data = self._data(train_examples, run)
        return train(
            self, self.loss, data, optimisation=self.optimisation, canvas=data["ids"].shape[1], budget=budget, run=run,
            valid=self._data(valid, run) if valid else None,
        )  # fmt: skip

    def _data(self, examples: Sequence[Example], run: FitContext) -> Data:
        sources = conditions(self.task, examples)
        order = torch.randperm(len(examples), generator=run.generator("pairs")).tolist()
        return self.data([sources[place] for place in order], targets(self.task, examples))

    def generate(self, requests: Sequence[Request], settings: Sampling) -> list[Generation]:
        """Refuse.

        Raises:
            ModelError: always.
        """
        raise ModelError(f"{self.design.name} writes no texts: systems begin with its weights.")

    def likelihood(self, examples: Sequence[Example]) -> None:
        """It has none."""
