from pathlib import Path

import pytest

from harness.check import CHECKS, as_records, as_text, conformance
from harness.errors import GridError, UnknownName

BABBLER = f"{Path(__file__).parent / 'check_models.py'}:Babbler"


def failed(model, **options):
    return {finding.check: finding.message for finding in conformance(model, **options) if finding.status == "failed"}


def test_a_model_that_keeps_its_contract_passes_in_every_family():
    findings = conformance(BABBLER)
    assert not [finding for finding in findings if finding.status == "failed"]
    assert [finding.family for finding in findings] == ["ucg"] * len(CHECKS) + ["t2t"] * len(CHECKS)
    assert as_text(findings).splitlines()[-1] == f"{2 * len(CHECKS) - 2} passed, 0 failed, 2 skipped"
    assert as_records(findings)[0] == {"family": "ucg", "check": "trains within its budget", "status": "passed", "message": ""}


@pytest.mark.parametrize(
    ("trick", "check", "message"),
    [
        ("raises", "trains within its budget", "no wish to learn"),
        ("spends", "trains within its budget", "10241 positions of a budget of 10240"),
        ("few", "answers every request in order", "11 generations for 12 requests"),
        ("order", "answers every request in order", "in order"),
        ("long", "keeps to the longest answer", "where max_tokens is 8"),
        ("short", "keeps to the longest answer", "fixed_length"),
        ("seed", "repeats itself for the same seed", "Request.seed alone"),
        ("deaf", "depends on the seed", "ignored"),
        ("batch", "does not depend on order or batch", "micro_batch=1"),
        ("uncounted", "counts its network calls", "cost column"),
        ("nan", "gives a likelihood as its design says", "nan nats"),
        ("negative", "gives a likelihood as its design says", "-1.0 nats"),
        ("kind", "gives a likelihood as its design says", "'bound'"),
    ],
)
def test_a_fault_is_found_and_named(trick, check, message):
    assert message in failed(BABBLER, family="ucg", size={"trick": trick})[check]


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
        "        super().__init__(schedule, task); self.lie = lie; self.network = nn.Identity()\n"
        "    def answer(self, request, settings):\n"
        "        import dataclasses\n"
        "        given = super().answer(request, settings)\n"
        "        [self.network(zeros(1)) for _ in range(given.network_calls)]\n"
        "        return dataclasses.replace(given, network_calls=given.network_calls + self.lie)\n"
    )
    assert failed(f"{tmp_path}/m.py:Net", family="ucg") == {}
    assert "modules were called" in failed(f"{tmp_path}/m.py:Net", family="ucg", size={"lie": -1})["counts its network calls"]


def test_what_cannot_be_tried_is_one_clear_error():
    with pytest.raises(UnknownName, match="unigram"):
        conformance("unigrm")
    with pytest.raises(GridError, match="'a2t' is none of ucg, t2t"):
        conformance(BABBLER, family="a2t")
    with pytest.raises(GridError, match="design = Design"):
        conformance(f"{__file__}:failed")
