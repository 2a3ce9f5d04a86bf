"""A machine whose clock stands still unless somebody works, models that answer at once, and a device made of both."""

import dataclasses

from harness.contracts import Generation, Request, Sampling
from harness.design import Design
from harness.latency import Contestant, measure
from harness.latency.devices import Device
from harness.latency.stopwatch import Stopwatch
from harness.metrics.profiles import profile
from harness.tokenizer import EOS

REQUESTS = [Request(id=str(i), seed=i, max_tokens=4) for i in range(5)]
TINY = dataclasses.replace(profile("test"), latency_requests=6)


class Machine:
    """Nanoseconds that pass, and who let them pass."""

    def __init__(self):
        self.now, self.log = 0, []

    def clock(self):
        return self.now

    def works(self, milliseconds):
        self.now += int(milliseconds * 1e6)


class FakeDevice(Device):
    """The machine as a device: its canary takes a millisecond, times `slowness`."""

    def __init__(self, machine, slowness=lambda: 1.0, watts=None, seen=lambda: None):
        super().__init__("fake", Stopwatch(machine.clock), lambda: machine.works(slowness()))
        self.machine, self.watts, self.seen = machine, watts, seen

    description = "fake"

    def others(self):
        return self.seen()

    def joules(self):
        return None if self.watts is None else self.watts * self.machine.now / 1e9

    def idle_watts(self, seconds):
        return None if self.watts is None else 10.0


class FakeModel:
    """Answers at once and lets the machine's clock advance; what it writes is told by `ids`, up to the asked length or not."""

    design = Design(name="fake", kind="floor", families=("ucg",))

    def __init__(self, machine, costs, name="fake", calls=3, positions=48, tokens=4, natural=(5, 6, EOS), text="ab"):
        self.machine, self.costs, self.name = machine, costs, name
        self.calls, self.positions, self.fixed, self.natural, self.text = calls, positions, (5,) * tokens, natural, text

    def generate(self, requests, settings):
        self.machine.log.append((self.name, len(requests), settings.micro_batch, settings.fixed_length))
        self.machine.works(self.costs() * len(requests))
        ids = self.fixed if settings.fixed_length else self.natural
        return [
            Generation(
                id=r.id, texts=(self.text,), ids=(tuple(ids),), network_calls=self.calls, positions_processed=self.positions
            )
            for r in requests
        ]

    def fit(self, train, valid, budget, run):
        raise NotImplementedError

    def likelihood(self, examples):
        return None

    def save(self, folder):
        raise NotImplementedError

    @classmethod
    def load(cls, folder, device):
        raise NotImplementedError


def contestant(model, **settings):
    known = {name: settings.pop(name) for name in ("parameters", "trained_tokens", "data") if name in settings}
    return Contestant(name=getattr(model, "name", "fake"), model=model, settings=Sampling(**settings), **known)


def noisy(milliseconds, rng, spread=0.1):
    return lambda: milliseconds * (1 + spread * rng.random())


def asked(model):
    return model if isinstance(model, Contestant) else contestant(model)


def timed(candidate, baseline, machine, sizes=TINY, batch=4, seed=0, **rest):
    return measure(
        asked(candidate), baseline=baseline and asked(baseline), requests=REQUESTS, profile=sizes, batch=batch, seed=seed,
        **{"device": FakeDevice(machine)} | rest,
    )  # fmt: skip
