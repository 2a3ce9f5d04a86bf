"""Text in, text out: what stands between the harness's contract and a network."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from jaxtyping import Int
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from baselines.engine import Diffusion
from baselines.networks.initialise import initialise
from baselines.parts.conditioning import Canvas, Layout
from baselines.parts.denoisers import Denoiser, counted
from baselines.parts.randomness import Noise
from baselines.parts.timesteps import spaced
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
from harness.errors import ModelError
from harness.schedules.base import Schedule
from harness.tokenizer import EOS

Saved = TypeVar("Saved", bound="SavedModel")
WEIGHTS, CONFIGURATION = "model.safetensors", "model.json"


class SavedModel:
    """Gives any `nn.Module` that is constructed as `Model(schedule, task, **size)` its `save` and `load`.

    Weights go to safetensors, what the model was constructed with to JSON; nothing is pickled.
    """

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
    def load(cls: type[Saved], folder: Path, device: str) -> Saved:
        """The model as it was saved.

        Raises:
            ModelError: the folder holds no such model, or keys are missing or too many.
        """
        if not (folder / CONFIGURATION).is_file() or not (folder / WEIGHTS).is_file():
            found = sorted(item.name for item in folder.glob("*"))
            raise ModelError(f"{folder}: expected {CONFIGURATION} and {WEIGHTS}; found {found}")
        configuration = json.loads((folder / CONFIGURATION).read_text(encoding="utf-8"))
        task = view_from_json(json.dumps(configuration["task"]))
        model = cls(schedule_for(cls, configuration["schedule"], task, configuration["size"]), task, **configuration["size"])
        if isinstance(model, nn.Module):
            try:
                model.load_state_dict(load_file(folder / WEIGHTS))
            except RuntimeError as error:
                raise ModelError(f"{folder / WEIGHTS} does not fit {cls.__name__}: {error}") from error
            model.to(device).eval()
        return model


def targets(task: TaskView, examples: Sequence[Example]) -> list[list[int]]:
    """Target ids with EOS, cut to the task's canvas; a cut target has no EOS."""
    return [[*ids, EOS][: task.max_tokens] for ids in task.tokenizer.encode_batch([example.target for example in examples])]


def conditions(task: TaskView, items: Sequence[Example] | Sequence[Request]) -> list[list[int]]:
    """Condition ids, cut to the task's longest source; empty where there is no condition."""
    texts = [item.condition or "" for item in items]
    return [ids[: task.max_source_tokens] for ids in task.tokenizer.encode_batch(texts)]


def finished(ids: Sequence[int]) -> tuple[tuple[int, ...], str]:
    """Ids up to and including the first EOS, and the finish reason."""
    ids = tuple(ids)
    return (ids[: ids.index(EOS) + 1], "eos") if EOS in ids else (ids, "length")


