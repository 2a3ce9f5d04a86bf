"""What a grid file may say: every key, its type and its default, in one place."""

import json
import math
import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, Strict, model_validator

from harness.contracts import Sampling
from harness.design import Family

Kind = Literal["tokenize", "fit", "likelihood", "generate", "select", "score", "time"]
Item = TypeVar("Item")
MOST = 10**18
Many = Annotated[tuple[Item, ...], Strict(False), Field(min_length=1)]


class Section(BaseModel):
    """A strict, immutable part of a grid file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _option(value: object) -> object:
    try:
        return _plain(value)
    except RecursionError as error:
        raise ValueError("a list or map that holds itself is no plain value") from error


def _plain(value: object) -> object:
    """A value that means the same in every process and in every key: what JSON can say."""
    if isinstance(value, str):
        value.encode()
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError(f"{value!r} is none of text, finite number, true, false, null, list, map with text as keys")


class OpenSection(BaseModel):
    """A part whose further keys belong to a plug-in; they are its `options`.

    Attributes:
        place: "file:line: " where it stands; empty for parts that were not read from a file.
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)
    __pydantic_extra__: dict[str, Annotated[Any, AfterValidator(_option)]] = Field(init=False)
    _place: str = PrivateAttr(default="")

    @property
    def options(self) -> dict[str, Any]:
        """Keys that are not the harness's own."""
        return dict(self.model_extra or {})

    @property
    def place(self) -> str:
        """See the class."""
        return self._place

    def put(self, place: str) -> None:
        """Say where it stands."""
        self._place = place


