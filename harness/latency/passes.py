"""A latency pass: all scenarios of a candidate and its baseline, watched, and once more where the machine was not steady."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from harness.contracts import Generation, Request
from harness.latency.contestants import Contestant
from harness.latency.devices import Device, Known
from harness.latency.integrity import Again, Watch, greyed
from harness.latency.lanes import interleaved
from harness.latency.largest import largest_batch
from harness.latency.stopwatch import Stopwatch
from harness.latency.timings import VERSION, Timings
from harness.latency.values import ROLES, Scenarios, absent, costs_of, values_of
from harness.metrics.profiles import Profile
from harness.tokenizer import Tokenizer
from harness.tracking.rows import Value

WINDOW = (
    "Request objects on the host to Generation objects on the host: encoding of the condition, network, sampling and decoding to "
    "text are inside; loading, data, scoring and clock are outside"
)
_IDLE_SECONDS = 0.5

Evidence = Mapping[str, Known]


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """What a latency stage records.

    Attributes:
        values: name -> value, for the row.
        raw: "candidate batch 1" -> nanoseconds by block; warm-ups beside them.
        evidence: machine and circumstances.
    """

    values: Mapping[str, Value]
    raw: Mapping[str, tuple[tuple[int, ...], ...]]
    evidence: Evidence


def measure(
    candidate: Contestant,
    *,
    baseline: Contestant | None,
    requests: Sequence[Request],
    profile: Profile,
    batch: int | str,
    seed: int,
    device: Device,
    tokenizer: Tokenizer | None = None,
    scored: Mapping[str, Sequence[str]] | None = None,
    best: Contestant | None = None,
) -> Latency:
    """Time a candidate in all scenarios, in turn with its baselines.

    Args:
        candidate: whose latency it is; asked for the fixed length, and at natural length as it stands.
        baseline: the autoregressive model of the same task in the same stack; `None` leaves the ratios absent.
        requests: what is asked, in order; reused from the start where more are needed.
        profile: numbers of requests, warm-up cap, highest percentile, and how often an unsteady pass is made.
        batch: requests per call of the batched scenario; "largest" is the largest for which there is memory.
        seed: for resampling.
        device: where the models stand.
        tokenizer: of the task, to be timed by itself; `None` leaves that value absent.
        scored: request -> texts that were scored; the timed ones are compared with them.
        best: the fastest autoregressive model to be had here, whatever its stack.

    Raises:
        ValueError: no requests, or a batch below 2.
        ModelError: a model that answers with another number of generations.
    """
    contestants = {role: item for role, item in zip(ROLES, (candidate, baseline, best), strict=True) if item is not None}
    if not requests or (isinstance(batch, int) and batch < 2):
        raise ValueError(f"{len(requests)} requests and batch {batch}: expected at least one request and a batch of at least 2")
    batch = largest_batch(_written_out(contestants), requests, device) if isinstance(batch, str) else batch
    timed, watch, passes = _steady(contestants, requests, profile, batch, device)
    again = Again.of(timed.natural["candidate"].answers, scored)
    times = values_of(timed, contestants, profile=profile, rng=np.random.default_rng(seed))
    times["latency_tokenising_ms"] = _tokenising(tokenizer, requests, timed.single["candidate"].answers, device.stopwatch)
    evidence = _circumstances(contestants, requests, profile, batch) | _environment(device)
    evidence |= _watched(watch) | {"passes": passes, "asked_again": again.asked, "asked_again_differing": again.differing}
    evidence |= {f"memory_{kind}_mib": round(mib, 1) for kind, mib in timed.batched["candidate"].peak_mib.items()}
    flags = (*greyed(watch, again, [timed.single["candidate"], timed.batched["candidate"]]), *again.flags)
    values = _signed(times, evidence, flags) | _signed(costs_of(timed, candidate), evidence, again.flags)
    return Latency(values=values, raw=_raw(timed), evidence=evidence)


def _steady(
    contestants: Mapping[str, Contestant], requests: Sequence[Request], profile: Profile, batch: int, device: Device
) -> tuple[Scenarios, Watch, int]:
    """The first pass in which the machine was steady, else the last that the profile allows; and how many were made."""
    passes = 1
    timed, watch = _timed(contestants, requests, profile, batch, device)
    while watch.complaints and passes < profile.latency_tries:
        passes += 1
        timed, watch = _timed(contestants, requests, profile, batch, device)
    return timed, watch, passes


def _timed(
    contestants: Mapping[str, Contestant], requests: Sequence[Request], profile: Profile, batch: int, device: Device
) -> tuple[Scenarios, Watch]:
    """Every scenario once."""
    watch, idle = Watch(device), device.idle_watts(_IDLE_SECONDS)
    watch.begin()
    natural, written_out = list(contestants.values()), _written_out(contestants)
    found: list[dict[str, Timings]] = []
    for asked, size in ((written_out, 1), (written_out, batch), (natural, 1)):
        watch.begin(runs=1)
        timings = interleaved(asked, requests=requests, profile=profile, batch=size, device=device, look=watch.look)
        found.append(dict(zip(contestants, timings, strict=True)))
    watch.begin()
    return Scenarios(single=found[0], batched=found[1], natural=found[2], batch=batch, idle_watts=idle), watch


def _written_out(contestants: Mapping[str, Contestant]) -> list[Contestant]:
    """All of them at the fixed length."""
    return [replace(item, settings=replace(item.settings, fixed_length=True)) for item in contestants.values()]


def _watched(watch: Watch) -> dict[str, Known]:
    """What was seen of the machine, as plain evidence."""
    states = {f"{name}_{when}": value for when, state in _ends(watch) for name, value in state.items()}
    pace = [stretch[len(stretch) // 2] for stretch in map(sorted, watch.looks)]
    found: dict[str, Known] = {"canary_ms_before": round(pace[0], 4), "canary_ms_after": round(pace[-1], 4)}
    return {**states, **found, "canary_drift": round(watch.drift, 4), "others": "; ".join(dict.fromkeys(watch.others)) or None}


def _ends(watch: Watch) -> tuple[tuple[str, Mapping[str, Known]], ...]:
    return ("before", watch.states[0]), ("after", watch.states[-1])


def _tokenising(
    tokenizer: Tokenizer | None, requests: Sequence[Request], answers: Mapping[str, Generation], stopwatch: Stopwatch
) -> Value:
    """Median milliseconds in which a request's condition becomes ids and the ids of its candidates become texts."""
    asked = [request for request in requests if request.id in answers and answers[request.id].ids is not None]
    if tokenizer is None or not asked:
        return absent("no tokenizer was given, or the answers have no ids", len(asked))
    spent = [stopwatch(partial(_tokenised, tokenizer, request, answers[request.id])).nanoseconds for request in asked]
    return Value(value=float(np.median(spent)) / 1e6, n=len(spent), higher_is_better=False)


