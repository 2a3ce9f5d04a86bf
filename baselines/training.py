"""The one optimisation loop: every trainable model goes through it, and every run resumes from its checkpoint.

Nothing random is kept between updates: the draws of update u come from streams named after u, so a run that was killed and
resumed gives the same weights as one that was not.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from harness.contracts import Budget, FitContext, FitReport, stream_seed
from harness.errors import ModelError

Data = Mapping[str, Tensor]  # tensors with one leading dimension, the examples
SECONDS_BETWEEN_CHECKPOINTS = 30.0
CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimisation:
    """Settings of AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) with a trapezoidal learning rate.

    Attributes:
        learning_rate: the plateau.
        batch: examples per update.
        warm_up, decay: shares of the run spent rising to and falling from the plateau, linearly.
        clip: largest gradient norm; `None` = unclipped.
        ema: decay of the weight average that is kept, reached by (1 + u) / (10 + u) at update u; `None` = keep the last weights.
    """

    learning_rate: float
    batch: int
    warm_up: float = 0.05
    decay: float = 0.5
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.98)
    clip: float | None = 1.0
    ema: float | None = None

    def at_width(self, width: int) -> "Optimisation":
        """Settings for a network of this width, given those for 128: above it the learning rate falls as 1 / width.

        Yang et al. 2021 (arXiv:2203.03466), table 3: Adam's rate for hidden weights; taken for all weights here.
        """
        return replace(self, learning_rate=self.learning_rate * min(1.0, 128 / width))

    def rate_at(self, update: int, updates: int) -> float:
        """Learning rate of an update, counted from 0."""
        rise = (update + 1) / max(self.warm_up * updates, 1)
        fall = (updates - update) / max(self.decay * updates, 1)
        return self.learning_rate * min(rise, fall, 1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Draws:
    """Randomness of one batch: whole-batch draws of which a micro-batch takes its rows, so accumulation changes nothing.

    Attributes:
        seed: seed of this update.
        batch: examples of the whole batch.
        rows: those of the micro-batch at hand.
        device: where the draws are made.
        progress: share of the training's updates that are done; 1 outside training.
        kept: what was drawn once for the whole batch; shared by its micro-batches.
    """

    seed: int
    batch: int
    rows: slice
    device: torch.device
    progress: float = 1.0
    kept: dict[str, tuple[Tensor, ...]] = field(default_factory=dict, compare=False)

    def generator(self, name: str) -> torch.Generator:
        """A fresh generator at the start of a named stream."""
        return torch.Generator(self.device).manual_seed(stream_seed(self.seed, name))

    def once(self, name: str, draw: Callable[[torch.Generator], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """This micro-batch's rows of what the first micro-batch draws, whatever that has changed since."""
        if name not in self.kept:
            self.kept[name] = draw(self.generator(name))
        return tuple(map(self.take, self.kept[name]))

    def take(self, whole: Tensor) -> Tensor:
        """This micro-batch's rows of a whole-batch tensor."""
        return whole[self.rows]

    def uniform(self, name: str, *shape: int) -> Float[Tensor, "B ..."]:
        """Draws in [0, 1), float64."""
        return self.take(torch.rand(self.batch, *shape, generator=self.generator(name), device=self.device, dtype=torch.float64))

    def normal(self, name: str, *shape: int) -> Float[Tensor, "B ..."]:
        """Standard normal draws, float32."""
        return self.take(torch.randn(self.batch, *shape, generator=self.generator(name), device=self.device))


Loss = Callable[[Data, Draws], Float[Tensor, " B"]]


