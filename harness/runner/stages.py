"""What each kind of stage does. Nothing here knows a scheduler: a function takes its `Work` and gives a `Result`."""

import dataclasses
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.construction import begins_with, design_of, schedule_for, view_to_json
from harness.contracts import (
    Budget,
    Checkpoint,
    Example,
    FitContext,
    FitReport,
    Generation,
    Likelihood,
    Request,
    Sampling,
    TaskData,
    TaskView,
    stream_seed,
)
from harness.decoding import select as select_texts
from harness.errors import ModelError
from harness.measurement import Evaluation  # fmt: skip
from harness.metrics.answers import measurements
from harness.metrics.profiles import profile
from harness.pretrained import digest_of_folder, folder_of, tokenizer_of
from harness.registry import Target
from harness.runner.artefacts import (
    Work,
    digest_of_items,
    pack_json,
    pack_lines,
    plain_measurement,
    recorded,
    test_items,
    unpack_generations,
    unpack_json,
    unpack_likelihood,
)  # fmt: skip
from harness.tokenizer import EOS, PAD, Tokenizer

if TYPE_CHECKING:
    from harness.latency import Contestant

LATENCY_ITEMS = 64


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a stage leaves: plain values for its record, and blobs that it has put into the store."""

    result: Mapping[str, Any] = field(default_factory=dict)
    blobs: Mapping[str, str] = field(default_factory=dict)


Function = Callable[[Work], Result]


def tokenize(work: Work) -> Result:
    """Train the task's tokenizer on the contestants' texts, or take a checkpoint's; fix lengths and unigram counts."""
    from harness.runner.artefacts import load_data

    data = load_data(work.stage.sources["task"], work.spec)
    conditions = [example.condition for example in data.train if example.condition is not None]
    targets = [example.target for example in data.train]
    brought = work.spec.get("tokenizer")
    tokenizer = (
        Tokenizer.train(data.tokenizer, [*targets, *conditions])
        if brought is None
        else tokenizer_of(_checkpoint(brought)).fitted_to(targets)
    )
    encoded = tokenizer.encode_batch(targets)
    limit = data.max_tokens or _percentile([len(ids) + 1 for ids in encoded])
    sources = _percentile([len(ids) + 1 for ids in tokenizer.encode_batch(conditions)]) if conditions else 0
    view = TaskView(
        name=data.name, family=data.family, tokenizer=tokenizer, max_tokens=limit, max_source_tokens=sources,
        unigram=_unigram(encoded, limit, len(tokenizer)),
    )  # fmt: skip
    result = {"vocabulary": len(tokenizer), "max_tokens": limit, "max_source_tokens": sources, "tokenizer": tokenizer.digest}
    splits = {name: len(getattr(data, name)) for name in ("train", "valid", "test", "judge")}
    return Result(result={**result, "examples": splits}, blobs={"view.json": work.store.put(view_to_json(view).encode())})


def _checkpoint(named: Mapping[str, Any]) -> Path:
    """The folder of a checkpoint, if it is the one that was planned with."""
    folder = folder_of(named["name"])
    found = digest_of_folder(folder)
    if found != named["sha256"]:
        raise ModelError(f"{folder} has sha256 {found}; the plan expected {named['sha256']}.")
    return folder


def _percentile(lengths: Sequence[int]) -> int:
    return math.ceil(np.percentile(lengths, 99))


def _unigram(encoded: Sequence[Sequence[int]], limit: int, size: int) -> tuple[int, ...]:
    canvases = np.full((len(encoded), limit), PAD)
    for row, ids in zip(canvases, encoded, strict=True):
        canvas = [*ids, EOS][:limit]
        row[: len(canvas)] = canvas
    return tuple(np.bincount(canvases.ravel(), minlength=size).tolist())


