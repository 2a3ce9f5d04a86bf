"""What stages hand to each other: data, views, trained models, generations; kept warm within a process."""

import dataclasses
import gzip
import hashlib
import json
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.construction import view_from_json
from harness.contracts import Example, Generation, Likelihood, Task, TaskData, TaskView, TextModel
from harness.design import Family
from harness.errors import DataError, ModelError, StoreError
from harness.measurement import Measurement
from harness.registry import Target
from harness.runner.stage import Source, Stage, canonical
from harness.tracking.records import Record, Store, own_folder, plain_json


class Warm:
    """The few things that were used last, so that stages sorted by model load each model once."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._kept: OrderedDict[str, Any] = OrderedDict()

    def get(self, key: str, make: Callable[[], Any]) -> Any:
        """The kept object, or a new one in place of the one unused for longest."""
        if key not in self._kept:
            while len(self._kept) >= self.size:
                self._kept.popitem(last=False)
            self._kept[key] = make()
        self._kept.move_to_end(key)
        return self._kept[key]

    def clear(self) -> None:
        """Forget everything: memory is short."""
        self._kept.clear()


MODELS, DATA = Warm(3), Warm(2)


@dataclass(frozen=True)
class Work:
    """A stage in the process that does it.

    Attributes:
        device: torch device name.
        threads: CPU threads it may use.
        micro_batch: what goes through a network at once.
        shrink: how often the micro-batch was halved since memory ran out.
    """

    stage: Stage
    store: Store
    device: str
    threads: int
    micro_batch: int
    shrink: int

    @property
    def spec(self) -> Mapping[str, Any]:
        """The stage's own values."""
        return self.stage.spec

    @property
    def numerics(self) -> Mapping[str, Any]:
        """Numerics that the stage asks for itself; empty where it leaves them to its resources."""
        return self.spec.get("numerics", {})

    def input(self, role: str) -> Record:
        """Record of an input.

        Raises:
            StoreError: it is gone.
        """
        return recorded(self.store, self.stage.inputs[role])

    def plugin(self, role: str) -> Any:
        """The class behind a source."""
        return localised(self.stage.sources[role]).load()

    def blob(self, role: str, name: str) -> bytes:
        """A blob of an input."""
        return self.store.get(self.input(role).blobs[name])

    def view(self) -> TaskView:
        """The task's view."""
        return view_from_json(self.blob("tokenize", "view.json").decode())

    def task(self) -> Task:
        """The task object."""
        task: Task = self.plugin("task")(**self.input("tokenize").spec["options"])
        return task

    def data(self) -> TaskData:
        """The splits of the task."""
        return load_data(self.stage.sources["task"], self.input("tokenize").spec)

    def saved(self, role: str) -> AbstractContextManager[Path]:
        """The folder of a trained model, as long as it is looked at."""
        return saved_model(self.store, self.stage.inputs[role])

    def model(self, role: str = "fit", source: str = "model") -> TextModel:
        """A trained model, with the sampling keys that this stage gives it."""
        keys, dtype = self.spec.get("keys" if role == "fit" else f"{role}_keys", {}), self.numerics.get("dtype")
        return load_model(self.store, self.stage.inputs[role], self.stage.sources[source], self.device, keys, dtype)


def recorded(store: Store, key: str) -> Record:
    """Record of a finished stage.

    Raises:
        StoreError: there is none.
    """
    record = store.record(key)
    if record is None:
        raise StoreError(f"record {key} is missing from {store.address}; run the grid again.")
    return record


def localised(source: Source) -> Target:
    """The plug-in as this machine can import it: the file itself, or a copy where it is not here or has changed."""
    if source.text is None:
        return source.target
    path_text, _, name = source.target.reference.rpartition(":")
    path = Path(path_text)
    if not path.is_file() or path.read_text(encoding="utf-8") != source.text:
        digest = hashlib.sha256(source.text.encode()).hexdigest()[:16]
        path = own_folder() / "files" / digest / path.name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{tempfile.mktemp(dir='', prefix=path.stem)}.tmp")
        temporary.write_text(source.text, encoding="utf-8")
        temporary.replace(path)
    return dataclasses.replace(source.target, reference=f"{path}:{name}")


def load_data(source: Source, spec: Mapping[str, Any]) -> TaskData:
    """The splits that a tokenize stage was specified for.

    Raises:
        DataError: their digest is another.
    """
    identity = canonical([source.target.reference, spec["options"], spec["family"], spec["fingerprint"]])
    data: TaskData = DATA.get(identity, lambda: _read(source, spec["options"], spec["family"]))
    if data.digest != spec["fingerprint"]:
        raise DataError(f"{spec['task']}: its data have digest {data.digest}, the plan expected {spec['fingerprint']}.")
    return data


def _read(source: Source, options: Mapping[str, Any], family: Family) -> TaskData:
    data: TaskData = localised(source).load()(**options).load(family)
    return data


