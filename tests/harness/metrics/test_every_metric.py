"""Bad input, over every registered metric: a finite number, or none and a reason that says what is missing.

Cases that must be refused are listed with the reason; what is not listed may be a number, which must then be finite, lie within
its interval, and be no better than what human text scores.
"""

import dataclasses
import math
from functools import cache

import numpy as np
import pytest
from random_bert import saved_bert

from harness.contracts import Content, Example, Generation, Likelihood
from harness.metrics.aggregates import AGGREGATES, statistics
from harness.metrics.answers import measurements
from harness.metrics.bertscore import FOLDER
from harness.registry import known, resolve
from tasks.world.task import World

METRICS = known("metrics")
CASES = [
    (name, family)
    for name in METRICS
    for family in resolve("metrics", name).load().families
]  # fmt: skip
COMPARED = ("bleu", "chrf", "rouge", "sari", "copying", "sentence-bleu", "bertscore")
OF_FEATURES = ("mauve", "frechet", "mmd", "two-sample")
OF_DISTRIBUTIONS = (*OF_FEATURES, "ngram-divergence")
OF_THE_JUDGE = ("judge-perplexity", "sample-perplexity", *OF_FEATURES)
PERPLEXITIES = ("judge_ppl", "judge_ppl_median", "judge_nats_per_byte", "judge_ppl_mean_of_samples", "judge_ppl_of_mean_sample")
FOODS, AREAS = ("Italian", "French", "Chinese", "Indian", "Japanese"), ("riverside", "city centre")
FEW = 12
EXCESS = ("memorised_excess", "memorised_8grams_excess")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """What `bertscore` reads."""
    place = saved_bert(tmp_path_factory.mktemp("bert"), ["the", "cat", "dog", "sees", "a", "old", "##s"], positions=32)
    patch = pytest.MonkeyPatch()
    patch.setenv(FOLDER, str(place))
    yield
    patch.undo()


@cache
def world(family, n):
    task = World("tiny", train=400, valid=1, test=max(n, 1), judge=1)
    return task, task.load(family)


def many(name):
    """Enough texts for a metric to have numbers."""
    return 520 if name in OF_DISTRIBUTIONS else 60


def restaurants(n):
    """Examples that ask for slots of E2E, each for a restaurant of its own."""
    found = []
    for index in range(n):
        asked = (
            ("name", f"House {chr(97 + index // 26 % 26)}{chr(97 + index % 26)}"), ("food", FOODS[index % 5]),
            *((("area", AREAS[index % 2]),) if index % 3 else ()),
        )  # fmt: skip
        text = f"{asked[0][1]} serves {asked[1][1]} food" + (f" in the {asked[2][1]}." if len(asked) > 2 else ".")
        found.append(Example(id=f"x{index:04d}", target=text, control=Content(asked), references=(text,)))
    return found


@pytest.fixture
def human(make_evaluation, make_sentences, request):
    """An evaluation of human texts in the place of samples, as good as texts can be, with all that the metric asks for."""

    def made(name, family, n):
        if name == "bertscore":
            request.getfixturevalue("encoder")
        own = Likelihood(
            nats=tuple(60.0 + index % 7 for index in range(n)),
            tokens=(9,) * n,
            bytes=(40,) * n,
            kind="exact",
            estimator="ar-exact",
        )
        profile = "smoke" if name in OF_DISTRIBUTIONS else "test"
        plain = make_evaluation(make_sentences(n, 3), family=family, profile=profile, likelihood=own)
        train = [Example(id=f"t{index}", target=text) for index, text in enumerate(make_sentences(2 * n + 50, 7))]
        plain = dataclasses.replace(plain, train=train)
        if name == "world":
            task, data = world(family, n)
            return answered(dataclasses.replace(plain, task=task, examples=list(data.test)[:n], train=data.train), targets)
        if name == "e2e-slots":
            return answered(dataclasses.replace(plain, examples=restaurants(n)), targets)
        return plain if family == "ucg" else answered(plain, targets)

    return made


BEST = {}


@pytest.fixture
def best(human):
    """What human text scores by a metric; measured once."""

    def measured(name, family):
        if (name, family) not in BEST:
            BEST[name, family] = found_by(name, human(name, family, many(name)))
        return BEST[name, family]

    return measured


