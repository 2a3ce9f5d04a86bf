"""Small local language models, what they learn, and how a system begins with their weights: alone, and in a grid."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from random_checkpoints import saved
from safetensors.torch import load_file, save_file

from baselines import pretraining
from baselines.local_bert import LocalBert
from baselines.networks.checkpoints import read
from baselines.networks.pretrained import PretrainedEncoder
from baselines.pretraining import PLM_KEYS, beginning, denoiser_of, in_its_tokens, size_with, take_weights
from baselines.systems.diffusion_bert import DiffusionBERT
from baselines.systems.diffusion_nat import DiffusionNAT
from baselines.systems.mdlm import MDLM
from baselines.training import Draws
from harness.check.case import Case
from harness.construction import begins_with, construct
from harness.contracts import Budget, Example, FitContext, Pretraining, Request, Sampling, TaskView
from harness.errors import GridError, ModelError
from harness.grid import load
from harness.pretrained import digest_of_folder, tokenizer_of
from harness.registry import resolve
from harness.runner.execute import run
from harness.runner.plan import make_plan
from harness.runner.pool import InProcessPool
from harness.tokenizer import Tokenizer
from harness.tracking.records import Store, rows

SENTENCES = [f"the {a} {n} {v}" for a in ("old", "small") for n in ("dog", "cat") for v in ("sees", "hears")]
TINY = {"width": 16, "layers": 1, "heads": 2}
HERE = __file__
ROOT = Path(HERE).parents[2]


class Beginner(MDLM):
    """A masked diffusion model that begins with a local BERT."""

    defaults: ClassVar = {**MDLM.defaults, **PLM_KEYS}

    @classmethod
    def begins_with(cls, **size):
        return beginning(f"{HERE}:Small", size, PretrainedEncoder)

    @classmethod
    def design_for(cls, **size):
        cls.checked(size)
        return in_its_tokens(cls.design, size)

    @classmethod
    def size_for(cls, parameters, task, **size):
        return size_with(LocalBert, parameters, task, size)

    @classmethod
    def network_of(cls, task, keys):
        return denoiser_of(keys["plm"], task, lambda: LocalBert.network_of(task, keys))

    def begin(self, run):
        super().begin(run)
        take_weights(self.network, run, self.task)
        self.first = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}


class Small(LocalBert):
    """As it would be registered."""


def examples(family="ucg"):
    return [
        Example(id=str(i), target=text, source=" ".join(reversed(text.split())) if family == "t2t" else None)
        for i, text in enumerate(SENTENCES * 4)
    ]


def view(family="ucg", words=SENTENCES):
    return TaskView(
        name="toy", family=family, tokenizer=Tokenizer.train("words", words), max_tokens=6,
        max_source_tokens=5 if family == "t2t" else 0,
    )  # fmt: skip


def pretrained(folder, family="ucg", updates=3, **size):
    model = construct(LocalBert, None, view(family), TINY | size)
    report = model.fit(examples(family), [], Budget(tokens=updates * 16 * 20), FitContext(seed=0))
    model.save(folder)
    return model, report


def begun(folder, family="ucg", tokens=16 * 20, **size):
    model = construct(Beginner, "log-linear", view(family), TINY | size)
    model.fit(examples(family), [], Budget(tokens=tokens), FitContext(seed=1, pretrained=folder))
    return model


def draws(rows, seed=0):
    return Draws(seed=seed, batch=rows, rows=slice(rows), device=torch.device("cpu"))


def test_positions_are_told_masked_and_exchanged_in_the_shares_of_the_paper():
    """600,000 positions; 4.5 standard errors."""
    model = construct(LocalBert, None, view(), TINY)
    ids = torch.full((100_000, 6), 7)
    drawn = draws(len(ids))
    told = drawn.uniform("told", 6) < 0.15
    read = model.corrupted(ids, told, drawn)
    tokens = len(model.task.tokenizer)
    assert torch.equal(read[~told], ids[~told])
    shares = {"mask": 0.8, "same": 0.1 + 0.1 / tokens, "other": 0.1 * (1 - 1 / tokens)}
    seen = read[told]
    found = {"mask": seen == tokens, "same": seen == 7, "other": (seen != 7) & (seen < tokens)}
    for name, share in shares.items():
        error = (share * (1 - share) / len(seen)) ** 0.5
        assert abs(found[name].double().mean().item() - share) < 4.5 * error, name
    kinds = torch.bincount(seen[(seen != 7) & (seen < tokens)], minlength=tokens).double()
    kinds = torch.cat([kinds[:7], kinds[8:]])
    assert ((kinds / kinds.sum() - 1 / (tokens - 1)).abs() < 4.5 * (kinds.sum() * (tokens - 1)) ** -0.5).all()


def test_its_loss_is_the_cross_entropy_at_the_told_positions():
    model = construct(LocalBert, None, view(), TINY)
    batch = model.data([[]] * 8, model.task.tokenizer.encode_batch(SENTENCES))
    drawn = draws(8)
    told = drawn.uniform("told", 6) < 0.15
    read = model.corrupted(batch["ids"], told, drawn)
    logits = model.network(read, torch.zeros(8), torch.zeros_like(told), None).raw
    nats = torch.nn.functional.cross_entropy(logits.transpose(1, 2), batch["ids"], reduction="none")
    expected = (nats * told).sum(-1) / (0.15 * 6)
    assert told.any()
    torch.testing.assert_close(model.loss(batch, drawn), expected)


def test_texts_of_sources_are_read_in_pairs_by_chance_alone():
    model = construct(LocalBert, None, view("t2t"), TINY)
    shown = model._data(examples("t2t"), FitContext(seed=0))["ids"]
    tokenizer, same = model.task.tokenizer, 0
    for row, example in zip(shown.tolist(), examples("t2t"), strict=True):
        source, target = row[: row.index(1)], row[model.task.max_source_tokens + 1 :]
        assert tokenizer.decode(target) == example.target
        same += tokenizer.decode(source) == example.source
    assert same < len(shown) / 2


def test_it_writes_nothing_and_says_so(tmp_path):
    model, report = pretrained(tmp_path)
    assert report.updates == report.tokens // (16 * 6) > 0
    assert model.likelihood(examples()) is None
    with pytest.raises(ModelError, match="local-bert writes no texts: systems begin with its weights"):
        model.generate([], Sampling())
    with pytest.raises(ValueError, match="local-bert has no noise schedule"):
        construct(LocalBert, "sqrt", view(), TINY)
    with pytest.raises(ValueError, match="unknown key 'widht'"):
        LocalBert.design_for(widht=3)


@pytest.mark.parametrize("family", ["ucg", "t2t"])
def test_a_system_begins_with_exactly_these_weights(family, tmp_path):
    local, _ = pretrained(tmp_path, family)
    model = begun(tmp_path, family)
    expected = local.network.state_dict()
    assert model.first.keys() == expected.keys()
    assert all(torch.equal(model.first[name], tensor) for name, tensor in expected.items())
    assert not torch.equal(model.network.state_dict()["head.weight"], expected["head.weight"])
    answers = model.generate([Request(id="0", seed=0, max_tokens=6, source="dog the" if family == "t2t" else None)], Sampling())
    assert len(answers) == 1


@pytest.mark.slow
def test_what_was_learnt_is_of_use(tmp_path):
    """After as few updates, the loss on held-out texts is lower by far more than the spread over seeds."""
    size = {"width": 32, "layers": 2, "heads": 2}
    pretrained(tmp_path, updates=400, **size)
    lost = []
    for model_class, folder in ((Beginner, tmp_path), (MDLM, None)):
        models = [construct(model_class, "log-linear", view(), size) for _ in range(3)]
        reports = [
            model.fit(examples(), examples(), Budget(tokens=16 * 6 * 10), FitContext(seed=seed, pretrained=folder))
            for seed, model in enumerate(models)
        ]
        lost.append(torch.tensor([report.valid_loss for report in reports]))
    assert lost[0].max() + 0.2 < lost[1].min()


def test_modules_that_only_the_system_has_stay_as_they_are(tmp_path):
    pretrained(tmp_path)
    model = construct(LocalBert, None, view(), TINY)
    model.network.extra = torch.nn.Linear(2, 2)
    before = model.network.extra.weight.clone()
    take_weights(model.network, FitContext(seed=0, pretrained=tmp_path), view(), new=("extra",))
    assert torch.equal(model.network.extra.weight, before)
    with pytest.raises(ModelError, match=r"it lacks extra.bias, extra.weight\. Give it the width, layers and heads"):
        take_weights(model.network, FitContext(seed=0, pretrained=tmp_path), view())


def test_what_does_not_fit_is_one_error(tmp_path):
    pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"it lacks transformer\.blocks\.1\.\S+, .* and \d more\. Give it the width"):
        begun(tmp_path, layers=2)
    with pytest.raises(ModelError, match=r"of other shapes: embedding\.weight \(\d+, 16\) for \(\d+, 24\)"):
        begun(tmp_path, width=24)
    with pytest.raises(ModelError, match=r"begins with a pretrained one; give its folder as FitContext\.pretrained"):
        begun(None)
    with pytest.raises(ModelError, match=r"holds no pretrained model; expected model\.json and model\.safetensors"):
        begun(tmp_path / "none")
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({**tensors, "network.more": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="it has too many: more"):
        begun(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"pickled")
    with pytest.raises(ModelError, match="holds no pretrained model"):
        begun(tmp_path)


def test_another_tokenizer_is_an_error(tmp_path):
    pretrained(tmp_path)
    configuration = json.loads((tmp_path / "model.json").read_text())
    configuration["task"]["tokenizer"] = Tokenizer.train("words", ["other words"]).to_json()
    (tmp_path / "model.json").write_text(json.dumps(configuration))
    with pytest.raises(ModelError, match=r"has a tokenizer of 7 entries, digest \w+; expected the task's, 12 entries"):
        begun(tmp_path)


def test_keys_of_the_beginning_are_checked():
    assert begins_with(Beginner, {}) == Pretraining(model=f"{HERE}:Small")
    asked = begins_with(Beginner, {"width": 64, "batch": 8, "plm_tokens": 100})
    assert asked == Pretraining(model=f"{HERE}:Small", keys={"width": 64}, tokens=100)
    with pytest.raises(ValueError, match="'remote' is neither an absolute path nor a name in the local cache"):
        begins_with(Beginner, {"plm": "remote"})
    with pytest.raises(ValueError, match="plm_tokens 0, expected a whole number from 1 on, or null"):
        begins_with(Beginner, {"plm_tokens": 0})
    with pytest.raises(ValueError, match="plm_sha256 0 is no text; put it between quotes, or YAML takes its digits for a number"):
        begins_with(Beginner, {"plm": "/models/bert", "plm_sha256": 0})


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ({"plm": "local", "plm_sha256": "ab"}, "plm_sha256: plm is 'local', which is trained here .*; drop this key"),
        ({"plm_sha256": "ab"}, "plm_sha256: plm is 'local', which is trained here .*; drop this key"),
        ({"plm": None, "plm_sha256": "ab"}, "plm_sha256: with plm: null a system begins with nothing; drop this key"),
        ({"plm": None, "plm_tokens": 5}, "plm_tokens: with plm: null a system begins with nothing; drop this key"),
        ({"plm": None, "plm_sha256": "ab", "plm_tokens": 5}, "plm_sha256, plm_tokens: with plm: null .*; drop these keys"),
    ],
)
def test_keys_of_a_beginning_that_is_not_asked_for_are_refused(size, said):
    for model in (DiffusionBERT, DiffusionNAT):
        model.design_for(**size)
        with pytest.raises(ValueError, match=said):
            begins_with(model, size)
    assert begins_with(DiffusionBERT, {"plm": None}) is None


@pytest.mark.parametrize(
    ("plm", "said"),
    [("Local", "Did you mean 'local'"), ("locl", "Did you mean 'local'"), ("none", "Did you mean null, to begin with")],
)
def test_a_slip_of_the_pen_is_told_what_it_may_have_meant(plm, said):
    with pytest.raises(ValueError, match=rf"'{plm}' is neither an absolute path .* `hf download {plm}`\. {said}"):
        begins_with(Beginner, {"plm": plm})
    with pytest.raises(ValueError, match=r"`hf download bert-base-uncased`$"):
        begins_with(Beginner, {"plm": "bert-base-uncased"})


@pytest.mark.parametrize("size", [{"width": 64}, {"plm_tokens": 5}])
def test_a_checkpoint_has_its_own_size(size, tmp_path):
    with pytest.raises(ValueError, match=rf"{next(iter(size))}: the checkpoint {tmp_path} has its own size, and is trained"):
        begins_with(Beginner, {"plm": str(tmp_path), **size})
    assert Beginner.size_for(30_000, view(), plm=str(tmp_path)) == {}


def test_a_parameter_target_gives_both_the_same_size():
    size = LocalBert.size_for(30_000, view(), layers=2)
    assert Beginner.size_for(30_000, view(), layers=2, batch=4) == size
    count = sum(parameter.numel() for parameter in construct(LocalBert, None, view(), {**size, "layers": 2}).parameters())
    assert 0.5 < count / 30_000 < 2


# --- in a grid -------------------------------------------------------------------------------------------------------
PLUGINS = "tests/end_to_end/plugins.py"


@pytest.fixture
def grid_file(tmp_path, pytestconfig):
    def write(models, rest=""):
        plugins = pytestconfig.rootpath / PLUGINS
        path = tmp_path / "grid.yaml"
        path.write_text(
            f"models: [{models}]\ntasks: ['{plugins}:Letters:ucg']\nbudget: {{tokens: 700}}\nprofile: test\nlatency: false\n"
            f"judge: {{name: '{plugins}:Judge'}}\n{rest or 'steps: [2]'}"
        )
        return path

    return write


def beginner(**keys):
    said = ", ".join(f"{name}: {value}" for name, value in {**TINY, "batch": 4, **keys}.items())
    return f"{{name: '{HERE}:Beginner', {said}}}"


def beginnings(plan):
    return {key: stage for key, stage in plan.stages.items() if stage.spec.get("model", "").endswith(":Small")}


def test_systems_and_seeds_share_one_pretraining(grid_file):
    models = f"{beginner(label='one')}, {beginner(label='two', condition_dropout=0.2)}, gpt"
    plan = make_plan(load(grid_file(models, "seeds: [0, 1, 2]\nsteps: [2, 4]")))
    ((key, stage),) = beginnings(plan).items()
    assert (stage.kind, stage.spec["seed"], stage.spec["fold"], stage.spec["schedule"]) == ("fit", 0, "train", None)
    assert (stage.spec["budget"], stage.spec["options"]) == ({"tokens": 700, "parameters": None}, TINY)
    trainings = [fit for fit in plan.trainings if fit.spec["model"].endswith(":Beginner")]
    assert len(trainings) == 6
    assert {fit.inputs["pretrain"] for fit in trainings} == {key}
    order = list(plan.stages)
    assert all(order.index(key) < order.index(fit.key) for fit in trainings)
    assert all("pretrain" not in fit.inputs for fit in plan.trainings if fit.spec["model"] == "gpt")
    assert {cell.stages.get("pretrain") for cell in plan.cells if cell.cell.model.name == "gpt"} == {None}
    assert all(cell.needs == {} for cell in plan.cells)


def test_a_model_on_trial_gets_its_beginning(tmp_path):
    case = Case(Beginner, Beginner.design, "ucg", TINY, tmp_path, "cpu")
    expected = LocalBert.load(case.pretrained, "cpu").network.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in case.fitted[0].first.items())


def test_another_beginning_is_another_pretraining_and_another_system(grid_file):
    models = f"{beginner(label='one')}, {beginner(label='two', plm_tokens=1400)}, {beginner(label='three', layers=2)}"
    plan = make_plan(load(grid_file(models)))
    assert [stage.spec["budget"]["tokens"] for stage in beginnings(plan).values()] == [700, 1400, 700]
    assert len({cell.stages["fit"] for cell in plan.cells}) == 3
    assert plan.estimate.trainings == 6
    with pytest.raises(GridError, match=r"refuses its options .* 'far' is neither an absolute path nor a name"):
        make_plan(load(grid_file(f"{{name: '{HERE}:Beginner', plm: far}}")))


def test_a_pretrained_model_is_no_contestant(grid_file):
    plan = make_plan(load(grid_file(f"'{HERE}:Small', gpt")))
    assert [cell.cell.reason for cell in plan.skipped] == ["Small does nothing by itself, not ucg"]


def test_a_grid_pretrains_once_and_tells_with_what_a_system_began(grid_file, tmp_path):
    store = Store(tmp_path / "runs")
    plan = make_plan(load(grid_file(f"{beginner()}, gpt", "seeds: [0, 1]\nsteps: [2]")), store)
    (key,) = beginnings(plan)
    assert run(plan, store, InProcessPool()).failed == 0
    found = rows(store)
    assert [row.status for row in found] == ["done"] * 4
    ours = [row for row in found if "Beginner" in row.model]
    tokens = store.record(key).result["tokens"]
    for row in ours:
        assert row.settings["plm"] == {
            "name": "local",
            "model": "test_pretraining.py:Small",
            "size": TINY,
            "tokens": tokens,
            "digest": key,
        }
        assert (row.cost["pretraining_tokens"], row.digests["pretrain"]) == (tokens, key)
        assert "unmatched: pretraining" in row.settings["badges"]
    assert all("plm" not in row.settings and not row.settings["badges"] for row in found if row not in ours)
    again = make_plan(load(grid_file(beginner(), "seeds: [2]\nsteps: [2]")), store)
    assert key in again.finished


# --- a checkpoint ----------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A random BERT whose words are letters, in twos: "ab" is one entry."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("bert")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"]
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=32,
    )  # fmt: skip
    transformers.BertForMaskedLM(config).save_pretrained(folder, safe_serialization=True)
    transformers.BertTokenizerFast(vocab={word: index for index, word in enumerate(vocabulary)}).save_pretrained(folder)
    return folder


def named(folder, model=f"{HERE}:Beginner"):
    return f"{{name: '{model}', batch: 4, plm: '{folder}', plm_sha256: {digest_of_folder(folder)}}}"


def rewritten(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def configured(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


HEAD = "cls.predictions.transform.dense.weight"
BROKEN = {
    "lacking": (lambda place: rewritten(place, lambda tensors: tensors.pop(HEAD)), f"lacks {HEAD}"),
    "extra": (lambda place: rewritten(place, lambda tensors: tensors.update(more=torch.zeros(1))), "has too many: more"),
    "misshapen": (
        lambda place: rewritten(place, lambda tensors: tensors.update({HEAD: torch.zeros(2, 3)})),
        rf"of other shapes: {HEAD} \(2, 3\) for \(16, 16\)",
    ),
    "nan": (lambda place: rewritten(place, lambda tensors: tensors[HEAD].fill_(torch.nan)), f"not finite in {HEAD}"),
    "cut": (lambda place: os.truncate(place / "model.safetensors", 2000), "cannot be read: SafetensorError"),
    "untied": (lambda place: configured(place, tie_word_embeddings=False), "an output head of its own"),
    "foreign": (lambda place: configured(place, model_type="t5"), "holds a model of type 't5'; expected one of bert, roberta"),
    "activation": (lambda place: configured(place, hidden_act="own"), "describes no bert that can be built: KeyError: 'own'"),
    "undescribed": (lambda place: (place / "config.json").unlink(), r"no config\.json lies in"),
    "speechless": (lambda place: (place / "tokenizer.json").unlink(), "no tokenizer lies in"),
    "unsized": (lambda place: configured(place, vocab_size=None), "describes no bert that can be built"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_checkpoint_costs_one_message_when_a_grid_is_planned(broken, checkpoint, grid_file, tmp_path):
    copied = tmp_path / "copied"
    shutil.copytree(checkpoint, copied)
    spoil, said = BROKEN[broken]
    spoil(copied)
    for models in (named(copied), f"gpt, {{name: '{HERE}:Beginner', plm: '{copied}'}}"):
        with pytest.raises(GridError, match=rf"model .*Beginner.* refuses its options .*: (?!ModelError).*{said}"):
            make_plan(load(grid_file(models)))


def test_the_tokenizer_of_a_checkpoint_must_have_what_the_system_reads(checkpoint, grid_file, tmp_path):
    transformers = pytest.importorskip("transformers")
    copied = tmp_path / "copied"
    shutil.copytree(checkpoint, copied)
    wide = json.loads((copied / "config.json").read_text())["vocab_size"] + 200
    transformers.BertForMaskedLM(transformers.BertConfig.from_pretrained(copied, vocab_size=wide)).save_pretrained(copied)
    with pytest.raises(
        GridError, match=f"has 13 entries, the model an embedding of {wide} rows, of which at most 128 may be spare"
    ):
        make_plan(load(grid_file(named(copied))))
    shutil.rmtree(copied)
    shutil.copytree(checkpoint, copied)
    settings = json.loads((copied / "tokenizer_config.json").read_text())
    (copied / "tokenizer_config.json").write_text(json.dumps({**settings, "mask_token": None}))
    with pytest.raises(GridError, match="has no mask token, which the system reads where there is noise"):
        make_plan(load(grid_file(named(copied))))
    task = replace(view(), tokenizer=tokenizer_of(copied))
    with pytest.raises(ModelError, match="has no mask token, which the system reads where there is noise"):
        denoiser_of(str(copied), task, lambda: None)


@pytest.mark.parametrize(("mask", "also"), [("[PAD]", "PAD"), ("[UNK]", "UNK"), ("[CLS]", "BOS"), ("[SEP]", "EOS and SEP")])
def test_a_mask_that_is_another_special_token_is_refused(mask, also, checkpoint, grid_file, tmp_path):
    """Noise and padding would be one input."""
    copied = tmp_path / "copied"
    shutil.copytree(checkpoint, copied)
    settings = json.loads((copied / "tokenizer_config.json").read_text())
    (copied / "tokenizer_config.json").write_text(json.dumps({**settings, "mask_token": mask}))
    said = rf"has the mask token '\{mask[:-1]}\]', which is {also} too; expected one that is no other token"
    with pytest.raises(GridError, match=said):
        make_plan(load(grid_file(named(copied))))
    with pytest.raises(ModelError, match=said):
        denoiser_of(str(copied), replace(view(), tokenizer=tokenizer_of(copied)), lambda: None)


@pytest.mark.parametrize(
    ("system", "kind", "said"),
    [
        ("diffusion-bert", "gpt2", "is a gpt2; the system needs bert or roberta"),
        ("diffusion-bert-code", "bart", "is a bart; the system needs bert or roberta"),
        ("diffusion-nat", "bert", "is a bert; the system needs bart"),
        ("diffusion-nat-code", "roberta", "is a roberta; the system needs bart"),
    ],
)
def test_every_system_names_the_checkpoints_that_it_can_begin_with(system, kind, said, checkpoint, grid_file, tmp_path):
    saved(tmp_path, kind)
    with pytest.raises(GridError, match=said):
        make_plan(load(grid_file(named(tmp_path, system))))
    model = resolve("models", system).load()
    with pytest.raises(ModelError, match=said):
        model.network_of(replace(view("t2t"), tokenizer=tokenizer_of(checkpoint)), {**TINY, "plm": str(tmp_path)})


def test_a_checkpoint_is_looked_at_once(checkpoint, grid_file, monkeypatch):
    looked = []
    monkeypatch.setattr(pretraining, "check", lambda *asked: looked.append(asked))
    pretraining._check_whole.cache_clear()
    for _ in range(2):
        begins_with(Beginner, {"plm": str(checkpoint), "plm_sha256": digest_of_folder(checkpoint)})
        begins_with(DiffusionBERT, {"plm": str(checkpoint), "plm_sha256": digest_of_folder(checkpoint)})
    assert looked == [(str(checkpoint), PretrainedEncoder)]
    pretraining._check_whole.cache_clear()


def test_a_system_of_a_checkpoint_begins_with_its_weights_in_its_tokens(checkpoint, tmp_path):
    task = replace(view(), tokenizer=tokenizer_of(checkpoint))
    keys = {"batch": 4, "plm": str(checkpoint), "plm_sha256": digest_of_folder(checkpoint)}
    model = construct(Beginner, "log-linear", task, keys)
    shown = [Example(id=str(index), target=text) for index, text in enumerate(["a b c", "d e", "h"] * 8)]
    model.fit(shown, [], Budget(tokens=4 * 6 * 3), FitContext(seed=0, pretrained=checkpoint))
    expected = read(str(checkpoint), task.tokenizer.rows, len(task.tokenizer)).state_dict()
    assert model.first.keys() == {f"encoder.{name}" for name in expected}
    assert all(torch.equal(model.first[f"encoder.{name}"], tensor) for name, tensor in expected.items())
    assert model.design.tokenizer == str(checkpoint)
    answers = model.generate([Request(id="0", seed=3, max_tokens=6)], Sampling(steps=3))
    model.save(tmp_path)
    again = Beginner.load(tmp_path, "cpu")
    assert again.generate([Request(id="0", seed=3, max_tokens=6)], Sampling(steps=3)) == answers
    assert again.likelihood(shown[:3]) == model.likelihood(shown[:3])


def test_the_denoiser_of_a_checkpoint_reads_its_canvas_between_both_ends(checkpoint):
    task = replace(view(), tokenizer=tokenizer_of(checkpoint))
    network = denoiser_of(str(checkpoint), task, lambda: None).eval()
    take_weights(network, FitContext(seed=0, pretrained=checkpoint), task)
    theirs = pytest.importorskip("transformers").BertForMaskedLM.from_pretrained(checkpoint).eval()
    tokens = len(task.tokenizer)
    x_t = torch.tensor([[*task.tokenizer.encode("a b h"), tokens, 0, 1]])
    rows = torch.tensor(task.tokenizer.rows)
    with torch.no_grad():
        estimate = network(x_t, torch.zeros(1), torch.zeros_like(x_t, dtype=torch.bool), None)
        logits = theirs(torch.cat([torch.tensor([[2]]), rows[x_t], torch.tensor([[3]])], 1)).logits[:, 1:-1, rows[:-1]]
    torch.testing.assert_close(estimate.raw, logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(estimate.x0_hat, logits.log_softmax(-1), atol=1e-5, rtol=1e-5)


def test_a_saved_system_refuses_a_checkpoint_that_has_changed(checkpoint, tmp_path):
    shutil.copytree(checkpoint, tmp_path / "bert")
    task = replace(view(), tokenizer=tokenizer_of(checkpoint))
    keys = {**TINY, "plm": str(tmp_path / "bert"), "plm_sha256": digest_of_folder(checkpoint)}
    DiffusionBERT.network_of(task, keys)
    path = tmp_path / "bert" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "layer_norm_eps": 0.5}))
    with pytest.raises(ModelError, match=r"has sha256 .*, expected .*: it is not what the system began with"):
        DiffusionBERT.network_of(task, keys)


def test_a_checkpoint_with_a_view_in_other_tokens_is_refused(checkpoint):
    with pytest.raises(ModelError, match="toy is in tokens of its own; a network of a checkpoint reads those of the checkpoint"):
        denoiser_of(str(checkpoint), view(), lambda: None)


def test_a_checkpoint_of_another_class_is_refused(checkpoint, tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=13, n_positions=8, n_embd=8, n_layer=1, n_head=1)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path, safe_serialization=True)
    task = replace(view(), tokenizer=tokenizer_of(checkpoint))
    with pytest.raises(ModelError, match="is a gpt2; the system needs bert or roberta"):
        denoiser_of(str(tmp_path), task, lambda: None)


def test_a_grid_compares_a_system_of_a_checkpoint_per_byte_only(checkpoint, grid_file, tmp_path):
    store = Store(tmp_path / "runs")
    text = "steps: [2]\nmetrics: [likelihood, 'tests/end_to_end/plugins.py:Counted']".replace("'tests", f"'{ROOT}/tests")
    plan = make_plan(load(grid_file(f"{named(checkpoint)}, {beginner(label='local')}", text)), store)
    theirs, local = plan.cells
    own = plan.stages[theirs.stages["tokenize/own"]]
    assert own.spec["tokenizer"] == {"name": str(checkpoint), "sha256": digest_of_folder(checkpoint)}
    for role in ("fit", "generate", "likelihood"):
        assert plan.stages[theirs.stages[role]].inputs["tokenize"] == own.key
        assert plan.stages[local.stages[role]].inputs["tokenize"] == local.stages["tokenize"] == theirs.stages["tokenize"]
    assert all(
        plan.stages[theirs.stages[role]].inputs["tokenize"] != own.key for role in theirs.stages if role.startswith("score")
    )
    assert not beginnings(plan).keys() & set(theirs.stages.values())
    summary = run(plan, store, InProcessPool())
    ours, other = rows(store)
    assert (summary.failed, ours.reason, other.reason) == (0, None, None)
    assert ours.settings["plm"] == own.spec["tokenizer"]
    assert (ours.settings["view"]["vocabulary"], ours.settings["design"]["tokenizer"]) == (13, str(checkpoint))
    assert "unmatched: pretraining" in ours.settings["badges"]
    signature = {name: (ours.metrics[name].signature, other.metrics[name].signature) for name in ours.metrics}
    assert signature["own_bits_per_byte"][0] == signature["own_bits_per_byte"][1]
    assert signature["own_nll_per_token"][0] != signature["own_nll_per_token"][1]
    assert f"tokenizer:{store.record(own.key).result['tokenizer'][:12]}" in signature["own_nll_per_token"][0]
    assert ours.metrics["own_bits_per_byte"].value > 0


def test_a_tokenizer_that_loses_text_has_no_bits_per_byte(checkpoint, grid_file, tmp_path):
    """One that knows two of eight letters: unknown ones cost next to nothing."""
    transformers = pytest.importorskip("transformers")
    copied, vocabulary = tmp_path / "copied", ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"]
    shutil.copytree(checkpoint, copied)
    transformers.BertTokenizerFast(vocab={word: index for index, word in enumerate(vocabulary)}).save_pretrained(copied)
    store = Store(tmp_path / "runs")
    run(make_plan(load(grid_file(named(copied), "steps: [2]\nmetrics: [likelihood]")), store), store, InProcessPool())
    (row,) = rows(store)
    assert row.metrics["own_nll_per_token"].value > 0
    assert row.metrics["own_bits_per_byte"].value is None
    assert row.metrics["own_bits_per_byte"].reason.startswith("the model's own tokenizer does not spell 16 of 16 targets")


def test_a_checkpoint_s_content_is_part_of_every_key(checkpoint, grid_file, tmp_path):
    found = digest_of_folder(checkpoint)
    with pytest.raises(GridError, match=f"expected none was given; say `plm_sha256: {found}`"):
        make_plan(load(grid_file(f"{{name: '{HERE}:Beginner', plm: '{checkpoint}'}}")))
    first = make_plan(load(grid_file(named(checkpoint))))
    copied = tmp_path / "copied"
    shutil.copytree(checkpoint, copied)
    tensors = load_file(copied / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, copied / "model.safetensors", {"format": "pt"})
    with pytest.raises(GridError, match=f"expected {found}"):
        make_plan(load(grid_file(named(checkpoint).replace(str(checkpoint), str(copied)))))
    store = Store(tmp_path / "runs")
    shutil.rmtree(copied)
    shutil.copytree(checkpoint, copied)
    plan = make_plan(load(grid_file(named(copied))), store)
    (copied / "tokenizer_config.json").write_text("{}")
    run(plan, store, InProcessPool())
    assert "ModelError" in rows(store)[0].reason
    assert "the plan expected" in rows(store)[0].reason
    assert set(first.stages) != set(plan.stages)