def fit(work: Work) -> Result:
    """Train a contestant, or the judge on its own fold; resumes from the stage's checkpoint."""
    spec, data, view = work.spec, work.data(), work.view()
    train, valid = _fold(spec["fold"], data)
    if spec["fold"] == "judge":
        view = dataclasses.replace(view, family="ucg", max_source_tokens=0)
    from harness.schedules.names import in_range

    model_class = work.plugin("model")
    size = _size(model_class, spec, view)
    schedule = schedule_for(model_class, spec["schedule"], view, size)
    if schedule is not None:
        schedule = in_range(schedule, design_of(model_class, size).snr_range)
    model = model_class(schedule, view, **size)
    started = time.perf_counter()
    with _beginning(work, model_class) as pretrained:
        context = FitContext(
            seed=spec["seed"], device=work.device, folder=work.store.checkpoints(work.stage.key), pretrained=pretrained,
            micro_batch=work.micro_batch if work.shrink or "micro_batch" in work.stage.resources.model_fields_set else None,
        )  # fmt: skip
        report = model.fit(train, valid, Budget(**spec["budget"]), context)
    seconds = time.perf_counter() - started
    _check_report(report)
    with tempfile.TemporaryDirectory(prefix="harness-fit-") as folder:
        model.save(Path(folder) / "model")
        blobs = work.store.put_folder(Path(folder))
    losses = {"losses.json.gz": work.store.put(pack_json([list(point) for point in report.losses], "losses of the FitReport"))}
    built = schedule.specification if schedule is not None else None
    spent = {} if model.design.kind == "imported" else _spent(report, seconds)
    return Result(result={**spent, "size": size, "schedule": built}, blobs={**blobs, **losses})


@contextmanager
def _beginning(work: Work, model_class: Any) -> Iterator[Path | None]:
    """Where the weights lie that a training begins with."""
    asked = begins_with(model_class, work.spec["options"])
    if isinstance(asked, Checkpoint):
        yield _checkpoint(dataclasses.asdict(asked))
    elif asked is not None:
        with work.saved("pretrain") as folder:
            yield folder
    else:
        yield None


def _spent(report: FitReport, seconds: float) -> dict[str, Any]:
    plain = {name: value for name, value in dataclasses.asdict(report).items() if name not in ("losses", "seconds")}
    return {**plain, "fit_seconds": seconds if report.seconds is None else report.seconds}


def _fold(fold: str, data: TaskData) -> tuple[Sequence[Example], Sequence[Example]]:
    if fold == "train":
        return data.train, data.valid
    bare = [Example(id=example.id, target=example.target) for example in data.judge]
    return bare, [Example(id=example.id, target=example.target) for example in data.valid]


def _size(model_class: Any, spec: Mapping[str, Any], view: TaskView) -> dict[str, Any]:
    options, parameters = dict(spec["options"]), spec["budget"]["parameters"]
    size_for = getattr(model_class, "size_for", None)
    if size_for is None or parameters is None:
        return options
    return {**size_for(parameters, view, **options), **options}


def _check_report(report: FitReport) -> None:
    if not isinstance(report, FitReport):
        raise ModelError(f"fit returned {type(report).__name__}; expected a FitReport.")
    bad = next((tokens for tokens, loss in report.losses if not math.isfinite(loss)), None)
    if bad is not None:
        raise ModelError(f"the training loss is not finite after {bad} tokens.")
    if report.valid_loss is not None and not math.isfinite(report.valid_loss):
        raise ModelError(f"the validation loss is {report.valid_loss}.")


def likelihood(work: Work) -> Result:
    """The model's own likelihood of the targets that texts are generated for, in the same order."""
    examples = test_items(work.data(), work.spec["items"], work.spec["samples"])
    found = work.model().likelihood(examples)
    if found is None:
        return Result(result={"kind": None})
    _check_likelihood(found, len(examples))
    blob = work.store.put(pack_json(dataclasses.asdict(found), "Likelihood"))
    return Result(
        result={"kind": found.kind, "estimator": found.estimator, "n": len(examples)}, blobs={"likelihood.json.gz": blob}
    )


def _check_likelihood(found: Likelihood, expected: int) -> None:
    for name in ("nats", "tokens", "bytes"):
        if len(getattr(found, name)) != expected:
            raise ModelError(f"likelihood gave {len(getattr(found, name))} values of {name} for {expected} examples.")
    bad = next((index for index, value in enumerate(found.nats) if not math.isfinite(value)), None)
    if bad is not None:
        raise ModelError(f"the likelihood of example {bad} is {found.nats[bad]}; expected a finite number of nats.")