def targets(evaluation):
    return [example.target for example in evaluation.examples]


def answered(evaluation, write):
    """The evaluation with other texts."""
    texts = write(evaluation)
    answers = [
        Generation(id=example.id, texts=(text,), finish_reasons=("eos",))
        for example, text in zip(evaluation.examples, texts, strict=True)
    ]
    return dataclasses.replace(evaluation, texts=texts, generations=answers)


def with_examples(evaluation, **changes):
    return dataclasses.replace(evaluation, examples=[dataclasses.replace(example, **changes) for example in evaluation.examples])


def found_by(name, evaluation):
    """What a metric measures; always the values that it announces, each a number within its interval or a reason."""
    metric = resolve("metrics", name).load()()
    found = measurements(metric, evaluation)
    assert set(found) <= set(metric.values)
    for value, item in found.items():
        assert (item.value is None) == bool(item.reason), value
        assert item.signature, value
        assert item.reason is None or (len(item.reason) > 5 and "nan" not in item.reason), (value, item.reason)
        if item.value is not None:
            assert math.isfinite(item.value), value
            assert (item.low is None) == (item.high is None), value
            assert item.low is None or item.low - 1e-9 <= item.value <= item.high + 1e-9, value
            assert item.items is None or np.isfinite(np.array(item.items)).all(), value
    return found


def flattered(name, found, best, allowed=()):
    """Values that are better than those of human text."""
    values = resolve("metrics", name).load().values
    return [
        value
        for value, item in found.items()
        if item.value is not None and values[value] is not None and value not in allowed
        and (item.value - best[value].value) * (1 if values[value] else -1) > 1e-9
    ]  # fmt: skip


def reasons(found, *names):
    return {found[name].reason for name in names or found}


@pytest.mark.parametrize(("name", "family"), CASES)
def test_human_text_has_numbers(best, name, family):
    found = best(name, family)
    absent = {value: item.reason for value, item in found.items() if item.value is None}
    assert set(absent) <= {"judge_ppl_mean_of_samples_bos_0"}
    if name != "world":
        assert set(found) == set(resolve("metrics", name).load().values)


@pytest.mark.parametrize("n", [0, 1, 2])
@pytest.mark.parametrize(("name", "family"), CASES)
def test_hardly_any_texts(human, name, family, n):
    found = found_by(name, human(name, family, n))
    if n == 0:
        assert all(item.value is None for item in found.values())
    if name in OF_DISTRIBUTIONS or (name == "self-bleu" and n < 2):
        assert all(item.value is None for item in found.values())
    for value, item in found.items():
        if item.value is not None and item.low is not None:
            assert item.high - item.low > 0, f"{value}: an interval of no width from {n} texts"


BLANK = {"empty": lambda evaluation: [""] * len(evaluation.texts), "spaces": lambda evaluation: [" \n"] * len(evaluation.texts)}


@pytest.mark.parametrize("kind", BLANK)
@pytest.mark.parametrize(("name", "family"), CASES)
def test_empty_texts_are_counted_or_refused_and_never_flattered(human, best, name, family, kind):
    plain = human(name, family, many(name))
    found = found_by(name, answered(plain, BLANK[kind]))
    told = f"all {many(name)} texts are empty"
    if name in ("self-bleu", "memorisation", "copying", "sample-perplexity"):
        assert reasons(found) == {told}
    if name == "judge-perplexity":
        assert reasons(found, *PERPLEXITIES[:3]) == {told}
    for value in ("bleu", "chrf", "chrf++", "rouge_1", "sentence_bleu", "slots_right", "correct", "in_language", "bertscore_f1"):
        if value in found:
            assert (found[value].value, found[value].low or 0.0) == (0.0, 0.0)
    assert not flattered(name, found, best(name, family), allowed=("truncation_rate",))


