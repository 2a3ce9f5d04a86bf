"""Pretrained language models to begin with: small local ones, trained once on a task's texts, and how systems take their weights.

A local model is of the class of the one that a paper begins with, in this harness's own network and with the task's tokenizer, so
that such systems run, and are compared, where no published checkpoint lies. What it has seen is what its systems have seen: the
training texts of the task, conditions and targets, each by itself. Pairs are not shown.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from baselines.adapter import CONFIGURATION, WEIGHTS, SavedModel, merged
from baselines.encoding import conditions, targets
from baselines.networks.initialise import initialise
from baselines.networks.pretrained import (
    Pretrained,
    PretrainedDenoiser,
    PretrainedSourceDenoiser,
    Rows,
    build,
    read,
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
from harness.pretrained import digest_of_folder, folder_of
from harness.schedules.base import Schedule
from harness.tokenizer import PretrainedTokenizer

LOCAL = "local"
PLM_KEYS: Mapping[str, Any] = {"plm": LOCAL, "plm_sha256": "", "plm_tokens": None}
"""Keys, with their defaults, of a system that begins with a pretrained language model."""
_SIZES = ("width", "layers", "heads")
_TOLD = 6  # tensors that an error names


def beginning(model: str, size: Mapping[str, Any]) -> Pretraining | Checkpoint:
    """What a system begins with: a local model of the size that the system is given, or a checkpoint.

    Args:
        model: registered name of the local model.
        size: the system's keys as they were given, among them those of `PLM_KEYS`.

    Raises:
        ValueError: `plm` is neither "local" nor a checkpoint of that content, or keys are given that it has no use for.
    """
    plm, tokens, shared = size.get("plm", LOCAL), size.get("plm_tokens"), sizes_of(size)
    if tokens is not None and not (type(tokens) is int and tokens >= 1):
        raise ValueError(f"plm_tokens {tokens!r}, expected a whole number from 1 on, or null for the system's own budget")
    if plm == LOCAL:
        return Pretraining(model=model, keys=shared, tokens=tokens)
    useless = [*shared, *(["plm_tokens"] if tokens is not None else [])]
    if useless:
        raise ValueError(f"{', '.join(useless)}: the checkpoint {plm} has its own size, and is trained; drop these keys")
    found, given = digest_of_folder(folder_of(plm)), size.get("plm_sha256", "")
    if found != given:
        raise ValueError(f"{plm} has sha256 {found}, expected {given or 'none was given'}; say `plm_sha256: {found}`")
    return Checkpoint(name=plm, sha256=found)


def in_its_tokens(design: Design, size: Mapping[str, Any]) -> Design:
    """A system's design, which names the tokenizer where it comes with a checkpoint."""
    plm = size.get("plm", LOCAL)
    return design if plm == LOCAL else replace(design, tokenizer=plm)


def sizes_of(size: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a system's keys that its local model shares."""
    return {name: size[name] for name in _SIZES if name in size}


def size_with(local: "type[LocalModel]", parameters: int, task: TaskView, size: Mapping[str, Any]) -> dict[str, Any]:
    """Size keys that meet a parameter target: those of the local model; a checkpoint is as large as it is."""
    return local.size_for(parameters, task, **sizes_of(size)) if size.get("plm", LOCAL) == LOCAL else {}


def denoiser_of(
    plm: str, task: TaskView, local: Callable[[], nn.Module],
    theirs: type[PretrainedDenoiser] | type[PretrainedSourceDenoiser] = PretrainedDenoiser,
) -> nn.Module:  # fmt: skip
    """A denoiser of noisy tokens, before it has its weights.

    Args:
        plm: the system's key.
        task: in the tokens of the checkpoint, where there is one.
        local: makes the network of the local model.
        theirs: makes the denoiser of a checkpoint.

    Raises:
        ModelError: a checkpoint of another class.
    """
    if plm == LOCAL:
        return local()
    network = build(plm, _rows(task), len(task.tokenizer))
    if not isinstance(network, theirs.holds):
        raise ModelError(f"{plm} holds a {type(network).__name__}; expected a {theirs.holds.__name__}.")
    made: nn.Module = theirs(network)  # type: ignore[arg-type]
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
    wrong = "; ".join(f"{noun} {_some(names)}" for noun, names in complaints.items() if names)
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


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    return ", ".join(names[:_TOLD]) + more


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
            texts: ids of targets, each of another example than the condition at its place.
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
