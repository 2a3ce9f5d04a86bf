"""Text in, text out: what stands between the harness's contract and a network."""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from jaxtyping import Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from baselines.encoding import conditions, targets
from baselines.engine import Diffusion
from baselines.networks.initialise import initialise
from baselines.networks.sizes import width_for
from baselines.parts.calls import Calls, counted
from baselines.parts.conditioning import Canvas, Layout, Source
from baselines.parts.denoisers import Denoiser, Tempered
from baselines.parts.randomness import Noise
from baselines.parts.samplers import Undo
from baselines.training import Data, Draws, Optimisation, train
from harness.construction import schedule_for, view_from_json, view_to_json
from harness.contracts import (
    Budget,
    Example,
    FitContext,
    FitReport,
    Generation,
    Likelihood,
    Request,
    Sampling,
    TaskView,
    stream_seed,
)
from harness.design import Design
from harness.errors import ModelError, UnknownName
from harness.schedules.base import Schedule
from harness.tokenizer import EOS

Saved = TypeVar("Saved", bound="SavedModel")
Job = tuple[Request, int]
"""A request and the number of one of its candidates."""
WEIGHTS, CONFIGURATION = "model.safetensors", "model.json"


class SavedModel:
    """Gives any `nn.Module` that is constructed as `Model(schedule, task, **size)` its `save` and `load`.

    Weights go to safetensors, what the model was constructed with to JSON; nothing is pickled.

    Attributes:
        sampling_keys: keys that decide only how texts are sampled; see `TextModel`.
        tempered: what a temperature makes of the denoiser.
    """

    sampling_keys: ClassVar[tuple[str, ...]] = ()
    tempered: ClassVar[type[Tempered]] = Tempered
    schedule: Schedule | None
    task: TaskView
    size: dict[str, Any]

    def __new__(cls: type[Saved], schedule: Schedule | None, task: TaskView, **size: Any) -> Saved:
        """Remember what the model is constructed with."""
        model = super().__new__(cls)
        for name, value in {"schedule": schedule, "task": task, "size": size}.items():
            object.__setattr__(model, name, value)
        return model

    def save(self, folder: Path) -> None:
        """Write weights and configuration."""
        folder.mkdir(parents=True, exist_ok=True)
        state = self.state_dict() if isinstance(self, nn.Module) else {}
        save_file({name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}, folder / WEIGHTS)
        specification = self.schedule.specification if self.schedule is not None else None
        configuration = {"schedule": specification, "task": json.loads(view_to_json(self.task)), "size": self.size}
        (folder / CONFIGURATION).write_text(json.dumps(configuration, ensure_ascii=False, indent=1), encoding="utf-8")

    @classmethod
    def load(cls: type[Saved], folder: Path, device: str, **keys: Any) -> Saved:
        """The model as it was saved, but for these keys.

        Raises:
            ModelError: the folder holds no such model, or keys are missing or too many.
        """
        if not (folder / CONFIGURATION).is_file() or not (folder / WEIGHTS).is_file():
            found = sorted(item.name for item in folder.glob("*"))
            raise ModelError(f"{folder}: expected {CONFIGURATION} and {WEIGHTS}; found {found}")
        try:
            configuration = json.loads((folder / CONFIGURATION).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ModelError(f"{folder / CONFIGURATION} is no JSON ({error}); save the model again.") from error
        task, size = view_from_json(json.dumps(configuration["task"])), {**configuration["size"], **keys}
        model = cls(schedule_for(cls, configuration["schedule"], task, size), task, **size)
        if isinstance(model, nn.Module):
            try:
                model.load_state_dict(load_file(folder / WEIGHTS))
            except SafetensorError as error:
                raise ModelError(
                    f"{folder / WEIGHTS} is no whole file of safetensors ({error}); save the model again."
                ) from error
            except RuntimeError as error:
                raise ModelError(f"{folder / WEIGHTS} does not fit {cls.__name__}: {error}") from error
            model.to(device).eval()
        return model


def finished(ids: Sequence[int]) -> tuple[tuple[int, ...], str]:
    """Ids up to and including the first EOS, and the finish reason."""
    ids = tuple(ids)
    return (ids[: ids.index(EOS) + 1], "eos") if EOS in ids else (ids, "length")


def whole(ids: Sequence[int]) -> tuple[tuple[int, ...], str]:
    """All ids, whatever they are: answers of a fixed length."""
    return tuple(ids), "length"


def joined(candidates: Sequence[Generation]) -> Generation:
    """One answer from the candidates of one request; calls and positions of each by itself are added up, as the contract says."""
    return replace(
        candidates[0],
        texts=tuple(text for answer in candidates for text in answer.texts),
        ids=tuple(ids for answer in candidates for ids in answer.ids or ()),
        finish_reasons=tuple(reason for answer in candidates for reason in answer.finish_reasons),
        network_calls=sum(answer.network_calls for answer in candidates),
        positions_processed=sum(answer.positions_processed or 0 for answer in candidates),
    )


def _starts(requests: Sequence[Request]) -> list[int]:
    return [0, *accumulate(request.n for request in requests)][:-1]


class DiffusionAdapter(SavedModel, nn.Module, ABC):
    """A `TextModel` around `Diffusion`; a system says how it is put together, and what is unlike others in training it.

    Attributes:
        defaults: size keys with their defaults: width, layers, heads, examples per update (batch), the plateau of the learning
            rate at width 128, and the system's own.
        choices: the values of keys that are one of a few names.
    """

    design: Design
    defaults: ClassVar[Mapping[str, Any]]
    choices: ClassVar[Mapping[str, Collection[str]]] = {}

    def __init__(self, schedule: Schedule, task: TaskView, **size: Any) -> None:
        super().__init__()
        self.design = self.design_for(**size)
        self.layout = self.layout_for(task, **size)
        self.diffusion = self.build(schedule, task, **size)

    @classmethod
    def design_for(cls, **size: Any) -> Design:
        """Design of the variant that these keys name."""
        return cls.design

    @classmethod
    def layout_for(cls, task: TaskView, **size: Any) -> Layout:
        """How condition and target share the canvas where these keys are given."""
        return cls.make_layout(task)

    @classmethod
    def checked(cls, size: Mapping[str, Any]) -> dict[str, Any]:
        """Size keys with their defaults.

        Raises:
            UnknownName: a key that the model does not know.
            ValueError: a value that it cannot take.
        """
        keys = merged(size, cls.defaults)
        for name, known in cls.choices.items():
            if keys[name] not in known:
                raise ValueError(f"{name} {keys[name]!r} is none of {', '.join(known)}")
        return keys

    @property
    def keys(self) -> dict[str, Any]:
        """This model's size keys with their defaults."""
        return self.checked(self.size)

    @classmethod
    @abstractmethod
    def network_of(cls, task: TaskView, keys: Mapping[str, Any]) -> nn.Module:
        """The denoiser."""

    @classmethod
    def size_for(cls, parameters: int, task: TaskView, **size: Any) -> dict[str, Any]:
        """Width that meets a parameter target."""
        keys = cls.checked(size)
        width = width_for(parameters, lambda width: cls.network_of(task, keys | {"width": width}), multiple=4 * keys["heads"])
        return {"width": width}

    @property
    def optimisation(self) -> Optimisation:
        """AdamW; the last weights are kept, which the falling rate averages, as runs here are short."""
        keys = self.keys
        return Optimisation(learning_rate=keys["learning_rate"], batch=keys["batch"]).at_width(self.held_width)

    @property
    def held_width(self) -> int:
        """Features of the network, with which the learning rate falls."""
        return int(self.keys["width"])

    @abstractmethod
    def build(self, schedule: Schedule, task: TaskView, **size: Any) -> Diffusion:
        """Put the parts together."""

    @staticmethod
    @abstractmethod
    def make_layout(task: TaskView) -> Layout:
        """How condition and target share the canvas."""

    def fit(self, train_examples: Sequence[Example], valid: Sequence[Example], budget: Budget, run: FitContext) -> FitReport:
        """Train within the budget."""
        self.begin(run)
        return train(
            self.diffusion, self._loss, self._data(train_examples), optimisation=self.optimisation,
            canvas=self.layout.length, budget=budget, run=run, valid=self._data(valid) if valid else None,
        )  # fmt: skip

    def begin(self, run: FitContext) -> None:
        """Give the parts their first weights: drawn ones; a system that begins with pretrained ones reads those after it."""
        initialise(self.diffusion, run.generator("init"))

    def _data(self, examples: Sequence[Example]) -> Data:
        canvas = self.layout.canvas(conditions(self.task, examples), targets(self.task, examples))
        beside = {} if canvas.source is None else {"source": canvas.source.ids, "present": canvas.source.present}
        return {"ids": canvas.ids, "given": canvas.given, **beside}

    def _loss(self, batch: Data, draws: Draws) -> Tensor:
        return self.diffusion.loss(canvas_of(batch), draws)

    @torch.no_grad()
    def generate(self, requests: Sequence[Request], settings: Sampling) -> list[Generation]:
        """Answer every request; each candidate of a request has a stream of its own.

        Raises:
            ModelError: settings that a diffusion sampler does not know, or texts of a fixed length that the canvas does not hold.
        """
        longest = max((request.max_tokens for request in requests), default=0)
        if settings.fixed_length and longest > self.task.max_tokens:
            raise ModelError(
                f"{longest} tokens are asked for, neither more nor less; the canvas of {self.design.name} holds "
                f"{self.task.max_tokens}. Ask for no more, or train on a task with longer texts."
            )
        tempered = settings.temperature != 1.0
        if settings.method != "sample" or settings.top_p != 1.0 or (tempered and not self.design.temperature):
            at_one = "top_p at 1" if self.design.temperature else "both at 1"
            raise ModelError(
                f"{self.design.name} samples as its design says; it knows no method {settings.method!r} with temperature "
                f"{settings.temperature} and top_p {settings.top_p}. Use `method: sample` with {at_one}."
            )
        self.eval()
        steps = self.steps_for(settings)
        jobs = [(request, candidate) for request in requests for candidate in range(request.n)]
        ended = whole if settings.fixed_length else finished
        answers: list[Generation] = []
        for start in range(0, len(jobs), settings.micro_batch):
            part = jobs[start : start + settings.micro_batch]
            with counted(self.network, len(part)) as seen:
                rows = self._sample(part, steps, settings, seen)
            answers += [
                self._answer(request, *ended(row[: request.max_tokens]), calls, positions, steps)
                for (request, _), row, calls, positions in zip(part, rows, seen.count, seen.positions, strict=True)
            ]
        return [joined(answers[start : start + request.n]) for request, start in zip(requests, _starts(requests), strict=True)]

    @property
    def network(self) -> nn.Module:
        """The network whose forward evaluations are counted."""
        assert isinstance(self.diffusion.denoiser, nn.Module)
        return self.diffusion.denoiser

    def steps_for(self, settings: Sampling) -> int:
        """How many steps a sampler makes: those asked for, or all of a chain, or one for each token of the longest text."""
        return settings.steps or self.diffusion.clock.steps or self.task.max_tokens

    def _sample(self, jobs: Sequence[Job], steps: int, settings: Sampling, calls: Calls) -> list[tuple[int, ...]]:
        device = next(self.parameters()).device
        prompt = self.layout.canvas(conditions(self.task, [request for request, _ in jobs]), None)
        seeds = torch.tensor(
            [stream_seed(request.seed, candidate) for request, candidate in jobs], dtype=torch.int64, device=device
        )
        canvas = on_device(prompt, device)
        ids = self.write(canvas, Noise(seeds), steps, settings, calls)
        return [tuple(row) for row in self.layout.targets(replace(canvas, ids=ids))]

    def write(self, prompt: Canvas, noise: Noise, steps: int, settings: Sampling, calls: Calls) -> Int[Tensor, "B L"]:
        """Canvases as the sampler fills them."""
        grid = self.diffusion.clock.grid(steps)
        return self.diffusion.sample(prompt, noise, grid, self.denoiser_for(prompt, settings), self.reverse_for(steps), calls)

    def denoiser_for(self, prompt: Canvas, settings: Sampling) -> Denoiser:
        """The denoiser that a sampler calls: as the system wraps it, and at a temperature."""
        denoiser = self.sampling_denoiser(self.diffusion.reading(prompt))
        return self.tempered(denoiser, settings.temperature) if settings.temperature != 1.0 else denoiser

    def reverse_for(self, steps: int) -> Undo:
        """The reverse step of a sampler that is asked for so many steps."""
        return self.diffusion.reverse

    def sampling_denoiser(self, denoiser: Denoiser) -> Denoiser:
        """The denoiser that samplers call, which has read its source; systems wrap it."""
        return denoiser

    def _answer(self, request: Request, ids: tuple[int, ...], reason: str, calls: int, positions: int, steps: int) -> Generation:
        return Generation(
            id=request.id, texts=(self.task.tokenizer.decode(ids),), ids=(ids,), finish_reasons=(reason,),
            network_calls=calls, steps_used=steps, positions_processed=positions,
        )  # fmt: skip

    def likelihood(self, examples: Sequence[Example]) -> Likelihood | None:
        """A bound where the system has one; `None` unless it is overridden."""
        return None


def canvas_of(batch: Data) -> Canvas:
    """A batch of the training loop as canvases."""
    source = Source(ids=batch["source"], present=batch["present"]) if "source" in batch else None
    return Canvas(ids=batch["ids"], given=batch["given"], source=source)


def on_device(canvas: Canvas, device: torch.device) -> Canvas:
    """A canvas and its source on a device."""
    source = canvas.source and Source(ids=canvas.source.ids.to(device), present=canvas.source.present.to(device))
    return Canvas(ids=canvas.ids.to(device), given=canvas.given.to(device), source=source)


def merged(size: Mapping[str, Any], defaults: Mapping[str, Any], absent: Collection[str] = ()) -> dict[str, Any]:
    """Size keys with their defaults.

    Args:
        absent: keys that may be `None`, whatever their default is.

    Raises:
        UnknownName: a key that the model does not know.
        ValueError: a value that is not of its default's kind: a whole number from 1 on, a number from 0 on, below 1 where the
            default is, or text; a width that its heads cannot share. Keys without a default are the caller's to check.
    """
    for name, value in size.items():
        if name not in defaults:
            raise UnknownName("key", name, defaults)
        if value is not None or name not in absent:
            _check_kind(name, value, defaults[name])
    keys = {**defaults, **size}
    if "width" in size and size["width"] % (2 * keys["heads"]):
        raise ValueError(f"width {size['width']}, expected a multiple of {2 * keys['heads']}: twice the heads")
    return keys


def _check_kind(name: str, value: Any, default: Any) -> None:
    if type(default) is int and not (type(value) is int and value >= 1):
        raise ValueError(f"{name} {value!r}, expected a whole number from 1 on")
    if type(default) is float and not (type(value) in (int, float) and 0 <= value < (1 if default < 1 else math.inf)):
        raise ValueError(f"{name} {value!r}, expected a number from 0 {'to below 1' if default < 1 else 'on'}")
    if type(default) is str and type(value) is not str:
        raise ValueError(f"{name} {value!r}, expected text")
