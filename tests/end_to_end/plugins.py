"""Small fakes that a grid names as `plugins.py:Name`: a task, models well and ill behaved, a metric."""

import hashlib
import json
import os
import time

import numpy as np

from harness.contracts import Content, Example, FitReport, Generation, Likelihood, TaskData
from harness.design import Design
from harness.measurement import Measurement
from harness.schedules.names import build

WORDS = ["a", "b", "c", "d", "e", "f", "g", "h"]


def examples(fold, count, family):
    found = []
    for index in range(count):
        digest = hashlib.sha256(f"{fold} {index}".encode()).digest()
        text = " ".join(WORDS[byte % len(WORDS)] for byte in digest[: 3 + digest[0] % 5])
        control = Content((("first", text.split()[0]),)) if family == "a2t" else None
        source = " ".join(reversed(text.split())) if family == "t2t" else None
        found.append(Example(id=f"{fold}-{index}", target=text, control=control, source=source))
    return found


class Letters:
    name, version, families = "letters", 1, ("ucg", "a2t", "t2t")

    def __init__(self, *, size=40):
        self.size = size

    def fingerprint(self, family):
        return hashlib.sha256(f"letters {self.size} {family}".encode()).hexdigest()

    def check(self):
        pass

    def load(self, family):
        folds = {fold: examples(fold, self.size, family) for fold in ("train", "valid", "test", "judge")}
        return TaskData(name=self.name, family=family, digest=self.fingerprint(family), tokenizer="words", **folds)

    def metrics(self, family):
        return (f"{__file__}:Counted",)


class Spoilt(Letters):
    """Cannot be read."""

    def load(self, family):
        raise OSError("the letters are gone")


class Counted:
    name, version, families, needs, values = "counted", 1, ("ucg", "a2t", "t2t"), (), {"words": None}

    def __call__(self, evaluation):
        words = [len(text.split()) for text in evaluation.texts]
        return {
            "words": Measurement(
                value=sum(words) / len(words), n=len(words), signature="words|v1", items=tuple(map(float, words))
            )
        }


class Judged(Counted):
    name, needs, values = "judged", ("judge", "likelihood"), {"judged": None}

    def __call__(self, evaluation):
        nats = evaluation.judge.likelihood_of_texts(evaluation.texts).nats
        own = sum(evaluation.likelihood.nats) if evaluation.likelihood else 0.0
        signature = evaluation.judge.signature
        return {"judged": Measurement(value=sum(nats) + own, n=len(nats), signature=signature)}


def witness(line):
    """Tell a test, in a file named by the environment, that something was really done."""
    path = os.environ.get("HARNESS_TEST_WITNESS")
    if path:
        with open(path, "a") as file:
            file.write(line + "\n")


class Parrot:
    """Says words that its seed picks; knows nothing."""

    design = Design(name="parrot", kind="autoregressive", families=("ucg", "a2t", "t2t"), likelihood="exact")

    def __init__(self, schedule, task, *, pause=0.0, trick=""):
        self.schedule, self.task, self.pause, self.trick = schedule, task, pause, trick
        self.signature = "parrot"

    def fit(self, train, valid, budget, run):
        witness(f"fit {run.seed}")
        time.sleep(self.pause)
        if self.trick == "raise":
            raise RuntimeError("the parrot is dead")
        if self.trick == "hang":
            time.sleep(3600)
        if self.trick == "segfault":
            os.kill(os.getpid(), 11)
        if self.trick == "memory" and (run.micro_batch is None or run.micro_batch > 16):
            raise MemoryError("too much")
        if self.trick == "sizes":
            raise ValueError(f"micro-batch {run.micro_batch}")
        if self.trick == "surrogate":
            raise ValueError("bad text \ud800 here")
        if self.trick == "fork" and not os.fork():
            time.sleep(20.0)
            os._exit(0)
        if self.trick == "fork":
            os.kill(os.getpid(), 11)
        if self.trick == "exit":
            raise SystemExit(3)
        (run.folder / "half").write_text("")
        parameters = np.int64(1) if self.trick == "numpy" else 1
        losses = ((1, float("nan") if self.trick == "nan" else 1.0),)
        return FitReport(tokens=budget.tokens, parameters=parameters, losses=losses)

    def generate(self, requests, settings):
        witness(f"generate {settings.steps}")
        time.sleep(self.pause)
        mood = settings.micro_batch or 0 if self.trick == "moody" else 0
        made = [
            Generation(
                id=request.id,
                texts=tuple(self.say(request.seed + mood + k) for k in range(request.n)),
                ids={"ids": ((np.int64(7),),) * request.n, "beyond": ((5, 1000),) * request.n}.get(self.trick),
                network_calls=settings.steps or 1,
            )
            for request in requests
        ]
        return made[:-1] if self.trick == "few" else made

    def say(self, seed):
        digest = hashlib.sha256(str(seed).encode()).digest()
        return " ".join(WORDS[byte % len(WORDS)] for byte in digest[: 1 + digest[0] % 4])

    def likelihood(self, items):
        if self.trick == "greedy":
            raise MemoryError("too much")
        nats = tuple(1.0 + len(item.target) for item in items)
        return Likelihood(nats=nats, tokens=(1,) * len(nats), bytes=(1,) * len(nats), kind="exact", estimator="parrot")

    def likelihood_of_texts(self, texts):
        nats = tuple(float(len(text)) for text in texts)
        return Likelihood(nats=nats, tokens=(1,) * len(nats), bytes=(1,) * len(nats), kind="exact", estimator="parrot")

    def features(self, texts):
        raise NotImplementedError

    def save(self, folder):
        folder.mkdir(parents=True)
        options = {"pause": self.pause, "trick": self.trick}
        specification = self.schedule.specification if self.schedule else None
        (folder / "parrot.json").write_text(json.dumps([specification, options]))

    @classmethod
    def load(cls, folder, device):
        specification, options = json.loads((folder / "parrot.json").read_text())
        return cls(build(specification) if specification else None, None, **options)


class Diffuser(Parrot):
    """A parrot that pretends to diffuse."""

    design = Design(
        name="diffuser", kind="diffusion", families=("ucg",), space="tokens", kernel="absorbing", schedule="cosine-plain",
        grains=("sequence",), likelihood=None,
    )  # fmt: skip


class Stepwise(Diffuser):
    """Wants a step for each token."""

    @classmethod
    def least_steps(cls, max_tokens, **size):
        return max_tokens


class Accented(Diffuser):
    """One training, any accent; what is learnt does not hear of it."""

    sampling_keys = ("accent",)

    def __init__(self, schedule, task, *, accent=""):
        super().__init__(schedule, task)
        self.accent = accent

    def fit(self, train, valid, budget, run):
        assert self.accent == ""
        return super().fit(train, valid, budget, run)

    def say(self, seed):
        return super().say(seed) + f" {self.accent}" * bool(self.accent)

    @classmethod
    def load(cls, folder, device, **keys):
        specification, _ = json.loads((folder / "parrot.json").read_text())
        return cls(build(specification), None, **keys)


class Judge(Parrot):
    design = Design(name="fake-judge", kind="autoregressive", families=("ucg",), likelihood="exact")
