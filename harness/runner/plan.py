"""From a grid to a graph of content-addressed stages; nothing is computed here."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from harness.contracts import Checkpoint, Pretraining, Task
from harness.errors import GridError
from harness.grid.catalogue import Catalogue
from harness.grid.expansion import Cell, expand, schedule_name
from harness.grid.schema import Grid, LatencyEntry, ModelEntry, TaskEntry
from harness.latency.timings import LARGEST, VERSION
from harness.metrics.profiles import Profile, profile
from harness.registry import Group
from harness.runner.estimates import estimate
from harness.runner.hardware import fingerprint
from harness.runner.keys import bare, decoding_of, sampler_of, sampling_of, schedule_of, selection_of
from harness.runner.planned import Plan, PlannedCell
from harness.runner.stage import Source, Spec, Stage, canonical, digest_of
from harness.tracking.records import Store

JUDGE_FACTOR = 2
LEAST_LATENCY_REQUESTS = 8


def make_plan(grid: Grid, store: Store | None = None, *, hardware: str | None = None) -> Plan:
    """Expand a grid and say which stages it takes.

    Args:
        grid: as read.
        store: to tell what is finished, and how long texts get where they are cut already; `None` looks nowhere.
        hardware: fingerprint of the machine on which latencies are measured; `None` = this one.

    Raises:
        GridError: a name, an option or a combination that cannot be.
        DataError: a data file is missing or corrupt.
    """
    catalogue = Catalogue(grid.folder)
    if grid.judge.options:
        catalogue.design(grid.judge.model)
    planner = _Planner(grid, catalogue, expand(grid, catalogue), hardware, store)
    everything = [planner.planned(planner.checked(cell)) for cell in planner.cells]
    finished = frozenset(store.keys()[0] & planner.stages.keys()) if store is not None else frozenset()
    left = [stage for key, stage in planner.stages.items() if key not in finished]
    return Plan(grid.grid, everything, planner.stages, finished, planner.awaited, estimate(left, planner.counted))


@dataclass(frozen=True, slots=True)
class _Scoring:
    """What the score stages of all cells of a task and family have in common."""

    role: str
    spec: Mapping[str, Any]
    needs: Sequence[str]
    sources: Mapping[str, Source]
    seeded: dict[int, Spec] = field(default_factory=dict)

    def spec_of(self, seed: int) -> Spec:
        """What the stages of a seed share."""
        if seed not in self.seeded:
            self.seeded[seed] = Spec(self.spec, seed=seed)
        return self.seeded[seed]


class _Planner:
    """Makes the stages of one grid, each of them once."""

    def __init__(self, grid: Grid, catalogue: Catalogue, cells: list[Cell], hardware: str | None, store: Store | None) -> None:
        self.grid, self.catalogue, self.cells, self.store = grid, catalogue, cells, store
        self.profile: Profile = profile(grid.profile)
        self.batches = batches(grid, self.profile)
        gpus = grid.resources_of("time").gpus
        self.hardware = (hardware or fingerprint(gpus)) if self.batches else ""
        self.stages: dict[str, Stage] = {}
        self.counted: set[str] = set()
        self.budgets = {label: grid.budget_of(label).model_dump() for label in self._labels()}
        self.badges = ["unmatched: compute"] if len(set(map(canonical, self.budgets.values()))) > 1 else []
        self._sources: dict[tuple[Group, str], Source] = {}
        self._designs: dict[str, dict[str, Any]] = {}
        self._lengths: dict[str, int | None] = {}
        self._tokenized: dict[tuple[str, str, str, Checkpoint | None], Stage] = {}
        self._fitted: dict[tuple[str, str, Any, int], Stage] = {}
        self._pretrained: dict[tuple[str, str], Stage] = {}
        self._judges: dict[tuple[str, str], Stage] = {}
        self._generations: dict[tuple[Any, ...], Spec] = {}
        self._scorings: dict[tuple[str, str, str], list[_Scoring]] = {}
        for task in {(cell.task.name, cell.task.title): cell.task for cell in cells}.values():
            catalogue.task(task).check()

    def stage(self, kind: str, spec: Mapping[str, Any], inputs: Mapping[str, str], sources: Mapping[str, Source]) -> Stage:
        grid = self.grid
        made = Stage.make(kind, spec, inputs, sources=sources, resources=grid.resources_of(kind), limits=grid.limits_of(kind))
        return self.stages.setdefault(made.key, made)

    def source(self, group: Group, name: str) -> Source:
        if (group, name) not in self._sources:
            target = self.catalogue.target(group, name)
            self._sources[group, name] = Source(target, target.text)
        return self._sources[group, name]

    def digest(self, cell: Cell) -> str:
        """Key of a cell: everything that tells it from others, whatever grid it stands in."""
        schedule = schedule_of(cell.schedule) if cell.schedule else None
        decode = decoding_of(cell.decode)
        model = (
            self.source("models", cell.model.name).target.origin,
            bare(cell.model.name),
            cell.model.options,
            cell.design.version,
        )
        task = bare(cell.task.name), cell.task.options, cell.family
        budget = self.budgets[cell.model.title]
        more: list[Any] = [sampler_of(cell.design)] if cell.design.sampler_version > 1 else []
        more += [cell.numerics.settings] if cell.numerics else []
        asked = self.catalogue.begins_with(cell.model)
        if isinstance(asked, Pretraining):
            entry = _entry_of(asked)
            more.append([bare(entry.name), entry.options, asked.tokens, self.catalogue.design(entry).version])
        return digest_of("cell", model, task, schedule, cell.steps, cell.seed, decode, budget, self.grid.profile, *more)[:32]

    def settings(self, cell: Cell) -> dict[str, Any]:
        """The decode card of a cell."""
        if cell.model.title not in self._designs:
            self._designs[cell.model.title] = asdict(cell.design)
        return {
            "design": self._designs[cell.model.title], "model_options": cell.model.options, "task_options": cell.task.options,
            "origin": self.source("models", cell.model.name).target.origin, "profile": self.grid.profile,
            "budget": self.budgets[cell.model.title], "decode": decoding_of(cell.decode),
            "native_schedule": cell.schedule is None or schedule_name(cell.schedule) == cell.design.schedule,
            "badges": [*self.badges, *(["unmatched: pretraining"] if self.catalogue.begins_with(cell.model) else [])],
            **self._again(cell), **self._brought(cell),
        }  # fmt: skip

    def _brought(self, cell: Cell) -> dict[str, Any]:
        """The checkpoint that a model begins with; nothing for others."""
        asked = self.catalogue.begins_with(cell.model)
        return {"plm": asdict(asked)} if isinstance(asked, Checkpoint) else {}

    def _again(self, cell: Cell) -> dict[str, Any]:
        """Which cell it is once more, and under which numerics; nothing for cells that stand for themselves."""
        if cell.numerics is None:
            return {}
        return {"numerics": cell.numerics.settings, "again_of": self.digest(replace(cell, numerics=None))}

    def _labels(self) -> list[str]:
        return [entry.title for entry in self.grid.models]

    @property
    def awaited(self) -> frozenset[str]:
        """See `Plan`."""
        return frozenset(key for key, length in self._lengths.items() if length is None)

    def checked(self, cell: Cell) -> Cell:
        """A cell, skipped where its model needs more steps for texts as long as those of its task."""
        needed = self.catalogue.least_steps(cell.model)
        if cell.reason is not None or cell.steps is None or needed is None:
            return cell
        length = self._length(self._tokenize_for(cell).key)
        if length is None or cell.steps >= (least := needed(length)):
            return cell
        return replace(cell, reason=f"{cell.model.title} needs {least} steps at least for texts of {length} tokens")

    def _length(self, key: str) -> int | None:
        """Tokens of the longest target of a task that is cut already."""
        if key not in self._lengths:
            found = self.store.record(key) if self.store is not None else None
            self._lengths[key] = None if found is None else int(found.result["max_tokens"])
        return self._lengths[key]

    def planned(self, cell: Cell) -> PlannedCell:
        """A cell with all its stages, none where it is skipped."""
        if cell.reason is not None:
            return PlannedCell(cell, self.digest(cell), {}, self.settings(cell))
        pretrained = self._pretrain(cell)
        begun = {} if pretrained is None else {"pretrain": pretrained}
        tokenized, own = self._tokenize(cell.task, cell.family), self._tokenize_for(cell)
        brought = {} if own is tokenized else {"tokenize/own": own}
        roles = {"tokenize": tokenized, **brought, **begun, "fit": self._fit(cell)}
        scorings = self._scorings_of(cell)
        needs = {need for scoring in scorings for need in scoring.needs}
        if "likelihood" in needs and cell.design.likelihood_on(cell.schedule.grain if cell.schedule else None) is not None:
            roles["likelihood"] = self._likelihood(cell, roles)
        roles["generate"] = self._generate(cell, roles)
        inputs = {"generate": roles["generate"].key}
        roles["select"] = self.stage("select", selection_of(cell), inputs, {})
        if "judge" in needs:
            roles["judge"] = self._judge(cell)
        for scoring in scorings:
            needed = [need for need in scoring.needs if need in roles]
            inputs = _keys(roles, "tokenize", "generate", "select", *needed)
            roles[scoring.role] = self.stage("score", scoring.spec_of(cell.seed), inputs, scoring.sources)
        for batch in self.batches if cell.design.is_trained and not cell.numerics else ():
            roles[f"time/{batch}"] = self._time(cell, batch, roles)
        keys = {role: stage.key for role, stage in roles.items()}
        return PlannedCell(cell, self.digest(cell), keys, self.settings(cell), self._needs(cell, roles))

    def _needs(self, cell: Cell, roles: Mapping[str, Stage]) -> dict[str, str]:
        """Inputs of a cell's stages that are not its own: those of its judge, and the baseline that it is timed beside."""
        own = {stage.key for stage in roles.values()}
        found = ((role, name, key) for role, stage in roles.items() for name, key in stage.inputs.items() if key not in own)
        return {f"{role}: its {self._noun(cell, name)}": key for role, name, key in found}

    def _noun(self, cell: Cell, name: str) -> str:
        found = self._baselines(cell).get(name)
        return f"{name.replace('_', ' ')} {found.model.title}" if found is not None else name

    def _tokenize_for(self, cell: Cell) -> Stage:
        """The task as a cell's model sees it: in the tokens of the checkpoint that it begins with, else in the task's own."""
        asked = self.catalogue.begins_with(cell.model)
        return self._tokenize(cell.task, cell.family, asked if isinstance(asked, Checkpoint) else None)

    def _tokenize(self, task: TaskEntry, family: Any, brought: Checkpoint | None = None) -> Stage:
        identity = task.name, task.title, family, brought
        if identity not in self._tokenized:
            source = self.source("tasks", task.name)
            spec = {
                "task": bare(task.name), "origin": source.target.origin, "options": task.options, "family": family,
                "fingerprint": self.catalogue.fingerprint(task, family), **({"tokenizer": asdict(brought)} if brought else {}),
            }  # fmt: skip
            self._tokenized[identity] = self.stage("tokenize", spec, {}, {"task": source})
        return self._tokenized[identity]

    def _fit_spec(
        self, entry: ModelEntry, version: int, schedule: Any, budget: Mapping[str, Any], seed: int, fold: str
    ) -> dict[str, Any]:
        return {
            "model": bare(entry.name), "origin": self.source("models", entry.name).target.origin, "version": version,
            "options": self.catalogue.split(entry)[0], "schedule": schedule, "budget": budget, "seed": seed, "fold": fold,
        }  # fmt: skip

    def _fit(self, cell: Cell) -> Stage:
        tokenized, schedule = self._tokenize_for(cell).key, schedule_of(cell.schedule) if cell.schedule else None
        identity = cell.model.title, tokenized, schedule, cell.seed
        if identity not in self._fitted:
            budget = self.budgets[cell.model.title]
            spec = self._fit_spec(cell.model, cell.design.version, schedule, budget, cell.seed, "train")
            pretrained = self._pretrain(cell)
            begun = {} if pretrained is None else {"pretrain": pretrained.key}
            self._fitted[identity] = self.stage("fit", spec, {"tokenize": tokenized, **begun}, self._sources_of(cell))
            self.counted |= set() if cell.design.is_trained else {self._fitted[identity].key}
        return self._fitted[identity]

    def _pretrain(self, cell: Cell) -> Stage | None:
        """The training of the model that a cell's begins with: with one seed, of the same size where a size is asked for."""
        asked, tokenized = self.catalogue.begins_with(cell.model), self._tokenize(cell.task, cell.family)
        if not isinstance(asked, Pretraining):
            return None
        identity = cell.model.title, tokenized.key
        if identity not in self._pretrained:
            self._pretrained[identity] = self._pretrain_fit(cell, asked, tokenized)
        return self._pretrained[identity]

    def _pretrain_fit(self, cell: Cell, asked: Pretraining, tokenized: Stage) -> Stage:
        entry = _entry_of(asked)
        budget = {**self.budgets[cell.model.title], **({} if asked.tokens is None else {"tokens": asked.tokens})}
        spec = self._fit_spec(entry, self.catalogue.design(entry).version, None, budget, 0, "train")
        sources = {"model": self.source("models", entry.name), "task": self.source("tasks", cell.task.name)}
        return self.stage("fit", spec, {"tokenize": tokenized.key}, sources)

    def _sources_of(self, cell: Cell) -> dict[str, Source]:
        return {"model": self.source("models", cell.model.name), "task": self.source("tasks", cell.task.name)}

    def _items(self, cell: Cell) -> dict[str, Any]:
        items, samples = self.profile.size(cell.family)
        return {"items": items, "samples": samples, "choice": "sha256"}

    def _likelihood(self, cell: Cell, roles: Mapping[str, Stage]) -> Stage:
        spec = {**self._items(cell), "seed": cell.seed}
        return self.stage("likelihood", spec, self._trained(cell, roles), self._sources_of(cell))

    def _generate(self, cell: Cell, roles: Mapping[str, Stage]) -> Stage:
        identity = cell.family, cell.seed, cell.decode, cell.steps, cell.model.title, cell.numerics
        if identity not in self._generations:
            self._generations[identity] = Spec(
                self._items(cell), seed=cell.seed, candidates=cell.decode.candidates,
                sampling=sampling_of(cell.decode, cell.steps), **self._loaded_with("keys", cell.model),
                **({"numerics": cell.numerics.settings} if cell.numerics else {}), **sampler_of(cell.design),
            )  # fmt: skip
        return self.stage("generate", self._generations[identity], self._trained(cell, roles), self._sources_of(cell))

    def _trained(self, cell: Cell, roles: Mapping[str, Stage]) -> dict[str, str]:
        """Keys of a trained model and of the task as it sees it."""
        return {"tokenize": self._tokenize_for(cell).key, "fit": roles["fit"].key}

    def _loaded_with(self, name: str, entry: ModelEntry) -> dict[str, Any]:
        """What a stage says of the keys with which it loads a trained model; nothing where there are none."""
        keys = self.catalogue.split(entry)[1]
        return {name: keys} if keys else {}

    def _judge(self, cell: Cell) -> Stage:
        identity = cell.task.name, cell.task.title
        if identity not in self._judges or "ucg" not in self.catalogue.task(cell.task).families:
            self._judges[identity] = self._judge_fit(cell)
        return self._judges[identity]

    def _judge_fit(self, cell: Cell) -> Stage:
        judge, budget = self.grid.judge, judge_budget(self.grid)
        family = "ucg" if "ucg" in self.catalogue.task(cell.task).families else cell.family
        spec = self._fit_spec(judge.model, self.catalogue.design(judge.model).version, None, budget, 0, "judge")
        sources = {"model": self.source("models", judge.name), "task": self.source("tasks", cell.task.name)}
        return self.stage("fit", spec, {"tokenize": self._tokenize(cell.task, family).key}, sources)

    def _scorings_of(self, cell: Cell) -> list[_Scoring]:
        """The score stages of a task and family, but for the cell."""
        identity = cell.task.name, cell.task.title, cell.family
        if identity not in self._scorings:
            task: Task = self.catalogue.task(cell.task)
            names = task.metrics(cell.family) if self.grid.metrics == "default" else self.grid.metrics
            able = [name for name in names if cell.family in self.catalogue.metric(name).families]
            self._scorings[identity] = [self._scoring(cell, name) for name in able]
        return self._scorings[identity]

    def _scoring(self, cell: Cell, name: str) -> _Scoring:
        metric, source = self.catalogue.metric(name), self.source("metrics", name)
        spec = {
            **self._items(cell), "metric": bare(name), "origin": source.target.origin, "version": metric.version,
            "profile": self.grid.profile, "libraries": self.catalogue.libraries(name),
        }  # fmt: skip
        surroundings = self.catalogue.surroundings(name)
        spec |= {"depends_on": surroundings} if surroundings else {}
        sources = {"task": self.source("tasks", cell.task.name), "metric": source}
        if "judge" in metric.needs:
            sources["judge"] = self.source("models", self.grid.judge.name)
        return _Scoring(f"score/{bare(name)}", spec, metric.needs, sources)

    def _time(self, cell: Cell, batch: int | str, roles: Mapping[str, Stage]) -> Stage:
        resources, baselines = self.grid.resources_of("time"), self._baselines(cell)
        spec = {
            "sampling": sampling_of(cell.decode, cell.steps), "candidates": cell.decode.candidates, "seed": cell.seed,
            "baseline": None, "baseline_sampling": sampling_of(cell.decode, None),
            "label": cell.model.described, "batch": batch, "profile": self.grid.profile, "dtype": "float32", "tier": "eager",
            "threads": max(1, int(resources.cpus)), "hardware": self.hardware, "version": VERSION,
            **self._loaded_with("keys", cell.model),
        }  # fmt: skip
        inputs, sources = {**self._trained(cell, roles), "generate": roles["generate"].key}, self._sources_of(cell)
        for role, baseline in baselines.items():
            spec |= {role: baseline.model.described, **self._loaded_with(f"{role}_keys", baseline.model)}
            inputs |= {role: self._fit(baseline).key}
            sources |= {role: self.source("models", baseline.model.name)}
        return self.stage("time", spec, inputs, sources)

    def _baselines(self, cell: Cell) -> dict[str, Cell]:
        """The autoregressive models that a cell's latency is compared with: the named ones, else the first that does the family.

        They decode as the cell does: what any model may do in a family, an autoregressive one may.
        """
        able = {
            entry.title: entry for entry in self.grid.models
            if self.catalogue.design(entry).kind == "autoregressive" and cell.family in self.catalogue.design(entry).families
        }  # fmt: skip
        named = {role: able[label] for role, label in self.grid.baselines.items() if label in able}
        chosen = {"baseline": next(iter(able.values())), **named} if able else {}
        return {
            role: replace(cell, model=entry, design=self.catalogue.design(entry), schedule=None, steps=None)
            for role, entry in chosen.items()
        }


