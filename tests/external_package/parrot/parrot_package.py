from collections import Counter

from harness import Design, FitReport, Generation


class Parrot:
    design = Design(name="parrot", kind="floor", families=("ucg",))

    def __init__(self, schedule, task, *, best=3):
        self.best, self.texts = best, []

    def fit(self, train, valid, budget, run):
        self.texts = [text for text, _ in Counter(example.target for example in train).most_common(self.best)]
        return FitReport(tokens=0, parameters=0)

    def generate(self, requests, settings):
        return [Generation(id=request.id, texts=(self.texts[request.seed % self.best],) * request.n) for request in requests]

    def likelihood(self, examples): ...
    def save(self, folder):
        folder.mkdir(), (folder / "texts").write_text("\n".join(self.texts))

    @classmethod
    def load(cls, folder, device):
        model = cls(None, None)
        model.texts = (folder / "texts").read_text().split("\n")
        return model
