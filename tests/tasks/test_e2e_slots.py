import csv
import dataclasses
import io
import os
import random
import zipfile
from functools import cache

import numpy as np
import pytest

from harness.contracts import Content, Example, Generation, TaskView
from harness.measurement import Evaluation
from harness.metrics.aggregates import AGGREGATES, statistics
from harness.tokenizer import Tokenizer
from tasks.e2e import E2E, SLOTS
from tasks.e2e_rules import RULES, accepted, plain, reader
from tasks.e2e_slots import SlotErrors, answered, asked_of, known_places, verdicts

PLACES = ("The Eagle", "Café Rouge", "Raja Indian Cuisine", "Yippee Noodle Bar", "Browns Cambridge")
RATES = ("slot_error_rate", "slots_missing", "slots_wrong", "slots_hallucinated")
needs_data = pytest.mark.skipif(not os.environ.get("HARNESS_DATA"), reason="HARNESS_DATA names no folder with the real files")


def judged(slot, value, text):
    """The verdict on one slot of a text about The Eagle; `None` where it neither asks nor speaks of it."""
    asked = {"name": "The Eagle"} | ({slot: value} if value else {})
    return verdicts(asked, reader(PLACES).read(text)).get(slot)


SAID = {
    ("eatType", "coffee shop"): ["The Eagle is a coffee-shop.", "a COFFEE  SHOP called The Eagle"],
    ("eatType", "pub"): ["The Eagle pub is nice.", "one of the pubs"],
    ("eatType", "restaurant"): ["a family restaurant", "an eatery by the river"],
    ("food", "Chinese"): ["serves Chinese food"],
    ("food", "English"): ["good English food", "British cuisine", "a place for breakfast"],
    ("food", "Fast food"): ["a fast-food place", "burgers and fries"],
    ("food", "French"): ["French food", "wine and cheese"],
    ("food", "Indian"): ["an Indian restaurant", "curries"],
    ("food", "Italian"): ["Italian food", "pasta and pizza"],
    ("food", "Japanese"): ["Japanese food", "a sushi bar"],
    ("priceRange", "cheap"): ["It is cheap.", "inexpensive food", "a low price range", "low-priced", "The price range is low."],
    ("priceRange", "less than £20"): ["less than £20", "under 20 pounds", "for £20 or less", "cheap", "low priced"],
    ("priceRange", "moderate"): ["moderately priced", "mid-range prices", "an average price range", "Prices are moderate."],
    ("priceRange", "£20-25"): ["£20-25", "between £20 and £25", "£20 to 25", "20-25 pounds", "moderate"],
    ("priceRange", "high"): ["high-priced", "expensive", "The price range is high.", "a high price range"],
    ("priceRange", "more than £30"): ["more than £30", "over 30 pounds", "£30 and up", "expensive"],
    ("customer rating", "1 out of 5"): ["rated 1 out of 5", "one star", "a customer rating of 1", "1/5", "a low rating"],
    ("customer rating", "3 out of 5"): ["3 out of 5", "three stars", "an average customer rating"],
    ("customer rating", "5 out of 5"): ["5 out of 5", "a five-star place", "highly rated", "five out of five"],
    ("customer rating", "low"): [
        "a low customer rating", "poorly rated", "The customer rating is low.", "not highly rated", "1 star",
    ],
    ("customer rating", "average"): ["average rating", "rated average by customers", "an average restaurant", "3 star"],
    ("customer rating", "high"): ["a high customer rating", "rated highly", "excellent reviews", "5 stars"],
    ("area", "riverside"): ["in the riverside area", "by the river", "on the river side"],
    ("area", "city centre"): ["in the city centre", "in the city center", "in the centre of the city", "near the city centre"],
    ("familyFriendly", "yes"): [
        "family-friendly", "kid friendly", "It welcomes children.", "for the whole family", "not only kid friendly",
    ],
    ("familyFriendly", "no"): [
        "not family-friendly", "non kid friendly", "It isn't suitable for children.", "adults only", "Children are not allowed.",
        "Family friendly: no", "no kids", "It is not a good place for children", "child-free", "away from the kids",
    ],
    ("near", "Café Rouge"): ["near Café Rouge", "next to cafe rouge", "near the Café  Rouge"],
}  # fmt: skip
MISSING = {
    "eatType": "The Eagle serves food near Café Rouge.", "food": "The Eagle near Raja Indian Cuisine and Yippee Noodle Bar",
    "priceRange": "The Eagle has a high customer rating.", "customer rating": "The Eagle has high prices.",
    "area": "The Eagle is a pub.", "familyFriendly": "The Eagle is a pub.", "near": "The Eagle is by the river.",
}  # fmt: skip
OTHER = {
    ("eatType", "coffee shop"): "The Eagle is a pub.",
    ("food", "Chinese"): "The Eagle serves French food.",
    ("priceRange", "cheap"): "The Eagle is expensive.",
    ("priceRange", "less than £20"): "It costs £20-25.",
    ("priceRange", "high"): "It is not expensive, in fact cheap.",
    ("customer rating", "high"): "It has a low customer rating.",
    ("customer rating", "5 out of 5"): "It is rated 1 out of 5 stars.",
    ("customer rating", "low"): "It is rated 5 out of 5.",
    ("area", "riverside"): "It is in the city centre.",
    ("area", "city centre"): "It is by the river, north of the city centre.",
    ("familyFriendly", "yes"): "It is not family friendly.",
    ("familyFriendly", "no"): "It is family friendly.",
    ("near", "Café Rouge"): "The Eagle is near Yippee Noodle Bar.",
}