def _named(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


def bracketed(name: str, options: dict[str, Any]) -> str:
    """`name[key=value,...]`, or the bare name where there are no options."""
    inside = ",".join(f"{key}={value}" for key, value in sorted(options.items()))
    return f"{name}[{inside}]" if inside else name


class PluginEntry(OpenSection):
    """A plug-in: its registered name or `file.py:Name`, an optional label, and keys that its class takes."""

    name: str
    label: str = ""

    @cached_property
    def described(self) -> str:
        """What it is, whatever it is called."""
        return bracketed(self.name.rpartition(":")[2], self.options)

    @cached_property
    def title(self) -> str:
        """How rows name it."""
        return self.label or self.described

    @cached_property
    def content(self) -> str:
        """Name and keys in one text: equal texts, equal plug-ins."""
        return json.dumps([self.name, self.options], sort_keys=True)


class ModelEntry(PluginEntry):
    """A model."""


class TaskEntry(PluginEntry):
    """A task, restricted to some families or open to all that it has."""

    families: Annotated[tuple[Family, ...], Strict(False)] = ()

    @model_validator(mode="before")
    @classmethod
    def _split_family(cls, value: object) -> object:
        if isinstance(value, str):
            name, _, family = value.rpartition(":")
            file = family.isidentifier() and name.endswith(".py")
            return {"name": name, "families": [family]} if name and not file else {"name": value}
        return value


class ScheduleEntry(OpenSection):
    """A schedule: "native" for the paper's own, a specification ("sqrt@2000"), or a name with parameters."""

    name: str

    @property
    def specification(self) -> str | dict[str, Any]:
        """What `harness.schedules.names.build` takes."""
        return {"name": self.name, **self.options} if self.options else self.name


class BudgetEntry(Section):
    """Training budget: positions of canvas seen, and a target number of parameters.

    A source that stands on the canvas counts; one that an encoder or a prefix reads does not.
    """

    tokens: Annotated[int, Field(ge=0, le=MOST)]
    parameters: Annotated[int, Field(gt=0, le=MOST)] | None = None


class DecodeEntry(Section):
    """One way of decoding; candidates above 1 need a way to select."""

    name: str = ""
    method: Literal["sample", "greedy", "beam"] = "sample"
    temperature: Annotated[float, Field(gt=0)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    beams: Annotated[int, Field(ge=1)] = 1
    candidates: Annotated[int, Field(ge=1)] = 1
    select: Literal["first", "mbr"] = "first"

    @model_validator(mode="after")
    def _settings_have_an_effect(self) -> "DecodeEntry":
        if self.method == "beam" and self.beams < 2:
            raise ValueError("method 'beam' needs beams: 2 or more")
        if self.method != "beam" and self.beams > 1:
            raise ValueError(f"beams has no effect with method {self.method!r}")
        if self.method != "sample" and (self.temperature, self.top_p) != (1.0, 1.0):
            raise ValueError(f"temperature and top_p have no effect with method {self.method!r}: they need 'sample'")
        if self.method != "sample" and self.candidates > 1:
            raise ValueError(f"method {self.method!r} gives the same text every time: candidates above 1 need 'sample'")
        if (self.select == "first") != (self.candidates == 1):
            raise ValueError("candidates above 1 and select: mbr belong together")
        return self

    @cached_property
    def title(self) -> str:
        """How rows name it: the given name, or one made of what differs from plain sampling."""
        parts = [f"beam{self.beams}" if self.method == "beam" else self.method]
        parts += [f"t{self.temperature:g}"] * (self.temperature != 1) + [f"p{self.top_p:g}"] * (self.top_p != 1)
        parts += [f"{self.select}{self.candidates}"] * (self.candidates > 1)
        return self.name or "-".join(parts)

    def sampling(self, steps: int | None) -> Sampling:
        """What the model is told."""
        return Sampling(steps=steps, method=self.method, temperature=self.temperature, top_p=self.top_p, beams=self.beams)


class NumericsEntry(Section):
    """Numerics under which a cell of each task and family is sampled again: the noise floor of its values.

    It is the first cell of a trained model; without one the first of all, and another dtype becomes a skipped cell.
    """

    micro_batch: Annotated[int, Field(ge=1)] | None = None
    threads: Annotated[int, Field(ge=1)] | None = None
    dtype: Literal["float64", "bfloat16", "float16"] | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> "NumericsEntry":
        if not self.settings:
            raise ValueError("numerics that change nothing show no noise: give micro_batch, threads or dtype")
        return self

    @cached_property
    def settings(self) -> dict[str, int | str]:
        """What is given."""
        return self.model_dump(exclude_none=True)

    @cached_property
    def title(self) -> str:
        """How rows name it."""
        return ",".join(f"{name}={value}" for name, value in self.settings.items())


class JudgeEntry(OpenSection):
    """The judge: by default the model `judge`, with twice the largest budget of a contestant."""

    name: str = "judge"
    tokens: Annotated[int, Field(ge=0, le=MOST)] | None = None
    parameters: Annotated[int, Field(gt=0, le=MOST)] | None = None

    @cached_property
    def model(self) -> ModelEntry:
        """The model, with its keys."""
        entry = ModelEntry.model_validate({"name": self.name, **self.options})
        entry.put(self.place)
        return entry


class LatencyEntry(Section):
    """Latency passes: batch 1, and each larger batch size beside it; "largest" is what a GPU's memory holds."""

    batches: Many[Annotated[int, Field(ge=1)] | Literal["largest"]] = (1, 16)

    @model_validator(mode="after")
    def _one_is_larger(self) -> "LatencyEntry":
        if all(batch == 1 for batch in self.batches):
            raise ValueError("batch 1 is timed beside a larger batch: name one, such as [1, 16]")
        return self


class Resources(Section):
    """What one stage takes. GPUs may be a fraction (quality stages share a device); memory is in GiB."""

    cpus: Annotated[float, Field(gt=0)] = 1.0
    gpus: Annotated[float, Field(ge=0)] = 0.0
    memory: Annotated[float, Field(gt=0)] | None = None
    micro_batch: Annotated[int, Field(ge=1)] = 64


class Limits(Section):
    """How long one stage may take, and how often a lost worker is forgiven."""

    seconds: Annotated[float, Field(gt=0)] = 86_400.0
    retries: Annotated[int, Field(ge=0)] = 2


BASELINES = ("baseline", "best_baseline")
_RESOURCES, _LIMITS = Resources(), Limits()


def _name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", value):
        raise ValueError("a grid's name is a file's name: letters, digits, '.', '_' and '-', at most 100, no sign first")
    return value


def _budgets(value: object) -> object:
    """One budget stands for all where it is not a map of maps."""
    if not isinstance(value, dict) or not value:
        return value
    single = "tokens" in value or "parameters" in value or not any(isinstance(item, dict) for item in value.values())
    return {"default": value} if single else value


def _latency(value: object) -> object:
    return {} if value is True else value


class Grid(Section):
    """A benchmark: the product of its axes, and how it is measured.

    Attributes:
        grid: name; the file's stem by default.
        budget: one for all under "default", or one per model label.
        latency: `False` switches latency passes off; `None` leaves it to the profile.
        numerics: ways of sampling one cell of each task and family again, to know the noise floor.
        baseline: label of the autoregressive model that latencies are compared with, in the same stack; the first one by default.
        best_baseline: label of the one that is the fastest to be had here, whatever its stack; for a second ratio.
        folder: where relative files are looked for: the folder of the grid file.
    """

    grid: Annotated[str, AfterValidator(_name)]
    models: Many[Annotated[ModelEntry, BeforeValidator(_named)]]
    tasks: Many[TaskEntry]
    schedules: Many[Annotated[ScheduleEntry, BeforeValidator(_named)]] = (ScheduleEntry(name="native"),)
    steps: Many[Annotated[int, Field(ge=1, le=MOST)]] = (32,)
    seeds: Many[Annotated[int, Field(ge=0)]] = (0,)
    budget: Annotated[dict[str, BudgetEntry], BeforeValidator(_budgets)]
    decode: Many[DecodeEntry] = (DecodeEntry(),)
    numerics: Annotated[tuple[NumericsEntry, ...], Strict(False)] = ()
    metrics: Literal["default"] | Many[str] = "default"
    profile: str = "quick"
    baseline: str | None = None
    best_baseline: str | None = None
    judge: JudgeEntry = JudgeEntry()
    latency: Annotated[LatencyEntry | Literal[False] | None, BeforeValidator(_latency)] = None
    resources: dict[Kind, Resources] = {}
    limits: dict[Kind, Limits] = {}
    folder: Path = Field(default=Path("."), exclude=True)
    _places: dict[str, str] = PrivateAttr(default_factory=dict)

    @property
    def baselines(self) -> dict[str, str]:
        """Key -> label of the baselines that are named."""
        return {key: label for key in BASELINES if (label := getattr(self, key)) is not None}

    def place_of(self, key: str) -> str:
        """Where a key is said, as "file:line: "; empty for grids that were not read from a file."""
        return self._places.get(key, "")

    def put(self, key: str, place: str) -> None:
        """Say where a key is said."""
        self._places[key] = place

    def budget_of(self, label: str) -> BudgetEntry:
        """The budget of a model; `reading` has made sure that there is one."""
        return self.budget.get(label) or self.budget["default"]

    def resources_of(self, kind: str) -> Resources:
        """What a stage of this kind takes."""
        return self.resources.get(kind) or _RESOURCES  # type: ignore[call-overload]

    def limits_of(self, kind: str) -> Limits:
        """How long a stage of this kind may take."""
        return self.limits.get(kind) or _LIMITS  # type: ignore[call-overload]