@pytest.mark.parametrize(("name", "family"), CASES)
def test_texts_of_which_half_are_empty_are_worse(human, best, name, family):
    plain = human(name, family, many(name))
    half = answered(plain, lambda evaluation: [text if index % 2 else "" for index, text in enumerate(evaluation.texts)])
    found = found_by(name, half)
    allowed = {
        # by definition of those that say something: rates of what is not there, or of the few in the language
        "truncation_rate", "attribute_distance", "slots_wrong", "slots_hallucinated", *EXCESS,
        *(value for value in found if value.startswith("errors_") and value != "errors_ending"),
        # a diagnostic: a short text may be likely
        *PERPLEXITIES,
    }  # fmt: skip
    assert not flattered(name, found, best(name, family), allowed)
    values = resolve("metrics", name).load().values
    for value, item in found.items():
        told = any(f"{many(name) // 2} empty texts" in flag for flag in item.flags)
        silent = (
            item.value is None or value.startswith(("human", "own")) or value.endswith("ceiling")
            or name in ("world", "diversity") or value in ("empty_rate", "eos_rate", "truncation_rate") or values[value] is None
        )  # fmt: skip
        assert told or silent, f"{value} does not say that texts are empty"


@pytest.mark.parametrize(("name", "family"), CASES)
def test_one_text_over_and_over(human, best, name, family):
    plain = human(name, family, many(name))
    found = found_by(name, answered(plain, lambda evaluation: [plain.examples[0].target] * len(evaluation.texts)))
    if name in ("frechet", "mmd", "two-sample"):
        assert reasons(found) == {"all samples have the same features: one text repeated is no distribution"}
    if name == "ngram-divergence":
        assert reasons(found) == {"all samples are the same: one text repeated is no distribution"}
    if name == "mauve":
        assert found["mauve"].value < 0.05
    if name == "self-bleu":
        assert found["self_bleu"].value == pytest.approx(100)
    # one human text is as good as any by what looks at texts one by one
    alone = ("in_language", *EXCESS, *(value for value in found if value.startswith(("errors_", "judge_"))))
    assert not flattered(name, found, best(name, family), allowed=alone)


@pytest.mark.parametrize("name", COMPARED)
def test_missing_references_are_refused(human, name):
    plain = human(name, "t2t", FEW)
    blank = with_examples(plain, references=("", "  "))
    one = [
        dataclasses.replace(example, references=(" ",)) if index == 4 else example for index, example in enumerate(plain.examples)
    ]
    values = ["ibleu"] if name == "copying" else list(found_by(name, plain))
    for evaluation, count, first in ((blank, FEW, 0), (dataclasses.replace(plain, examples=one), 1, 4)):
        found = found_by(name, evaluation)
        told = f"{count} of {FEW} items have no reference with a word in it, the first is 'item-{first:05d}'"
        assert reasons(found, *values) == {told}
    targetless = found_by(name, with_examples(plain, references=(), target=""))
    assert "no reference with a word in it" in str(reasons(targetless, *values))


@pytest.mark.parametrize("name", OF_DISTRIBUTIONS)
def test_references_that_are_no_distribution_are_refused_or_score_badly(human, name):
    found = found_by(name, with_examples(human(name, "ucg", many(name)), target="", references=()))
    assert all(item.value is None or value.startswith("mauve") for value, item in found.items())
    if name == "mauve":
        assert max(found[value].value for value in ("mauve", "mauve_star")) < 0.05


@pytest.mark.parametrize("name", ["sari", "copying"])
@pytest.mark.parametrize("source", [None, "", " "])
def test_missing_sources_are_refused(human, name, source):
    found = found_by(name, with_examples(human(name, "t2t", FEW), source=source))
    assert reasons(found) == {f"{FEW} of {FEW} items have no source (in a file of references: the key `source`)"}


@pytest.mark.parametrize(("name", "family"), [("e2e-slots", "a2t"), ("world", "a2t"), ("world", "t2t")])
def test_what_was_asked_must_be_known(human, name, family):
    found = found_by(name, with_examples(human(name, family, FEW), control=None, source=None))
    assert all(item.value is None for item in found.values())
    assert all("attributes" in reason for reason in reasons(found))


class Wrong:
    """A judge whose answers are changed before they are given."""

    signature = "wrong"

    def __init__(self, judge, change):
        self.judge, self.change = judge, change

    def likelihood_of_texts(self, texts):
        found = self.judge.likelihood_of_texts(texts)
        return dataclasses.replace(found, nats=tuple(self.change(np.array(found.nats))))

    def features(self, texts):
        return self.change(self.judge.features(texts))


