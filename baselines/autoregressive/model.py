"""What the autoregressive text models share: training, generation, exact likelihood."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import lcm
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from baselines.adapter import SavedModel, finished, merged
from baselines.autoregressive.beam import beam_search
from baselines.autoregressive.decoding import Choose, Draw, Writer, greedy, write
from baselines.encoding import sizes_in_bytes, targets
from baselines.networks.initialise import initialise
from baselines.networks.sizes import width_for
from baselines.parts.randomness import Noise
from baselines.training import Data, Draws, Optimisation, train
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
from harness.schedules.base import Schedule
from harness.tokenizer import EOS, PAD

SCORED_TOGETHER = 64  # texts whose likelihood is computed at once


class Autoregressive(SavedModel, nn.Module, ABC):
    """A `TextModel` that writes token by token; a subclass brings the network and says how a condition enters.

    Args:
        schedule: nothing is scheduled; must be `None`.
        task: how text becomes ids.
        size: keys of `defaults`.

    Attributes:
        defaults: width, layers, heads, dropout, examples per update (batch), and the plateau of the learning rate at width 128.
        network: what is trained.
    """

    design: Design
    defaults: ClassVar[Mapping[str, Any]] = {
        "width": 128, "layers": 4, "heads": 4, "dropout": 0.0, "batch": 32, "learning_rate": 3e-3,
    }  # fmt: skip

    def __init__(self, schedule: Schedule | None, task: TaskView, **size: Any) -> None:
        super().__init__()
        if schedule is not None:
            raise ValueError(f"{self.design.name} has no noise schedule, but got {schedule.specification!r}")
        self.measures = merged(size, self.defaults)
        self.network = self.build(len(task.tokenizer), **self.measures)
        self._packed: tuple[tuple[int, ...], Any] | None = None

    # --- what a subclass says ---------------------------------------------------------------------------------------
    @classmethod
    @abstractmethod
    def build(cls, vocabulary: int, **measures: Any) -> nn.Module:
        """The network."""

    @abstractmethod
    def tensors(self, texts: Sequence[list[int]], items: Sequence[Example]) -> Data:
        """Tensors of training or scoring examples, one row each, whose target ids are `texts`."""

    @abstractmethod
    def nats(self, batch: Data) -> Float[Tensor, " B"]:
        """Negative log-likelihood of each row's target."""

    @abstractmethod
    def pack(self) -> Any:
        """The network's weights, laid out for decoding."""

    @abstractmethod
    def prompts(self, requests: Sequence[Request]) -> list[list[int]]:
        """Ids that are read before the first token is written."""

    def positions_before(self, prompt: list[int]) -> int:
        """Positions that go through the network before the first token is written: the prompt."""
        return len(prompt)

    @abstractmethod
    def start(self, packed: Any, prompts: list[list[int]], *, capacity: int, forbidden: tuple[int, ...]) -> Writer:
        """Read prompts; `capacity` tokens may follow them."""

    # --- size --------------------------------------------------------------------------------------------------------
    @classmethod
    def design_for(cls, **size: Any) -> Design:
        """The one design, whatever these keys say; they are checked.

        Raises:
            ValueError: a key that the model does not know, or a value that it cannot take.
        """
        merged(size, cls.defaults)
        return cls.design

    @classmethod
    def size_for(cls, parameters: int, task: TaskView, **size: Any) -> dict[str, Any]:
        """Keys of a model with about so many parameters: the width is free, all else as given.

        Raises:
            ValueError: a width is given as well, or no width meets the target.
        """
        if "width" in size:
            raise ValueError(f"width {size['width']} and a target of {parameters} parameters exclude each other: drop one")
        measures = merged(size, cls.defaults)
        multiple = lcm(8, 2 * measures["heads"])
        width = width_for(
            parameters, lambda width: cls.build(len(task.tokenizer), **{**measures, "width": width}), multiple=multiple
        )
        return {**size, "width": width}

    # --- training ----------------------------------------------------------------------------------------------------
    @property
    def optimisation(self) -> Optimisation:
        """Settings of the one training loop."""
        rate, batch = self.measures["learning_rate"], self.measures["batch"]
        return Optimisation(learning_rate=rate, batch=batch, weight_decay=0.01).at_width(self.measures["width"])

    def fit(self, train_examples: Sequence[Example], valid: Sequence[Example], budget: Budget, run: FitContext) -> FitReport:
        """Train within the budget."""
        initialise(self.network, run.generator("init"))
        self._packed = None
        return train(
            self, self._loss, self._data(train_examples), optimisation=self.optimisation, canvas=self.task.max_tokens,
            budget=budget, run=run, valid=self._data(valid) if valid else None,
        )  # fmt: skip

    def _data(self, examples: Sequence[Example]) -> Data:
        return self.tensors(targets(self.task, examples), examples)

    def _loss(self, batch: Data, draws: Draws) -> Float[Tensor, " B"]:
        """Nats per position of the canvas, so that every token weighs the same."""
        return self.nats(batch) / self.task.max_tokens

    # --- likelihood --------------------------------------------------------------------------------------------------
    def likelihood(self, examples: Sequence[Example]) -> Likelihood:
        """Exact likelihood of targets, EOS included, cut to the task's canvas; bytes are those of the text that was scored."""
        texts = targets(self.task, examples)
        return self._likelihood(texts, examples, sizes_in_bytes(self.task, examples, texts))

    def _likelihood(self, texts: Sequence[list[int]], items: Sequence[Example], sizes: Sequence[int]) -> Likelihood:
        self.eval()
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        nats = torch.zeros(len(texts), dtype=torch.float64)
        for part in _parts(order, SCORED_TOGETHER):
            batch = self.tensors([texts[place] for place in part], [items[place] for place in part])
            with torch.inference_mode():
                nats[part] = self.nats({name: tensor.to(self._device) for name, tensor in batch.items()}).cpu().double()
        lengths = tuple(len(text) for text in texts)
        return Likelihood(nats=tuple(nats.tolist()), tokens=lengths, bytes=tuple(sizes), kind="exact", estimator="ar-exact")

    # --- generation --------------------------------------------------------------------------------------------------
    def generate(self, requests: Sequence[Request], settings: Sampling) -> list[Generation]:
        """Answer every request; each candidate of a request has a noise stream of its own.

        A beam search is one evaluation per token whatever its width, and the prompt is read once for all beams.

        Raises:
            ValueError: settings out of range, or more candidates than beams.
        """
        self.eval()
        if settings.method == "beam":
            return self._search(requests, settings)
        jobs = [(place, candidate) for place, request in enumerate(requests) for candidate in range(request.n)]
        prompts = self.prompts(requests)
        order = sorted(range(len(jobs)), key=lambda job: len(prompts[jobs[job][0]]))
        written: dict[int, list[int]] = {}
        for part in _parts(order, settings.micro_batch):
            chosen = [jobs[job] for job in part]
            limits = [requests[place].max_tokens for place, _ in chosen]
            seeds = [stream_seed(requests[place].seed, candidate) for place, candidate in chosen]
            writer = self._start([prompts[place] for place, _ in chosen], settings, limits)
            written |= zip(part, write(writer, self._choose(settings, seeds, max(limits)), limits=limits), strict=True)
        answers: list[list[list[int]]] = [[] for _ in requests]
        for job, (place, _) in enumerate(jobs):
            answers[place].append(written[job])
        return [self._sampled(*answer) for answer in zip(requests, prompts, answers, strict=True)]

    def _sampled(self, request: Request, prompt: list[int], texts: list[list[int]]) -> Generation:
        """Each candidate counts by itself: a text of k tokens takes k calls, the first of which reads the prompt."""
        positions = sum(self.positions_before(prompt) + len(text) - 1 for text in texts)
        return self._generation(request, texts, calls=sum(map(len, texts)), positions=positions)

    def _search(self, requests: Sequence[Request], settings: Sampling) -> list[Generation]:
        most = max((request.n for request in requests), default=0)
        if most > settings.beams:
            raise ValueError(f"{most} candidates were asked of {settings.beams} beams; raise `beams` or lower the candidates")
        prompts = self.prompts(requests)
        order = sorted(range(len(requests)), key=lambda place: len(prompts[place]))
        found: dict[int, Generation] = {}
        for part in _parts(order, max(1, settings.micro_batch // settings.beams)):
            limits = [requests[place].max_tokens for place in part]
            writer = self._start([prompts[place] for place in part], settings, limits)
            for place, search in zip(part, beam_search(writer, beams=settings.beams, limits=limits), strict=True):
                texts = search.best()[: requests[place].n]
                positions = self.positions_before(prompts[place]) + settings.beams * (search.steps - 1)
                found[place] = self._generation(requests[place], texts, calls=search.steps, positions=positions)
        return [found[place] for place in range(len(requests))]

    def _start(self, prompts: list[list[int]], settings: Sampling, limits: list[int]) -> Writer:
        forbidden = (EOS, PAD) if settings.fixed_length else ()
        with torch.inference_mode():
            return self.start(self._weights(), prompts, capacity=max(limits) - 1, forbidden=forbidden)

    def _choose(self, settings: Sampling, seeds: list[int], length: int) -> Choose:
        if settings.method == "greedy":
            return greedy
        noise = Noise(torch.tensor(seeds, dtype=torch.int64, device=self._device))
        return Draw(noise, length, temperature=settings.temperature, top_p=settings.top_p)

    def _generation(self, request: Request, texts: Sequence[list[int]], *, calls: int, positions: int) -> Generation:
        ends = [finished(text) for text in texts]
        return Generation(
            id=request.id,
            texts=tuple(self.task.tokenizer.decode(ids) for ids, _ in ends),
            ids=tuple(ids for ids, _ in ends),
            finish_reasons=tuple(reason for _, reason in ends),
            network_calls=calls,
            positions_processed=positions,
        )

    def _weights(self) -> Any:
        """Packed weights, made anew when parameters were changed or moved since."""
        state = tuple(number for parameter in self.parameters() for number in (parameter.data_ptr(), parameter._version))
        if self._packed is None or self._packed[0] != state:
            self._packed = (state, self.pack())
        return self._packed[1]

    @property
    def _device(self) -> torch.device:
        return next(self.parameters()).device


def _parts(order: list[int], size: int) -> Iterator[list[int]]:
    return (order[start : start + size] for start in range(0, len(order), size))


def right_padded(rows: Sequence[Sequence[int]]) -> Int[Tensor, "B L"]:
    """Rows of one length, PAD at the end, int32 to save memory."""
    longest = max(map(len, rows), default=0)
    return torch.tensor([[*row, *[PAD] * (longest - len(row))] for row in rows], dtype=torch.int32).view(len(rows), longest)


def left_padded(rows: Sequence[Sequence[int]], device: torch.device) -> Int[Tensor, "B L"]:
    """Rows of one length, PAD at the front."""
    longest = max(map(len, rows))
    return torch.tensor([[*[PAD] * (longest - len(row)), *row] for row in rows], device=device)


def scored_nats(
    hidden: Float[Tensor, "B L D"], head: Callable[[Tensor], Tensor], tokens: Int[Tensor, "B L"], lengths: Int[Tensor, "B 2"]
) -> Float[Tensor, " B"]:
    """Negative log-likelihood of the tokens between two places of each row; only their logits are computed.

    Args:
        hidden: states from which the token at the same place is predicted.
        head: hidden states to logits.
        tokens: what is predicted.
        lengths: first place that counts, and the one after the last.
    """
    places = torch.arange(tokens.shape[1], device=tokens.device)
    scored = (places >= lengths[:, :1]) & (places < lengths[:, 1:])
    losses = cross_entropy(head(hidden[scored]).float(), tokens[scored], reduction="none")
    rows = scored.nonzero()[:, 0]
    return losses.new_zeros(len(tokens)).index_add(0, rows, losses)