def train(
    module: nn.Module, loss: Loss, data: Data, *, optimisation: Optimisation, canvas: int, budget: Budget, run: FitContext,
    valid: Data | None = None,
) -> FitReport:  # fmt: skip
    """Train a module within a budget and leave the weights that are to be kept in it.

    Args:
        module: what is trained and checkpointed, with every state that training changes as parameter or buffer.
        loss: (batch, draws) -> one loss per example, in nats per position.
        data: tensors of the training examples.
        canvas: positions of one example that count towards the budget.
        valid: tensors of validation examples; the first 512 are scored at the end.

    Raises:
        ModelError: the loss is not finite; the message tells the update.
        ValueError: no examples, or a budget below one update.
    """
    examples = len(next(iter(data.values())))
    updates = budget.tokens // (optimisation.batch * canvas)
    if examples == 0 or updates == 0:
        raise ValueError(
            f"cannot train on {examples} examples with {budget.tokens} tokens: one update takes "
            f"{optimisation.batch} x {canvas} = {optimisation.batch * canvas} tokens"
        )
    state = _State(module.to(run.device), optimisation, run.folder)
    saved = time.monotonic()
    for update in range(state.resume(), updates):
        value = _update(state, loss, _batch(data, update, optimisation.batch, run), update, updates, run)
        state.note(update, updates, (update + 1) * optimisation.batch * canvas, value)
        run.progress((update + 1) / updates, value)
        if time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS and update + 1 < updates:
            state.save(update + 1)
            saved = time.monotonic()
    state.keep_average()
    parameters = sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
    positions = updates * optimisation.batch * canvas
    return FitReport(
        tokens=positions,
        parameters=parameters,
        updates=updates,
        losses=tuple(state.losses),
        valid_loss=None if valid is None else evaluate(module, loss, valid, run=run),
        flops=6.0 * parameters * positions,
        seconds=state.seconds,
    )


@torch.no_grad()
def evaluate(module: nn.Module, loss: Loss, data: Data, *, run: FitContext, limit: int = 512) -> float:
    """Mean loss of the first examples, with draws that are the same for every model."""
    module.eval()
    part = {name: tensor[:limit].to(run.device) for name, tensor in data.items()}
    size = len(next(iter(part.values())))
    seed = stream_seed(0, "valid")
    values = []
    for rows in _slices(size, 64):
        draws = Draws(seed=seed, batch=size, rows=rows, device=torch.device(run.device))
        values.append(loss({name: tensor[rows] for name, tensor in part.items()}, draws))
    return torch.cat(values).mean().item()