def load_model(
    store: Store, key: str, source: Source, device: str, keys: Mapping[str, Any], dtype: str | None = None
) -> TextModel:
    """A trained model, on a device, with its sampling keys; in another number format where one is named."""
    identity = f"{store.address} {key} {device} {canonical(keys)} {dtype}"
    model: TextModel = MODELS.get(identity, lambda: _in_format(_restore(store, key, source, device, keys), dtype))
    return model


def _in_format(model: TextModel, dtype: str | None) -> TextModel:
    if dtype is None:
        return model
    import torch

    if not isinstance(model, torch.nn.Module):
        raise ModelError(f"numerics ask for {dtype}, and {type(model).__name__} is no torch.nn.Module that could be converted.")
    return model.to(getattr(torch, dtype))


def _restore(store: Store, key: str, source: Source, device: str, keys: Mapping[str, Any]) -> TextModel:
    if device == "cuda":
        _empty_cache()
    with saved_model(store, key) as folder:
        model: TextModel = localised(source).load().load(folder, device, **keys)
    return model


@contextmanager
def saved_model(store: Store, key: str) -> Iterator[Path]:
    """The folder that a trained model was saved in; it is gone afterwards."""
    blobs = {name: digest for name, digest in recorded(store, key).blobs.items() if name.startswith("model/")}
    with tempfile.TemporaryDirectory(prefix="harness-model-") as folder:
        store.get_folder(blobs, Path(folder))
        yield Path(folder) / "model"


def _empty_cache() -> None:
    """Give back what the model used that this one takes the place of: other processes share the device."""
    import torch

    torch.cuda.empty_cache()


def test_items(data: TaskData, items: int | None, samples: int) -> list[Example]:
    """The test examples that a profile asks for, in the task's order.

    `items * samples` different ones where the split has them; else each one up to `samples` times, told apart by `#k`. Where
    not all are taken, the sha256 of the id chooses, since many files are sorted; fewer are a subset of more.

    Args:
        data: the splits.
        items: `None` takes the whole split once.
        samples: texts per item.
    """
    if items is None:
        return list(data.test)
    wanted = items * samples
    pool = _chosen(data.test, wanted)
    for again in range(1, samples):
        pool += [dataclasses.replace(item, id=f"{item.id}#{again}") for item in _chosen(data.test, wanted - len(pool))]
    return pool


def _chosen(examples: Sequence[Example], limit: int) -> list[Example]:
    if len(examples) <= limit:
        return list(examples)
    ranked = sorted(range(len(examples)), key=lambda index: hashlib.sha256(f"test/{examples[index].id}".encode()).digest())
    return [examples[index] for index in sorted(ranked[:limit])]


def digest_of_items(examples: Sequence[Example]) -> str:
    """Short digest of which items were asked and what they are measured against, in order."""
    lines = (json.dumps([item.id, item.target, *item.references], ensure_ascii=False) for item in examples)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def pack_lines(items: Sequence[Any]) -> bytes:
    """Dataclasses as gzipped JSON lines, the same bytes for the same content."""
    lines = b"".join(plain_json(dataclasses.asdict(item), f"{type(item).__name__} {item.id}") + b"\n" for item in items)
    return gzip.compress(lines, compresslevel=6, mtime=0)


def unpack_generations(data: bytes) -> list[Generation]:
    """The inverse of `pack_lines` for generations."""
    return [_generation(json.loads(line)) for line in gzip.decompress(data).decode().split("\n")[:-1]]


def _generation(fields: dict[str, Any]) -> Generation:
    ids = fields["ids"]
    fields |= {"texts": tuple(fields["texts"]), "finish_reasons": tuple(fields["finish_reasons"])}
    return Generation(**{**fields, "ids": None if ids is None else tuple(map(tuple, ids))})


def pack_json(data: Any, what: str = "a result") -> bytes:
    """Plain data as gzipped JSON; what they are is for the error."""
    return gzip.compress(plain_json(data, what), compresslevel=6, mtime=0)


def unpack_json(data: bytes) -> Any:
    """The inverse of `pack_json`."""
    return json.loads(gzip.decompress(data))


def unpack_likelihood(data: bytes) -> Likelihood:
    """The inverse of `pack_json` for likelihoods."""
    fields: dict[str, Any] = unpack_json(data)
    for name in ("nats", "tokens", "bytes"):
        fields[name] = tuple(fields[name])
    errors = fields.pop("mc_errors")
    return Likelihood(**fields, mc_errors=None if errors is None else tuple(errors))


def plain_measurement(measurement: Measurement) -> dict[str, Any]:
    """A measurement without its items, which go into a blob."""
    fields = dataclasses.asdict(measurement)
    for name in ("items", "aggregate", "of_targets"):
        del fields[name]
    return {**fields, "flags": list(measurement.flags)}
