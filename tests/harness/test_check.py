from pathlib import Path

import pytest

from harness.check import CHECKS, as_records, as_text, conformance
from harness.errors import GridError, UnknownName

BABBLER = f"{Path(__file__).parent / 'check_models.py'}:Babbler"
DIFFUSER = BABBLER.replace("Babbler", "Diffuser")


def failed(model, **options):
    return {finding.check: finding.message for finding in conformance(model, **options) if finding.status == "failed"}


def test_a_model_that_keeps_its_contract_passes_in_every_family():
    findings = conformance(BABBLER)
    assert not [finding for finding in findings if finding.status == "failed"]
    assert [finding.family for finding in findings] == ["ucg"] * len(CHECKS) + ["t2t"] * len(CHECKS)
    assert {finding.check for finding in findings if finding.status == "skipped"} == {
        "follows its schedule", "follows the number of steps", "depends on the condition",
        "learns the same for any sampling keys",
    }  # fmt: skip
    assert as_text(findings).splitlines()[-1] == f"{2 * len(CHECKS) - 7} passed, 0 failed, 7 skipped"
    assert as_records(findings)[0] == {"family": "ucg", "check": "trains within its budget", "status": "passed", "message": ""}


@pytest.mark.parametrize(
    ("trick", "check", "message"),
    [
        ("raises", "trains within its budget", "no wish to learn"),
        ("spends", "trains within its budget", "6145 positions of a budget of 6144"),
        ("few", "answers every request in order", "11 generations for 12 requests"),
        ("order", "answers every request in order", "in order"),
        ("long", "keeps to the longest answer", "where max_tokens is 8"),
        ("short", "keeps to the longest answer", "fixed_length"),
        ("seed", "repeats itself for the same seed", "Request.seed alone"),
        ("deaf", "depends on the seed", "ignored"),
        ("batch", "does not depend on order or batch", "micro_batch=1"),
        ("uncounted", "counts its network calls", "network_calls is 0; expected a whole number from 1 on, how often the network"),
        ("half", "counts its network calls", "network_calls is 4; expected 8 or 9: 8 tokens were written"),
        ("double", "counts its network calls", "network_calls is 16; expected 8 or 9"),
        ("nan", "gives a likelihood as its design says", "nan nats"),
        ("negative", "gives a likelihood as its design says", "-1.0 nats"),
        ("kind", "gives a likelihood as its design says", "'bound'"),
        ("zero", "gives a likelihood as its design says", "all 12 likelihoods are 0 nats"),
        ("canvas", "gives a likelihood as its design says", "tokens are (8, 8, "),
    ],
)
def test_a_fault_is_found_and_named(trick, check, message):
    assert message in failed(BABBLER, family="ucg", size={"trick": trick})[check]


@pytest.mark.parametrize("model", ["Diffuser", "Whole"])
def test_a_diffusion_model_that_keeps_its_contract_passes(model):
    findings = conformance(BABBLER.replace("Babbler", model))
    assert [finding for finding in findings if finding.status == "failed"] == []
    assert [finding.check for finding in findings if finding.status == "skipped"] == [
        "learns the same for any sampling keys", "depends on the condition", "learns the same for any sampling keys",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("trick", "check", "message"),
    [
        ("unseeded", "learns the same for the same seed", "two fits with FitContext.seed=1 gave models with different answers"),
        ("nan loss", "trains within its budget", "a loss of nan; expected finite numbers"),
        ("infinite loss", "trains within its budget", "a loss of inf"),
        ("no schedule", "follows its schedule", "cosine-squared and sqrt gave the same answers to 12 requests"),
        ("no source", "depends on the condition", "all texts stayed the same"),
        ("no source in likelihood", "depends on the condition", "the same likelihoods"),
        ("four steps", "follows the number of steps", "network_calls says 8 calls in 2 steps and 8 in 4"),
        ("four hidden steps", "follows the number of steps", "hooks saw 8 calls in 2 steps and 8 in 4"),
        ("one step", "follows the number of steps", "steps_used is 1 where 4 were asked for"),
        ("half the calls", "counts its network calls", "network_calls is 4; expected 8: hooks saw 8 forward calls"),
        ("most calls", "counts its network calls", "network_calls is 9; expected 8"),
        ("one candidate", "draws different candidates", "were one text 4 times"),
        ("batched candidates", "does not depend on order or batch", "micro_batch=3 gave other texts"),
        ("other ids", "gives the ids of its texts", "ids decode to 'the the', the text is"),
        ("one id", "gives the ids of its texts", "1 tuples of ids for 2 texts"),
        ("huge ids", "gives the ids of its texts", "an id is 1000000; expected 0 to 21"),
        ("padded", "gives the ids of its texts", "go on after EOS"),
        ("reasons", "tells how its texts ended", "('stop', 'stop') for 2 texts; expected one of ('eos', 'length')"),
        ("one reason", "tells how its texts ended", "('eos',) for 2 texts"),
        ("false reasons", "tells how its texts ended", "expected ('eos', 'eos')"),
        ("negative positions", "tells how its texts ended", "positions_processed is -5"),
        ("no positions", "tells how its texts ended", "positions_processed is 0"),
        ("sorted", "gives each example its own likelihood", "in reversed order; expected the same"),
        ("first", "gives each example its own likelihood", "expected the same"),
        ("one error", "gives a likelihood as its design says", "1 mc_errors for 12 examples"),
        ("nan error", "gives a likelihood as its design says", "a Monte-Carlo error is nan"),
    ],
)
def test_a_fault_of_a_diffusion_model_is_found_and_named(trick, check, message):
    found = failed(DIFFUSER, family="t2t", size={"trick": trick})
    assert message in found[check]


