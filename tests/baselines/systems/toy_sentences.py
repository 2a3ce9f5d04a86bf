"""Eight sentences that a tiny model learns quickly, and what every unconditional system is held against on them."""

import math

from harness.construction import construct, design_of
from harness.contracts import Budget, Example, FitContext, Request, Sampling, TaskView
from harness.tokenizer import Tokenizer

SENTENCES = [f"the {a} {n} {v}" for a in ("old", "small") for n in ("dog", "cat") for v in ("sees", "hears")]
EXAMPLES = [Example(id=str(i), target=SENTENCES[i % len(SENTENCES)]) for i in range(64)]
ENTROPY = math.log(len(SENTENCES))
LENGTH = 6


def view(length=LENGTH):
    """The sentences as a task; the default length has one place more than sentence and EOS take."""
    tokenizer = Tokenizer.train("words", SENTENCES)
    counts = [1] * len(tokenizer)
    for example in EXAMPLES:
        for index in tokenizer.encode(example.target):
            counts[index] += 1
    return TaskView(name="toy", family="ucg", tokenizer=tokenizer, max_tokens=length, unigram=tuple(counts))


def tiny(model_class, schedule=None, *, length=LENGTH, **size):
    """An untrained model of one layer, on the schedule of its design where none is given."""
    keys = {"width": 32, "layers": 1, "heads": 2, **size}
    return construct(model_class, schedule or design_of(model_class, keys).schedule, view(length), keys)


def requests(n):
    return [Request(id=str(i), seed=i, max_tokens=LENGTH) for i in range(n)]


def trained(model, updates, examples=EXAMPLES):
    """Report of so many updates."""
    budget = Budget(tokens=updates * model.optimisation.batch * model.task.max_tokens)
    return model.fit(examples, examples[:8], budget, FitContext(seed=0))


def learns(model, *, updates, steps, bound, known):
    """Train; the mean likelihood must come down to the entropy and not below it, and samples be sentences, of many kinds.

    Eight equally likely sentences: the entropy is log 8 = 2.08 nats, an untrained network has about 15.

    Args:
        updates: of training.
        steps: of sampling.
        bound: nats of a sentence, below which the mean must lie.
        known: how many of 64 samples must at least be sentences.
    """
    model.fit(EXAMPLES, [], Budget(tokens=updates * model.optimisation.batch * model.task.max_tokens), FitContext(seed=1))
    scores = model.likelihood([Example(id=str(i), target=text) for i, text in enumerate(SENTENCES * 4)])
    mean = sum(scores.nats) / len(scores.nats)
    error = sum(value**2 for value in scores.mc_errors) ** 0.5 / len(scores.nats)
    assert ENTROPY - 4.5 * error < mean < bound
    texts = [answer.texts[0] for answer in model.generate(requests(64), Sampling(steps=steps))]
    assert sum(text in SENTENCES for text in texts) >= known
    assert len(set(texts)) > 4