def spoilt(value):
    def change(numbers):
        numbers = numbers.copy()
        numbers[(3,) * numbers.ndim] = value
        return numbers

    return change


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", OF_THE_JUDGE)
def test_what_a_judge_cannot_say_is_refused(human, name, value):
    plain = human(name, "ucg", many(name))
    found = found_by(name, dataclasses.replace(plain, judge=Wrong(plain.judge, spoilt(value))))
    told = {reason for value, reason in ((value, item.reason) for value, item in found.items()) if "entropy" not in value}
    assert all("not finite" in str(reason) or "first token" in str(reason) for reason in told)


@pytest.mark.parametrize("name", OF_FEATURES)
def test_features_that_are_all_alike_or_of_another_shape_are_refused(human, name):
    plain = human(name, "ucg", many(name))
    for change, told in ((np.ones_like, "same|equal"), (lambda rows: rows[:, :0], "shape"), (lambda rows: rows[1:], "shape")):
        found = found_by(name, dataclasses.replace(plain, judge=Wrong(plain.judge, change)))
        assert all(any(word in reason for word in told.split("|")) for reason in reasons(found))


@pytest.mark.parametrize(("name", "family"), CASES)
def test_what_is_not_there_is_named(human, name, family):
    plain = human(name, family, many(name))
    without = {"judge": None, "likelihood": None, "train": []}
    found = found_by(name, dataclasses.replace(plain, **without))
    told = {
        "likelihood": "the model gives no likelihood", "memorisation": "there is no training split to look in",
        **dict.fromkeys(OF_FEATURES, "no judge to take features from"),
        "judge-perplexity": "no judge to score with", "sample-perplexity": "no judge to score with",
    }  # fmt: skip
    if name in told:
        assert reasons(found) == {told[name]}
    elif name == "world":
        assert found["likelihood_gap"].reason == told["likelihood"]
        assert family != "ucg" or found["train_copies"].reason == told["memorisation"]
    elif name == "ngram-divergence":
        assert "0 training texts" in found["jsd_1_ceiling"].reason


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize(("name", "value"), [("likelihood", "own_nll_per_token"), ("world", "likelihood_gap")])
def test_a_likelihood_that_is_none_is_refused(human, name, value, bad):
    plain = human(name, "ucg", FEW)
    own = dataclasses.replace(plain.likelihood, nats=(1.0, bad, *plain.likelihood.nats[2:]))
    found = found_by(name, dataclasses.replace(plain, likelihood=own))[value]
    assert found.reason == f"1 of {FEW} targets have a likelihood that is not finite, the first is target 1"
    short = dataclasses.replace(plain.likelihood, nats=(1.0,), tokens=(1,), bytes=(1,))
    with pytest.raises(ValueError, match=f"a likelihood for 1 of {FEW} targets"):
        found_by(name, dataclasses.replace(plain, likelihood=short))


@pytest.mark.parametrize("family", ["ucg", "a2t"])
def test_targets_outside_the_language_have_no_exact_likelihood(human, family):
    found = found_by("world", with_examples(human("world", family, FEW), target="no such words", references=()))
    told = f"{FEW} of {FEW} targets are not in the language or do not say what is asked, the first is target 0"
    assert found["likelihood_gap"].reason == told


@pytest.mark.parametrize(("name", "family"), CASES)
def test_wrong_counts_are_no_number(human, name, family):
    plain = human(name, family, FEW)
    if name == "likelihood":
        pytest.skip("looks at no texts")
    for texts in (plain.texts[1:], [*plain.texts, "a"]):
        with pytest.raises(ValueError, match=f"{len(texts)} texts for {FEW} examples"):
            found_by(name, dataclasses.replace(plain, texts=texts))


@pytest.mark.parametrize(("name", "family"), CASES)
def test_items_make_the_value_whatever_the_texts(human, name, family):
    plain = human(name, family, many(name))
    half = answered(plain, lambda evaluation: [text if index % 2 else "" for index, text in enumerate(evaluation.texts)])
    for value, item in found_by(name, half).items():
        if item.value is not None and item.items is not None and len(item.items) == many(name) and value != "memorised_excess":
            rows = statistics(item.items, item.aggregate)
            assert AGGREGATES[item.aggregate](rows.sum(0)[None])[0] == pytest.approx(item.value), value