def test_sampling_keys_are_heeded_when_loading_and_only_then():
    keyed, check = BABBLER.replace("Babbler", "Keyed"), "learns the same for any sampling keys"
    assert failed(keyed, family="ucg", size={"shift": 1}) == {}
    for wrong in ("forgotten", "learnt_too"):
        message = failed(keyed, family="ucg", size={wrong: 1})[check]
        assert f"trained without {{'{wrong}': 1}} and loaded with them, it gave other texts" in message
    message = failed(keyed, family="ucg", size={"scored_too": 1})[check]
    assert "with {'scored_too': 1} it scored texts otherwise than without them" in message


@pytest.mark.parametrize(("body", "faulty"), [("return None", False), ("return super().likelihood(examples)", True)])
def test_a_likelihood_that_a_design_has_on_other_grains_only_is_none_on_its_own_schedule(tmp_path, body, faulty):
    (tmp_path / "m.py").write_text(
        "from dataclasses import replace\n"
        f"import importlib.util as u; s = u.spec_from_file_location('cm', {BABBLER.rpartition(':')[0]!r})\n"
        "m = u.module_from_spec(s); s.loader.exec_module(m)\n"
        "class Choosy(m.Diffuser):\n"
        "    design = replace(m.Diffuser.design, grains=('sequence', 'position'), scored_grains=('position',))\n"
        "    def likelihood(self, examples):\n"
        f"        {body}\n"
    )
    check, found = "gives a likelihood as its design says", failed(f"{tmp_path}/m.py:Choosy", family="ucg")
    assert (check in found) == faulty
    assert not faulty or "kind 'bound'; the design says None on schedules of grain 'sequence'" in found[check]


def test_a_condition_that_is_ignored_is_found_where_the_kind_is_no_floor():
    assert set(failed(DIFFUSER, size={"trick": "no source"})) == {"depends on the condition"}


def test_a_model_that_loads_as_something_else_is_found():
    assert "survives saving and loading" in failed(BABBLER.replace("Babbler", "Forgetful"), family="ucg")


@pytest.mark.parametrize("floor", ["unigram", "trigram", "copy-source", "template"])
def test_our_floors_keep_the_contract(floor):
    assert failed(floor) == {}


def test_calls_are_compared_with_what_hooks_count(tmp_path):
    (tmp_path / "m.py").write_text(
        "from torch import nn, zeros\n"
        f"import importlib.util as u; s = u.spec_from_file_location('cm', {BABBLER.rpartition(':')[0]!r})\n"
        "m = u.module_from_spec(s); s.loader.exec_module(m)\n"
        "class Net(m.Babbler):\n"
        "    def __init__(self, schedule, task, *, lie=0):\n"
        "        super().__init__(schedule, task); self.lie = lie; self.network = nn.Linear(1, 1)\n"
        "    def answer(self, request, settings):\n"
        "        import dataclasses\n"
        "        given = super().answer(request, settings)\n"
        "        [self.network(zeros(1)) for _ in range(given.network_calls)]\n"
        "        return dataclasses.replace(given, network_calls=given.network_calls + self.lie)\n"
    )
    assert failed(f"{tmp_path}/m.py:Net", family="ucg") == {}
    assert "hooks saw" in failed(f"{tmp_path}/m.py:Net", family="ucg", size={"lie": -1})["counts its network calls"]


def test_what_cannot_be_tried_is_one_clear_error():
    with pytest.raises(UnknownName, match="unigram"):
        conformance("unigrm")
    with pytest.raises(GridError, match="'a2t' is none of ucg, t2t"):
        conformance(BABBLER, family="a2t")
    with pytest.raises(GridError, match="design = Design"):
        conformance(f"{__file__}:failed")