def judge_budget(grid: Grid) -> dict[str, int | None]:
    """What the judge of a grid is trained with: its own budget, else twice the largest one's tokens at its size."""
    largest = max((grid.budget_of(entry.title) for entry in grid.models), key=lambda budget: budget.tokens)
    tokens = grid.judge.tokens if grid.judge.tokens is not None else JUDGE_FACTOR * largest.tokens
    return {"tokens": tokens, "parameters": grid.judge.parameters or largest.parameters}


def batches(grid: Grid, chosen: Profile) -> tuple[int | str, ...]:
    """Batch sizes of the latency passes; each is timed beside batch 1.

    Raises:
        GridError: the largest that fits is asked for, and latency passes have no GPU whose memory could tell.
    """
    if grid.latency is False or (grid.latency is None and chosen.latency_requests < LEAST_LATENCY_REQUESTS):
        return ()
    entry = grid.latency or LatencyEntry()
    if LARGEST in entry.batches and not grid.resources_of("time").gpus:
        raise GridError(
            "latency: the batch 'largest' is what a GPU's memory holds. Say `resources: {time: {gpus: 1}}`, or a number."
        )
    return tuple(batch for batch in entry.batches if batch != 1)


def _entry_of(asked: Pretraining) -> ModelEntry:
    return ModelEntry.model_validate({"name": asked.model, **asked.keys})


def _keys(roles: Mapping[str, Stage], *names: str) -> dict[str, str]:
    return {name: roles[name].key for name in names}
