import pytest

from harness.contracts import Content, Task
from harness.tokenizer import UNK, Tokenizer
from tasks.world.task import World

FAMILIES = ("ucg", "a2t", "t2t")


def world(**changes) -> World:
    return World(**{"size": "tiny", "train": 300, "valid": 40, "test": 50, "judge": 60, **changes})


def test_it_is_a_task():
    assert isinstance(world(), Task)
    assert (World.name, World.version, World.families) == ("world", 1, FAMILIES)
    world().check()


@pytest.mark.parametrize("family", FAMILIES)
def test_splits(family):
    data = world().load(family)
    assert [len(part) for part in (data.train, data.valid, data.test, data.judge)] == [300, 40, 50, 60]
    assert (data.name, data.family, data.tokenizer, data.max_tokens) == ("world", family, "words", 16)
    examples = [*data.train, *data.valid, *data.test, *data.judge]
    assert len({example.id for example in examples}) == len(examples)
    assert all(len(example.target.split()) < data.max_tokens for example in examples)
    assert data == world().load(family)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_tokenizer_of_the_training_split_knows_every_word_of_the_test_split(family):
    data = world(train=1200).load(family)
    texts = [text for example in data.train for text in (example.target, example.condition or "")]
    tokenizer = Tokenizer.train("words", texts)
    for example in data.test:
        for text in (example.target, example.condition or ""):
            assert UNK not in tokenizer.encode(text)
            assert tokenizer.decode(tokenizer.encode(text)) == text == text.lower()


@pytest.mark.parametrize(
    ("t2t", "family"), [("translation", "a2t"), *((t2t, "t2t") for t2t in ("translation", "paraphrase", "simplification"))]
)
def test_examples_are_the_same_from_the_cache(monkeypatch, tmp_path, t2t, family):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = world(t2t=t2t).load(family)
    monkeypatch.setattr("tasks.world.language.translate", refuse)
    monkeypatch.setattr("tasks.world.task.Realisations", refuse)
    assert world(t2t=t2t).load(family) == found
    assert world(t2t=t2t).load("ucg").test


def refuse(*arguments):
    raise AssertionError("found again although it is in the cache")


def test_splits_have_seeds_of_their_own():
    few, many = world(), world(valid=500)
    assert few.texts("train") == many.texts("train")
    assert few.texts("valid") != few.texts("train")[:40]
    assert world(seed=1).texts("train") != few.texts("train")


def test_data_to_text_lists_what_the_target_says():
    task = world(size="small", train=1, valid=1, test=12, judge=1)
    for example in task.load("a2t").test:
        assert isinstance(example.control, Content)
        meaning = task.language.automaton.meaning(example.target)
        assert dict(example.control.attributes) == meaning
        assert example.condition.startswith(f"name : {meaning['name']} | ")
        assert example.accepted[0] == example.target
        assert len(set(example.references)) == len(example.references) > 1
        assert all(task.language.automaton.meaning(text) == meaning for text in example.references)


@pytest.mark.parametrize("t2t", ["translation", "paraphrase", "simplification"])
def test_rewriting_keeps_the_meaning(t2t):
    task = world(t2t=t2t)
    language = task.language
    target_language = language.second_automaton if t2t == "translation" else language.automaton
    data = task.load("t2t")
    for example in data.test:
        assert target_language.meaning(example.target) == language.automaton.meaning(example.source)
    copied = sum(example.source == example.target for example in data.test)
    assert copied == 0 if t2t == "translation" else copied < 25
    if t2t == "simplification":
        assert all(len(example.target.split()) <= len(example.source.split()) for example in data.test)


def test_the_fingerprint_decides_the_examples():
    prints = {
        task.fingerprint(family)
        for family in FAMILIES
        for task in (world(), world(seed=1), world(train=301), world(size="small"), world(t2t="paraphrase"))
    }
    assert len(prints) == 13, "t2t matters to one family alone"
    assert world().fingerprint("a2t") == world().load("a2t").digest


def test_the_version_of_translation_enters_the_fingerprint_of_translation_alone(monkeypatch):
    cases = [(world(t2t=t2t), family) for t2t in ("translation", "paraphrase") for family in FAMILIES]
    before = [task.fingerprint(family) for task, family in cases]
    monkeypatch.setattr("tasks.world.task.TRANSLATION_VERSION", 99)
    after = [task.fingerprint(family) for task, family in cases]
    changed = [(task.t2t, family) for (task, family), one, other in zip(cases, before, after, strict=True) if one != other]
    assert changed == [("translation", "t2t")]


@pytest.mark.parametrize(
    ("parameters", "texts", "meanings"),
    [
        ({"size": "tiny"}, 0.91, 1.0),
        ({"size": "tiny", "train": 4000, "valid": 200, "judge": 4000, "test": 600}, 0.66, 1.0),
        ({"size": "small"}, 0.004, 0.185),
    ],
)
def test_the_overlap_of_the_splits_is_as_stated(parameters, texts, meanings):
    task = World(**parameters)
    overlap, meaning = task.overlap(), task.language.automaton.meaning
    assert set(overlap) == {"valid", "test", "judge"}
    known = {frozenset(meaning(text).items()) for text in task.texts("train")}
    asked = [frozenset(meaning(text).items()) for text in task.texts("test")]
    assert overlap["test"] == pytest.approx(texts, abs=0.005 if texts > 0.1 else 0.0005)
    assert sum(map(known.__contains__, asked)) / len(asked) == pytest.approx(meanings, abs=0.005)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": "huge"}, "no size 'huge'; choose one of tiny, small, medium, large"),
        ({"t2t": "summary"}, "'summary' is none of translation, paraphrase, simplification"),
        ({"test": 0}, "test has none"),
    ],
)
def test_bad_parameters_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        world(**changes)


@pytest.mark.parametrize("family", FAMILIES)
def test_default_metrics_are_registered_and_apply(family):
    from harness import registry

    for name in world().metrics(family):
        assert family in registry.resolve("metrics", name).load().families