def generate(work: Work) -> Result:
    """All candidates for every test item; each request has its own seed."""
    spec, examples = work.spec, test_items(work.data(), work.spec["items"], work.spec["samples"])
    requests = _requests(work, examples)
    settings = Sampling(**spec["sampling"], micro_batch=work.numerics.get("micro_batch", work.micro_batch))
    model, started = work.model(), time.perf_counter()
    generations = model.generate(requests, settings)
    seconds = time.perf_counter() - started
    _check_generations(generations, requests, len(work.view().tokenizer))
    cost = {} if model.design.kind == "imported" else {**_calls(generations), "generate_seconds": seconds}
    asked = {example.id: {"condition": example.condition, "target": example.target} for example in examples}
    return Result(
        result={"n": len(generations), **cost},
        blobs={
            "generations.jsonl.gz": work.store.put(pack_lines(generations)),
            "asked.json.gz": work.store.put(pack_json(asked)),
        },
    )


def _requests(work: Work, examples: Sequence[Example]) -> list[Request]:
    limit, seed, candidates = work.view().max_tokens, work.spec["seed"], work.spec["candidates"]
    return [
        Request(
            id=example.id, seed=stream_seed(seed, example.id), max_tokens=limit, source=example.source, control=example.control,
            n=candidates,
        )
        for example in examples
    ]  # fmt: skip


def _check_generations(generations: Sequence[Generation], requests: Sequence[Request], vocabulary: int) -> None:
    if len(generations) != len(requests):
        raise ModelError(f"generate returned {len(generations)} generations for {len(requests)} requests.")
    for generation, request in zip(generations, requests, strict=True):
        if generation.id != request.id:
            raise ModelError(
                f"generate answered request {request.id!r} with id {generation.id!r}; expected the order of requests."
            )
        if len(generation.texts) != request.n or not all(isinstance(text, str) for text in generation.texts):
            given = f"{len(generation.texts)} texts of types {sorted({type(text).__name__ for text in generation.texts})}"
            raise ModelError(f"request {request.id!r} asked for {request.n} texts and got {given}.")
        wrong = next((token for ids in generation.ids or () for token in ids if not 0 <= token < vocabulary), None)
        if wrong is not None:
            raise ModelError(
                f"request {request.id!r} was answered with token id {wrong}; expected 0 to {vocabulary - 1}, the vocabulary of "
                f"the task's tokenizer. Masks must be gone when sampling ends."
            )


def _calls(generations: Sequence[Generation]) -> dict[str, Any]:
    positions = [item.positions_processed for item in generations if item.positions_processed is not None]
    return {
        "network_calls": float(np.mean([item.network_calls for item in generations])) if generations else 0.0,
        "positions_processed": float(np.mean(positions)) if positions else None,
        "steps_used": sorted({item.steps_used for item in generations if item.steps_used is not None}),
    }


def select(work: Work) -> Result:
    """One text per test item out of its candidates."""
    generations = unpack_generations(work.blob("generate", "generations.jsonl.gz"))
    texts = select_texts(generations, work.spec["select"])
    return Result(result={"n": len(texts)}, blobs={"texts.json.gz": work.store.put(pack_json(texts))})


def score(work: Work) -> Result:
    """One metric of one cell: name -> measurement; items for later tests go into a blob."""
    metric, evaluation = work.plugin("metric")(), _evaluation(work)
    measured = measurements(metric, evaluation)
    measured_on = f"items:{digest_of_items(evaluation.examples)}|v:{metric.version}"
    plain = {
        name: plain_measurement(dataclasses.replace(found, signature=f"{found.signature}|{measured_on}"))
        | {"higher_is_better": metric.values.get(name), "exposes": list(getattr(metric, "exposes", {}).get(name, ()))}
        for name, found in measured.items()
    }
    items = {
        name: {"rows": found.items, "aggregate": found.aggregate, "of_targets": found.of_targets}
        for name, found in measured.items()
        if found.items is not None and len(found.items) == len(evaluation.examples)
    }
    return Result(result={"measurements": plain}, blobs={"items.json.gz": work.store.put(pack_json(items))} if items else {})


def _evaluation(work: Work) -> Evaluation:
    spec, data, view, inputs = work.spec, work.data(), work.view(), work.stage.inputs
    return Evaluation(
        task=work.task(),
        family=view.family,
        examples=test_items(data, spec["items"], spec["samples"]),
        texts=unpack_json(work.blob("select", "texts.json.gz")),
        generations=unpack_generations(work.blob("generate", "generations.jsonl.gz")),
        train=data.train,
        view=view,
        profile=spec["profile"],
        likelihood=_own_likelihood(work) if "likelihood" in inputs else None,
        own_tokenizer=_own_tokenizer(work) if "likelihood" in inputs else None,
        judge=JudgeScorer(work.model("judge", "judge"), inputs["judge"]) if "judge" in inputs else None,
        seed=spec["seed"],
    )