def _batch(data: Data, update: int, batch: int, run: FitContext) -> Data:
    """Examples of an update: consecutive parts of one permutation per epoch."""
    examples = len(next(iter(data.values())))
    places = torch.arange(update * batch, (update + 1) * batch)
    index = torch.empty(batch, dtype=torch.int64)
    for epoch in range(int(places[0]) // examples, int(places[-1]) // examples + 1):
        inside = places // examples == epoch
        order = torch.randperm(examples, generator=run.generator("data", epoch))
        index[inside] = order[places[inside] % examples]
    return {name: tensor[index].to(run.device) for name, tensor in data.items()}


def _update(state: "_State", loss: Loss, batch: Data, update: int, updates: int, run: FitContext) -> float:
    """One optimiser update, in as many micro-batches as the context asks for; returns the batch's mean loss."""
    device = torch.device(run.device)
    size = len(next(iter(batch.values())))
    seed = stream_seed(run.seed, "update", update)
    state.module.train()
    total, kept = torch.zeros((), device=device), dict[str, tuple[Tensor, ...]]()
    for rows in _slices(size, run.micro_batch or size):
        part = {name: tensor[rows] for name, tensor in batch.items()}
        with _mixed(device):
            draws = Draws(seed=seed, batch=size, rows=rows, device=device, progress=update / updates, kept=kept)
            value = loss(part, draws).sum() / size
        torch.autograd.backward(value)
        total += value.detach()
    mean = total.item()
    if not math.isfinite(mean):
        raise _diverged(mean, update, updates)
    state.step(update, updates)
    return mean


def _diverged(loss: float, update: int, updates: int) -> ModelError:
    if update == 0:
        return ModelError(
            f"the training loss is {loss} at update 1 of {updates}, before any learning rate has acted: the loss itself is not "
            "finite; look at what it computes, and at the weights that the model begins with"
        )
    return ModelError(f"the training loss became {loss} at update {update + 1} of {updates}; lower the learning rate")


def _mixed(device: torch.device) -> AbstractContextManager[None]:
    """Mixed precision where it pays.

    Casts of weights are not kept: older torch takes one that was made without gradients, for a guess or an estimate that is
    heard, in the pass that learns too, and the weight gets no gradient (pytorch issue 158232).
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda", cache_enabled=False)


def _slices(size: int, part: int) -> Iterator[slice]:
    return (slice(start, min(start + part, size)) for start in range(0, size, part))


class _State:
    """Module, optimiser and weight average, with their checkpoint."""

    def __init__(self, module: nn.Module, optimisation: Optimisation, folder: Path | None) -> None:
        self.module, self.settings, self.folder = module, optimisation, folder
        self.names = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
        self.parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self.average = [parameter.detach().clone() for parameter in self.parameters] if optimisation.ema else []
        self.optimiser = torch.optim.AdamW(
            self.parameters, lr=optimisation.learning_rate, betas=optimisation.betas, weight_decay=optimisation.weight_decay,
            fused=True,
        )  # fmt: skip
        self.losses: list[tuple[int, float]] = []
        self._before, self._begun = 0.0, time.monotonic()

    @property
    def seconds(self) -> float:
        """Time spent, in the runs before a resume too."""
        return self._before + time.monotonic() - self._begun

    def step(self, update: int, updates: int) -> None:
        if self.settings.clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.settings.clip)
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.rate_at(update, updates)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        if self.settings.ema:
            decay = min(self.settings.ema, (1 + update) / (10 + update))
            torch._foreach_lerp_(self.average, [parameter.detach() for parameter in self.parameters], 1 - decay)

    def note(self, update: int, updates: int, tokens: int, loss: float) -> None:
        """Keep about a hundred points of the loss curve."""
        if (update + 1) % max(updates // 100, 1) == 0 or update + 1 == updates:
            self.losses.append((tokens, loss))

    @torch.no_grad()
    def keep_average(self) -> None:
        for parameter, average in zip(self.parameters, self.average, strict=False):
            parameter.copy_(average)

    def save(self, update: int) -> None:
        """Write everything at once, atomically."""
        if self.folder is None:
            return
        tensors = {f"module/{name}": tensor for name, tensor in self.module.state_dict().items()}
        tensors |= {f"average/{name}": tensor for name, tensor in zip(self.names, self.average, strict=False)}
        for name, parameter in zip(self.names, self.parameters, strict=True):
            tensors |= {f"optimiser/{name}/{part}": value for part, value in self.optimiser.state[parameter].items()}
        notes = {"update": update, "losses": self.losses, "settings": asdict(self.settings), "seconds": self.seconds}
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f"{CHECKPOINT}.partial"
        unshared = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
        save_file(unshared, partial, {"notes": json.dumps(notes)})
        partial.replace(self.folder / CHECKPOINT)

    def resume(self) -> int:
        """Load the checkpoint if there is one; returns the number of updates that are done."""
        if self.folder is None or not (self.folder / CHECKPOINT).is_file():
            return 0
        with safe_open(self.folder / CHECKPOINT, "pt") as file:
            notes = json.loads(file.metadata()["notes"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if notes["settings"] != json.loads(json.dumps(asdict(self.settings))):
            return 0
        self.module.load_state_dict({name[7:]: tensor for name, tensor in tensors.items() if name.startswith("module/")})
        self._load_optimiser(tensors)
        for name, average in zip(self.names, self.average, strict=False):
            average.copy_(tensors[f"average/{name}"])
        self.losses = [(int(tokens), loss) for tokens, loss in notes["losses"]]
        self._before = notes["seconds"]
        return int(notes["update"])

    def _load_optimiser(self, tensors: Mapping[str, Int[Tensor, "..."] | Float[Tensor, "..."]]) -> None:
        state = self.optimiser.state_dict()
        state["state"] = {
            index: {part: tensors[f"optimiser/{name}/{part}"] for part in ("step", "exp_avg", "exp_avg_sq")}
            for index, name in enumerate(self.names)
        }
        self.optimiser.load_state_dict(state)