@pytest.mark.parametrize(("slot", "value", "text"), [(*key, text) for key, texts in SAID.items() for text in texts])
def test_paraphrases_say_the_value(slot, value, text):
    assert judged(slot, value, f"The Eagle. {text}") == "right"


def test_every_value_of_every_slot_has_a_paraphrase_here():
    known = {(slot, value) for slot, rules in RULES.items() for value in rules}
    assert known | {("familyFriendly", "yes"), ("familyFriendly", "no")} == {key for key in SAID if key[0] != "near"}


@pytest.mark.parametrize("key", [key for key in SAID if key[0] in MISSING])
def test_silence_is_missing(key):
    assert judged(*key, MISSING[key[0]]) == "missing"


@pytest.mark.parametrize("key", OTHER)
def test_another_value_is_wrong(key):
    assert judged(*key, f"The Eagle. {OTHER[key]}") == "wrong"


def test_a_contradiction_is_wrong_and_a_number_with_its_word_is_none():
    assert judged("priceRange", "cheap", "It is cheap and expensive.") == "wrong"
    assert judged("priceRange", "more than £30", "It is expensive: more than £30.") == "right"
    assert judged("priceRange", "£20-25", "The average price is £20-25.") == "right"
    assert judged("customer rating", "1 out of 5", "The average customer rating is 1 out of 5.") == "right"


@pytest.mark.parametrize(("slot", "text"), [
    ("eatType", "a pub"), ("food", "sushi"), ("priceRange", "It is cheap."), ("customer rating", "3 out of 5"),
    ("area", "by the river"), ("familyFriendly", "no children"), ("near", "near Café Rouge"),
])  # fmt: skip
def test_what_was_not_asked_for_is_hallucinated(slot, text):
    assert judged(slot, None, f"The Eagle. {text}") == "hallucinated"


@pytest.mark.parametrize(("slot", "text"), [
    ("eatType", "a restaurant"), ("priceRange", "at a reasonable price"), ("customer rating", "an excellent place"),
    ("area", "north of the city centre"), ("food", "near Raja Indian Cuisine"), ("eatType", "near Yippee Noodle Bar"),
])  # fmt: skip
def test_hints_and_names_of_places_claim_nothing(slot, text):
    assert judged(slot, None, f"The Eagle. {text}") is None


def test_names_are_matched_whole_without_accents_case_and_apostrophes():
    said = reader([*PLACES, "The Rice Boat"]).read("BROWN’S CAMBRIDGE near cafe rouge; the Eagles")
    assert said.places == {"browns cambridge", "cafe rouge"}
    assert plain("Café’s low–priced  £20-25") == "cafes low priced £20 25"


def test_one_other_name_stands_for_one_that_is_missing():
    asked = {"name": "The Eagle", "near": "Café Rouge"}
    read = reader(PLACES).read
    assert verdicts(asked, read("Browns Cambridge")) == {"name": "wrong", "near": "missing"}
    assert verdicts(asked, read("Browns Cambridge, Yippee Noodle Bar")) == {"name": "wrong", "near": "wrong"}
    assert verdicts(asked, read("The Eagle near Café Rouge and Yippee Noodle Bar")) == {"name": "right", "near": "wrong"}
    assert verdicts({"name": "The Eagle"}, read("The Eagle, The Eagle")) == {"name": "right"}


def test_a_number_and_its_word_stand_for_each_other():
    assert accepted("priceRange", "high") == {"high", "more than £30"}
    assert accepted("customer rating", "high") == {"high", "5 out of 5"}
    assert accepted("area", "riverside") == {"riverside"}


