"""A model that keeps its contract, and one fault at a time: `check_models.py:Babbler` with `trick`."""

import json
import random

from harness.contracts import Budget, FitReport, Generation, Likelihood
from harness.design import Design
from harness.errors import ModelError


class Babbler:
    design = Design(name="babbler", kind="autoregressive", families=("ucg", "t2t"), likelihood="exact")

    def __init__(self, schedule, task, *, trick=""):
        self.task, self.trick, self.calls, self.words = task, trick, 0, ()

    def fit(self, train, valid, budget: Budget, run):
        if self.trick == "raises":
            raise ModelError("no wish to learn")
        self.words = sorted({word for example in train for word in example.target.split()})
        return FitReport(tokens=budget.tokens + (self.trick == "spends"), parameters=len(self.words))

    def generate(self, requests, settings):
        given = [self.answer(request, settings) for request in requests]
        if self.trick == "few":
            return given[:-1]
        return given[::-1] if self.trick == "order" else given

    def answer(self, request, settings):
        self.calls += 1
        seed = {"seed": self.calls, "deaf": 0, "batch": request.seed + settings.micro_batch}.get(self.trick, request.seed)
        draw = random.Random(seed)
        length = request.max_tokens if settings.fixed_length and self.trick != "short" else draw.randint(2, request.max_tokens)
        ids = [[draw.randrange(5, 5 + len(self.words)) for _ in range(length)] for _ in range(request.n)]
        ids = [item + [5] * 9 for item in ids] if self.trick == "long" else ids
        texts = tuple(self.task.tokenizer.decode(item) for item in ids)
        calls = 0 if self.trick == "uncounted" else length
        return Generation(id=request.id, texts=texts, ids=tuple(map(tuple, ids)), network_calls=calls)

    def likelihood(self, examples):
        nats = tuple(-1.0 if self.trick == "negative" else 3.0 for _ in examples)
        if self.trick == "nan":
            nats = (float("nan"), *nats[1:])
        sizes = tuple(len(example.target.encode()) for example in examples)
        tokens = tuple(len(example.target.split()) + 1 for example in examples)
        kind = "bound" if self.trick == "kind" else "exact"
        return Likelihood(nats=nats, tokens=tokens, bytes=sizes, kind=kind, estimator="babble")

    def save(self, folder):
        view = [self.task.name, self.task.family, self.task.tokenizer.to_json(), self.task.max_tokens]
        (folder / "babbler.json").write_text(json.dumps([view, self.words]))

    @classmethod
    def load(cls, folder, device):
        from harness.contracts import TaskView
        from harness.tokenizer import Tokenizer

        (name, family, tokenizer, longest), words = json.loads((folder / "babbler.json").read_text())
        view = TaskView(name=name, family=family, tokenizer=Tokenizer.from_json(tokenizer), max_tokens=longest)
        model = cls(None, view)
        model.words = words
        return model


class Forgetful(Babbler):
    """Loads as something else."""

    @classmethod
    def load(cls, folder, device):
        model = super().load(folder, device)
        model.trick = "deaf"
        return model