def _own_likelihood(work: Work) -> Likelihood | None:
    blobs = work.input("likelihood").blobs
    return unpack_likelihood(work.store.get(blobs["likelihood.json.gz"])) if blobs else None


def _own_tokenizer(work: Work) -> str | None:
    """Digest of the tokenizer that a model brings; `None` where it has the task's."""
    counted, asked = work.input("likelihood").inputs["tokenize"], work.stage.inputs["tokenize"]
    return None if counted == asked else str(recorded(work.store, counted).result["tokenizer"])


class JudgeScorer:
    """The judge as metrics see it; its signature tells one trained judge from another."""

    def __init__(self, judge: Any, key: str) -> None:
        self._judge = judge
        trained = getattr(judge, "design", None) is None or judge.design.kind != "imported"
        self.signature = f"{judge.signature}|fit:{key[:12]}" if trained else judge.signature

    def likelihood_of_texts(self, texts: Sequence[str]) -> Likelihood:
        """Exact negative log-likelihood of unconditioned texts."""
        found: Likelihood = self._judge.likelihood_of_texts(texts)
        return found

    def likelihood_after_first(self, texts: Sequence[str]) -> Likelihood | None:
        """Likelihood of the tokens after the first, EOS left out; `None` where the judge cannot say."""
        scored = getattr(self._judge, "likelihood_after_first", None)
        return scored(texts) if scored else None

    def features(self, texts: Sequence[str]) -> Any:
        """Feature vectors as a float32 array [n, width]."""
        return self._judge.features(texts)


def time_model(work: Work) -> Result:
    """Latency of a candidate beside the autoregressive baseline, on this device, with nothing else running.

    What was scored is asked first; at natural length the texts are compared with those that were scored.
    """
    from harness.latency import measure
    from harness.latency.devices import device_of

    spec = work.spec
    candidate = _contestant(work, spec["label"], ("fit", "model"), spec["sampling"])
    baseline, best = (
        _contestant(work, spec[role], (role, role), spec["baseline_sampling"]) if spec.get(role) is not None else None
        for role in ("baseline", "best_baseline")
    )
    scored = {item.id: item.texts for item in unpack_generations(work.blob("generate", "generations.jsonl.gz"))}
    requests = _requests(work, test_items(work.data(), LATENCY_ITEMS, 1))
    found = measure(
        candidate, baseline=baseline, best=best, requests=sorted(requests, key=lambda request: request.id not in scored),
        profile=profile(spec["profile"]), batch=spec["batch"], seed=spec["seed"], tokenizer=work.view().tokenizer,
        device=device_of(work.device), scored=scored,
    )  # fmt: skip
    raw = {name: [list(block) for block in blocks] for name, blocks in found.raw.items()}
    return Result(
        result={
            "values": {name: dataclasses.asdict(value) for name, value in found.values.items()}, "evidence": dict(found.evidence),
        },
        blobs={"raw.json.gz": work.store.put(pack_json(raw))},
    )  # fmt: skip


def _contestant(work: Work, name: str, roles: tuple[str, str], sampling: Mapping[str, Any]) -> "Contestant":
    """A trained model as it is asked, with what its training used."""
    from harness.latency import Contestant

    role, source = roles
    fitted = work.input(role)
    return Contestant(
        name=name, model=work.model(role, source), settings=Sampling(**sampling), parameters=fitted.result["parameters"],
        trained_tokens=fitted.result["tokens"], data=fitted.inputs["tokenize"],
    )  # fmt: skip


KINDS: dict[str, Function] = {
    "tokenize": tokenize, "fit": fit, "likelihood": likelihood, "generate": generate, "select": select, "score": score,
    "time": time_model,
}  # fmt: skip


def function_of(kind: str) -> Function:
    """What does a kind of stage: one of `KINDS`, or a plug-in's `module:function` or `/path/file.py:function`."""
    if ":" not in kind:
        return KINDS[kind]
    function: Function = Target(kind, "", kind).load()
    return function
