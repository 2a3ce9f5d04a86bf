"""Systems that begin with a pretrained language model: a small local one, or none at all."""

from dataclasses import replace

import pytest
import torch
from toy_sentences import EXAMPLES, SENTENCES, view

from baselines.local_bart import LocalBart
from baselines.local_bert import LocalBert
from baselines.systems.diffusion_bert import DiffusionBERT, DiffusionBERTCode
from baselines.systems.diffusion_nat import DiffusionNAT, DiffusionNATCode
from harness.construction import begins_with, construct
from harness.contracts import Budget, Example, FitContext, Request, Sampling
from harness.errors import ModelError

SMALL = {"width": 32, "layers": 1, "heads": 2}
PAIRS = [replace(item, source=SENTENCES[(int(item.id) + 3) % 8]) for item in EXAMPLES]
CASES = [
    pytest.param(DiffusionBERT, LocalBert, "ucg", id="diffusion-bert"),
    pytest.param(DiffusionBERTCode, LocalBert, "t2t", id="diffusion-bert-code"),
    pytest.param(DiffusionNAT, LocalBart, "t2t", id="diffusion-nat"),
    pytest.param(DiffusionNATCode, LocalBart, "t2t", id="diffusion-nat-code"),
]


def told(family):
    return view() if family == "ucg" else replace(view(), family=family, max_source_tokens=5)


def examples(family) -> list[Example]:
    return EXAMPLES if family == "ucg" else PAIRS


def asked(family):
    return [Request(id=item.id, seed=int(item.id), max_tokens=6, source=item.source) for item in examples(family)[:3]]


def begun(system, local, family, folder, updates=1, **keys):
    """A system that was trained a little from a local model that was, and that model's weights."""
    first = construct(local, None, told(family), SMALL)
    first.fit(examples(family), [], Budget(tokens=3 * 16 * 20), FitContext(seed=0))
    first.save(folder)
    model = construct(system, system.design.schedule, told(family), SMALL | keys)
    before = {}

    class Heard(type(model)):
        def begin(self, run):
            super().begin(run)
            before.update({name: tensor.clone() for name, tensor in self.network.state_dict().items()})

    model.__class__ = Heard
    tokens = updates * model.optimisation.batch * model.layout.length
    model.fit(examples(family), [], Budget(tokens=tokens), FitContext(seed=1, pretrained=folder))
    model.__class__ = system
    return model, before, first.network.state_dict()


@pytest.mark.parametrize(("system", "local", "family"), CASES)
def test_it_begins_with_the_weights_of_its_local_model(system, local, family, tmp_path):
    model, before, weights = begun(system, local, family, tmp_path)
    assert before.keys() == weights.keys()
    assert all(torch.equal(before[name], weights[name]) for name in weights)
    assert begins_with(system, SMALL).model == system.local_model
    found = model.generate(asked(family), Sampling(steps=4))
    model.save(tmp_path / "after")
    assert system.load(tmp_path / "after", "cpu").generate(asked(family), Sampling(steps=4)) == found


@pytest.mark.parametrize(("system", "local", "family"), CASES)
def test_it_can_begin_with_nothing(system, local, family):
    keys = SMALL | {"plm": None}
    assert begins_with(system, keys) is None
    model = construct(system, system.design.schedule, told(family), keys)
    budget = Budget(tokens=model.optimisation.batch * model.layout.length)
    assert model.fit(examples(family), [], budget, FitContext(seed=1)).updates == 1


@pytest.mark.parametrize(("system", "local", "family"), CASES)
def test_what_it_begins_with_must_be_there_and_fit(system, local, family, tmp_path):
    model = construct(system, system.design.schedule, told(family), SMALL)
    budget = Budget(tokens=model.optimisation.batch * model.layout.length)
    with pytest.raises(ModelError, match="begins with a pretrained one"):
        model.fit(examples(family), [], budget, FitContext(seed=1))
    other = construct(local, None, told(family), {**SMALL, "layers": 2})
    other.save(tmp_path)
    with pytest.raises(ModelError, match="does not fit"):
        model.fit(examples(family), [], budget, FitContext(seed=1, pretrained=tmp_path))


@pytest.mark.parametrize(("system", "local", "family"), CASES)
def test_a_parameter_target_is_met_by_system_and_local_model_alike(system, local, family):
    size = system.size_for(150_000, told(family), layers=2)
    made = construct(system, system.design.schedule, told(family), {"layers": 2, **size})
    found = sum(parameter.numel() for parameter in made.parameters())
    assert 0.8 < found / 150_000 < 1.25
    assert begins_with(system, {"layers": 2, **size}).keys == {"layers": 2, **size}