# --- the metric ------------------------------------------------------------------------------------------------------
ATTRIBUTES = [
    (("name", "The Eagle"), ("food", "French"), ("priceRange", "cheap")),
    (("name", "Browns Cambridge"), ("eatType", "pub"), ("area", "riverside"), ("near", "Café Rouge")),
    (("name", "The Eagle"), ("customer rating", "low"), ("familyFriendly", "no")),
]
REFERENCES = [
    ("The Eagle is cheap and French.", "The Eagle is French."),
    ("Browns Cambridge is a pub by the river near Café Rouge.",),
    ("The Eagle is not family friendly, with a low customer rating.",),
]


def evaluation(texts, *, copies=1, attributes=ATTRIBUTES, references=REFERENCES, profile="test"):
    examples = [
        Example(id=f"x{index}" + (f"#{copy}" if copy else ""), target=accepted[0], control=Content(control), references=accepted)
        for copy in range(copies)
        for index, (control, accepted) in enumerate(zip(attributes, references, strict=True))
    ]
    return of(examples, texts, profile=profile)


def of(examples, texts, *, train=(), profile="test"):
    answers = [Generation(id=example.id, texts=(text,)) for example, text in zip(examples, texts, strict=True)]
    view = TaskView(name="e2e", family="a2t", tokenizer=Tokenizer.train("words", ["a"]), max_tokens=8)
    return Evaluation(
        task=E2E(),
        family="a2t",
        examples=examples,
        texts=list(texts),
        generations=answers,
        train=train,
        view=view,
        profile=profile,
    )


def test_rates_are_counted_over_the_slots_asked_for():
    texts = ["The Eagle is expensive and near Café Rouge.", "Browns Cambridge is a pub by the river near Café Rouge.", ""]
    found = SlotErrors()(evaluation(texts))
    counted = {name: found[name].items for name in RATES}
    assert counted["slots_missing"] == ((1, 3), (0, 4), (3, 3))
    assert counted["slots_wrong"] == ((1, 3), (0, 4), (0, 3))
    assert counted["slots_hallucinated"] == ((1, 3), (0, 4), (0, 3))
    assert found["slot_error_rate"].value == pytest.approx(6 / 10)
    assert found["slots_right"].items == (0, 1, 0)
    assert found["slot_error_rate"].flags[0] == "1 empty text"
    assert found["slot_error_rate"].signature == "slots:8|rules:1|places:3"


def test_the_corrected_share_is_that_of_rogan_and_gladen_by_hand():
    found = SlotErrors()(evaluation([accepted[0] for accepted in REFERENCES]))["slots_right_corrected"]
    # of 3 slots of item 0 one of the two references lacks the price: 2.5; all of the others: sensitivity 9.5 / 10. Item i is held
    # against item i + 1: 4 strange values, then 3, then 2 (the name is the same), of which none is found: specificity 1
    assert found.items == ((3, 3, 2.5, 3, 0, 4), (4, 4, 4, 4, 0, 3), (3, 3, 3, 3, 0, 2))
    assert found.value == pytest.approx(1 / 0.95)
    assert "above 1: more complete than the references" in found.flags
    assert "found: 1.000; on human text sensitivity 0.950, specificity 1.000" in found.flags


def test_items_and_their_aggregate_make_every_value():
    texts = ["The Eagle is French and by the river.", "a pub", "The Eagle is family friendly."] * 8
    for name, found in SlotErrors()(evaluation(texts, copies=8)).items():
        rows = statistics(found.items, found.aggregate)
        assert AGGREGATES[found.aggregate](rows.sum(0)[None]) == pytest.approx([found.value]), name


def test_repetitions_of_an_item_are_one_observation():
    rng = np.random.default_rng(0)
    names = [f"House {chr(97 + index // 8)}{chr(97 + index % 8)}" for index in range(60)]
    asked, written = rng.integers(3, size=(2, 60))

    def renamed(text, index):
        return text.replace("The Eagle", names[index]).replace("Browns Cambridge", names[index])

    attributes = [(("name", names[index]), *ATTRIBUTES[kind][1:]) for index, kind in enumerate(asked)]
    references = [tuple(renamed(text, index) for text in REFERENCES[kind]) for index, kind in enumerate(asked)]
    texts = [renamed(REFERENCES[kind][0], index) for index, kind in enumerate(written)]
    once = SlotErrors()(evaluation(texts, attributes=attributes, references=references))
    four = SlotErrors()(evaluation(texts * 4, copies=4, attributes=attributes, references=references))
    for name in SlotErrors.values:
        assert four[name].value == pytest.approx(once[name].value), name
        widths = [found[name].high - found[name].low for found in (once, four)]
        assert widths[1] == pytest.approx(widths[0], rel=0.2), name