class DiffusionAdapter(SavedModel, nn.Module, ABC):
    """A `TextModel` around `Diffusion`; a system says how it is put together and how it is trained.

    Attributes:
        optimisation: settings of the one training loop.
        spacing: how `steps` picks indices of the chain.
        likelihood_draws: Monte-Carlo draws of t per example for the bound.
    """

    design: Design
    optimisation: ClassVar[Optimisation]
    spacing: ClassVar[str] = "trailing"
    likelihood_draws: ClassVar[int] = 16

    def __init__(self, schedule: Schedule, task: TaskView, **size: Any) -> None:
        super().__init__()
        self.design = self.design_for(**size)
        self.layout = self.make_layout(task)
        self.diffusion = self.build(schedule, task, **size)

    @classmethod
    def design_for(cls, **size: Any) -> Design:
        """Design of the variant that these keys name."""
        return cls.design

    @abstractmethod
    def build(self, schedule: Schedule, task: TaskView, **size: Any) -> Diffusion:
        """Put the parts together."""

    @abstractmethod
    def make_layout(self, task: TaskView) -> Layout:
        """How condition and target share the canvas."""

    def fit(self, train_examples: Sequence[Example], valid: Sequence[Example], budget: Budget, run: FitContext) -> FitReport:
        """Train within the budget."""
        initialise(self.diffusion, run.generator("init"))
        return train(
            self.diffusion, self._loss, self._data(train_examples), optimisation=self.optimisation,
            canvas=self.layout.length, budget=budget, run=run, valid=self._data(valid) if valid else None,
        )  # fmt: skip

    def _data(self, examples: Sequence[Example]) -> Data:
        canvas = self.layout.canvas(conditions(self.task, examples), targets(self.task, examples))
        return {"ids": canvas.ids, "given": canvas.given}

    def _loss(self, batch: Data, draws: Draws) -> Tensor:
        return self.diffusion.loss(Canvas(ids=batch["ids"], given=batch["given"]), draws)

    @torch.no_grad()
    def generate(self, requests: Sequence[Request], settings: Sampling) -> list[Generation]:
        """Answer every request; each candidate of a request has a stream of its own.

        Raises:
            ModelError: settings that a diffusion sampler does not know.
        """
        if settings.method != "sample" or settings.temperature != 1.0 or settings.top_p != 1.0:
            raise ModelError(
                f"{self.design.name} samples as its design says; it knows no method {settings.method!r} with temperature "
                f"{settings.temperature} and top_p {settings.top_p}. Use `method: sample` with both at 1."
            )
        self.eval()
        visited = spaced(self.diffusion.chain, settings.steps or self.diffusion.chain, self.spacing)
        jobs = [(request, candidate) for request in requests for candidate in range(request.n)]
        rows: list[tuple[int, ...]] = []
        calls = positions = 0
        for start in range(0, len(jobs), settings.micro_batch):
            part = jobs[start : start + settings.micro_batch]
            with counted(self._network) as seen:
                rows += self._sample(part, visited)
            calls, positions = seen.count, seen.positions
        return self._answers(requests, rows, calls=calls, steps=len(visited), positions=positions)

    @property
    def _network(self) -> nn.Module:
        assert isinstance(self.diffusion.denoiser, nn.Module)
        return self.diffusion.denoiser

    def _sample(self, jobs: Sequence[tuple[Request, int]], visited: Int[Tensor, " K"]) -> list[tuple[int, ...]]:
        device = next(self.parameters()).device
        requests = [request for request, _ in jobs]
        prompt = self.layout.canvas(conditions(self.task, requests), None)
        seeds = torch.tensor(
            [stream_seed(request.seed, candidate) for request, candidate in jobs], dtype=torch.int64, device=device
        )
        canvas = Canvas(ids=prompt.ids.to(device), given=prompt.given.to(device))
        ids = self.diffusion.sample(canvas, Noise(seeds), visited, self.sampling_denoiser())
        return [tuple(row) for row in self.layout.targets(Canvas(ids=ids, given=canvas.given))]

    def sampling_denoiser(self) -> Denoiser:
        """The denoiser that samplers call; systems wrap it."""
        return self.diffusion.denoiser

    def _answers(
        self, requests: Sequence[Request], rows: Sequence[tuple[int, ...]], *, calls: int, steps: int, positions: int
    ) -> list[Generation]:
        answers = []
        start = 0
        for request in requests:
            ends = [finished(row[: request.max_tokens]) for row in rows[start : start + request.n]]
            start += request.n
            answers.append(Generation(
                id=request.id, texts=tuple(self.task.tokenizer.decode(ids) for ids, _ in ends), ids=tuple(ids for ids, _ in ends),
                finish_reasons=tuple(reason for _, reason in ends), network_calls=calls, steps_used=steps,
                positions_processed=positions,
            ))  # fmt: skip
        return answers

    def likelihood(self, examples: Sequence[Example]) -> Likelihood | None:
        """A bound where the system has one; `None` unless it is overridden."""
        return None

    def size_in_bytes(self, examples: Sequence[Example]) -> tuple[int, ...]:
        """UTF-8 bytes of the targets."""
        return tuple(len(example.target.encode()) for example in examples)


def merged(size: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Size keys with their defaults.

    Raises:
        ValueError: a key that the model does not know.
    """
    unknown = sorted(set(size) - set(defaults))
    if unknown:
        raise ValueError(f"unknown key {', '.join(unknown)}; this model knows {', '.join(sorted(defaults))}")
    return {**defaults, **size}