def _tokenised(tokenizer: Tokenizer, request: Request, answer: Generation) -> None:
    if request.condition is not None:
        tokenizer.encode(request.condition)
    for ids in answer.ids or ():
        tokenizer.decode(ids)


def _signed(values: Mapping[str, Value], evidence: Evidence, flags: Sequence[str]) -> dict[str, Value]:
    """Values with what must agree before they are compared, and what holds for all of them."""
    parts = (
        "version", "device_name", "threads", "dtype", "torch", "max_tokens", "batch", "candidates", "baseline", "baseline_decode",
    )  # fmt: skip
    signature = "|".join(f"{part}:{evidence[part]}" for part in parts)
    regimes = {name: "natural" if name.startswith("natural_") else "fixed" for name in values}
    return {
        name: replace(value, signature=f"{signature}|length:{regimes[name]}", flags=(*flags, *value.flags))
        for name, value in values.items()
    }


def _raw(timed: Scenarios) -> dict[str, tuple[tuple[int, ...], ...]]:
    raw: dict[str, tuple[tuple[int, ...], ...]] = {}
    scenarios = {"batch 1": timed.single, f"batch {timed.batch}": timed.batched, "natural": timed.natural}
    for scenario, timings in scenarios.items():
        for role, item in timings.items():
            raw[f"{role} {scenario}"] = item.blocks
            raw[f"{role} {scenario} warm-up"] = (item.warmup,)
    return raw


def _circumstances(
    contestants: Mapping[str, Contestant], requests: Sequence[Request], profile: Profile, batch: int
) -> dict[str, Known]:
    candidate = contestants["candidate"]
    return {
        "version": VERSION,
        "candidate": candidate.name,
        "decode": candidate.decoding,
        "dtype": candidate.dtype,
        **_of_baselines(contestants),
        "max_tokens": max(request.max_tokens for request in requests),
        "candidates": max(request.n for request in requests),
        "steps": candidate.settings.steps,
        "batch": batch,
        "profile": profile.name,
        "window": WINDOW,
    }


def _of_baselines(contestants: Mapping[str, Contestant]) -> dict[str, Known]:
    told = {"": lambda item: item.name, "_decode": lambda item: item.decoding, "_dtype": lambda item: item.dtype}
    found = {f"{role}{part}": tell(contestants[role]) for role in contestants for part, tell in told.items()}
    return {"baseline": None, "baseline_decode": None, "baseline_dtype": None} | {
        name: value for name, value in found.items() if not name.startswith("candidate")
    }


def _environment(device: Device) -> dict[str, Known]:
    import torch

    return {
        "device": device.name,
        "device_name": device.description,
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