def test_refusals():
    assert {found.reason for found in SlotErrors()(evaluation([], attributes=[], references=[])).values()} == {"no items"}
    bare = of([Example(id="x", target="a")], ["a"])
    assert {found.reason for found in SlotErrors()(bare).values()} == {
        "example 'x' asks for no attributes; there are rules for the slots and values of E2E only"
    }
    strange = evaluation(["a"], attributes=[(("name", "The Eagle"), ("food", "Thai"))], references=[("a",)])
    assert "'x0' asks for food[Thai]" in SlotErrors()(strange)["slots_right"].reason
    silent = SlotErrors()(evaluation(["a"] * 3, references=[("Nothing.",)] * 3))["slots_right_corrected"]
    assert silent.reason == "on human text sensitivity 0.000, specificity 1.000: their sum is not above 1.1"
    alone = SlotErrors()(evaluation(["a"], attributes=ATTRIBUTES[:1], references=REFERENCES[:1]))["slots_right_corrected"]
    assert alone.reason == "no item asks for what another does not: no text to try the rules on"


def test_it_is_a_default_of_attributes_only():
    assert "e2e-slots" in E2E().metrics("a2t")
    assert "e2e-slots" not in E2E().metrics("ucg")
    assert set(SlotErrors.exposes) <= set(SlotErrors.values)


# --- real data -------------------------------------------------------------------------------------------------------
@cache
def _loaded():
    return E2E().load("a2t")


@cache
def human(split):
    """Every human reference of a split as a text of its own, its item's others beside it."""
    data = _loaded()
    if split == "test":
        return [
            (dataclasses.replace(e, id=f"{e.id}#{k}"), text) for e in data.test for k, text in enumerate(e.references)
        ], data.train
    groups = {}
    for example in data.valid:
        groups.setdefault(example.control, []).append(example.target)
    return [
        (Example(id=f"v{index}#{k}", target=texts[0], control=control, references=tuple(texts)), text)
        for index, (control, texts) in enumerate(groups.items())
        for k, text in enumerate(texts)
    ], data.train


@needs_data
@pytest.mark.parametrize(("split", "measured"), [("valid", 0.072), ("test", 0.082)])
def test_human_references_have_few_errors_and_shuffled_ones_many(split, measured):
    pairs, train = human(split)
    items = {example.id.partition("#")[0] for example, _ in pairs}
    chosen = set(random.Random(0).sample(sorted(items), 80))
    sample = [(example, text) for example, text in pairs if example.id.partition("#")[0] in chosen]
    examples, texts = [example for example, _ in sample], [text for _, text in sample]
    found = SlotErrors()(of(examples, texts, train=train))
    # the standard error over 80 meaning representations is below 0.01
    assert found["slot_error_rate"].value == pytest.approx(measured, abs=0.035)
    assert found["slots_right"].value > 0.58
    assert found["slots_right_corrected"].value == pytest.approx(1, abs=0.02)
    shuffled = SlotErrors()(of(examples, random.Random(1).sample(texts, len(texts)), train=train))
    assert shuffled["slot_error_rate"].value > 0.7
    assert shuffled["slots_right"].value < 0.02
    assert shuffled["slots_right_corrected"].value < 0.4


@needs_data
def test_asked_values_are_found_in_human_references_slot_by_slot():
    pairs, train = human("valid")
    read = reader(known_places([*train, *(example for example, _ in pairs)])).read
    least = {
        "name": 0.99, "eatType": 0.95, "food": 0.85, "priceRange": 0.88, "customer rating": 0.84, "area": 0.88,
        "familyFriendly": 0.84, "near": 0.97,
    }  # fmt: skip
    for slot in SLOTS:
        wanted = [(asked_of(example)[slot], text) for example, text in pairs[::5] if slot in asked_of(example)]
        hits = sum(answered(slot, value, read(text)) for value, text in wanted)
        assert hits / len(wanted) > least[slot], slot


def _csv(rows):
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([("mr", "ref"), *rows])
    return text.getvalue().encode()


def test_made_up_files_go_through_the_task(write_sources):
    rows = [(f"name[The Eagle], food[{food}]", f"The Eagle serves {food} food.") for food in ("French", "Indian", "Italian")]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("e2e-dataset/trainset.csv", _csv(rows * 40))
    files = {"train": ("a.zip", buffer.getvalue()), "valid": ("dev.csv", _csv(rows)), "test": ("test.csv", _csv(rows))}
    write_sources("e2e", files, member="e2e-dataset/trainset.csv")
    test = E2E().load("a2t").test
    found = SlotErrors()(of(test, [example.target for example in test]))
    assert {name: found[name].value for name in RATES} == dict.fromkeys(RATES, 0.0)
    assert found["slots_right"].value == 1
