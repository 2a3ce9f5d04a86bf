"""Folders that hold a network, and folders that do not: what `read` says of them, `check` says before anything is spent."""

import json
import sys

import pytest
import torch
from random_checkpoints import MODELS, V, bert, saved
from safetensors.torch import load_file, save_file

from baselines.networks import checkpoints
from baselines.networks.checkpoints import build, check, read
from baselines.networks.pretrained import Pretrained, PretrainedEncoder, PretrainedEncoderDecoder
from harness.errors import ModelError
from harness.weights import stand_in

transformers = pytest.importorskip("transformers")

BOTH = pytest.mark.parametrize("look", [check, read])
WEIGHTS = "model.safetensors"


def rewritten(folder, change):
    tensors = load_file(folder / WEIGHTS)
    save_file(change(tensors) or tensors, folder / WEIGHTS, {"format": "pt"})


def configured(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("name", MODELS)
@BOTH
def test_missing_extra_and_misshapen_tensors_are_one_error(look, name, tmp_path):
    saved(tmp_path, name)
    look(str(tmp_path))
    kept = load_file(tmp_path / WEIGHTS)
    gone = next(key for key in kept if key.endswith("weight") and (".0." in key or ".h.0" in key))
    rewritten(tmp_path, lambda tensors: {key: value for key, value in tensors.items() if key != gone})
    with pytest.raises(ModelError, match=rf"the checkpoint in .* lacks {gone}; expected those of \w+, as its save_pretrained"):
        look(str(tmp_path))
    rewritten(tmp_path, lambda tensors: tensors.update({gone: kept[gone], "adapter.weight": torch.zeros(2)}))
    with pytest.raises(ModelError, match=r"the checkpoint in .* has too many: adapter.weight; expected those of"):
        look(str(tmp_path))
    rewritten(tmp_path, lambda tensors: tensors.update({gone: torch.zeros(3, 5)}))
    shape = str(tuple(kept[gone].shape)).replace("(", r"\(").replace(")", r"\)")
    said = rf"has too many: adapter.weight; has of other shapes: {gone} \(3, 5\) for {shape}; expected"
    with pytest.raises(ModelError, match=said):
        look(str(tmp_path))


@BOTH
def test_numbers_that_are_not_finite_are_refused(look, tmp_path):
    saved(tmp_path, "bart")
    rewritten(tmp_path, lambda tensors: tensors.update({"final_logits_bias": torch.full((1, V), float("nan"))}))
    with pytest.raises(ModelError, match=r"has numbers that are not finite in final_logits_bias; take another copy"):
        look(str(tmp_path))
    rewritten(tmp_path, lambda tensors: {key: torch.full_like(value, float("inf")) for key, value in tensors.items()})
    with pytest.raises(ModelError, match=r"not finite in .* and \d+ more"):
        look(str(tmp_path))


@BOTH
def test_half_precision_old_names_and_parts_are_read(look, tmp_path):
    expected = saved(tmp_path, "bert")

    def older(key):
        return key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")

    rewritten(tmp_path, lambda tensors: {older(key): value.half() for key, value in tensors.items()})
    look(str(tmp_path))
    (tmp_path / WEIGHTS).unlink()
    expected.save_pretrained(tmp_path, max_shard_size="5KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    look(str(tmp_path))


def test_a_missing_part_is_said(tmp_path):
    expected = saved(tmp_path, "bert")
    (tmp_path / WEIGHTS).unlink()
    expected.save_pretrained(tmp_path, max_shard_size="5KB")
    gone = min(tmp_path.glob("*.safetensors"))
    gone.unlink()
    with pytest.raises(ModelError, match=rf"{gone.name}: named by .*index\.json, but not there; copy the whole checkpoint"):
        check(str(tmp_path))
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(ModelError, match=r"index\.json cannot be read: KeyError: 'weight_map'; copy it again"):
        check(str(tmp_path))


@pytest.mark.parametrize("part", ["../out.safetensors", "{folder}/abs.safetensors", "parts/a.safetensors", "part.bin", None, 3])
@BOTH
def test_an_index_names_safetensors_beside_it_alone(look, part, tmp_path):
    place = tmp_path / "model"
    expected = saved(place, "bert")
    (place / WEIGHTS).unlink()
    expected.save_pretrained(place, max_shard_size="5KB")
    index = place / "model.safetensors.index.json"
    found = json.loads(index.read_text())
    one = next(iter(found["weight_map"]))
    found["weight_map"][one] = part.format(folder=tmp_path) if isinstance(part, str) else part
    index.write_text(json.dumps(found))
    with pytest.raises(ModelError, match=r"index\.json names .*; expected names of \*\.safetensors that lie beside it"):
        look(str(place))


@BOTH
def test_no_file_is_read_but_those_that_are_checked(look, tmp_path):
    """Neither pickles that a configuration names, nor files that look like parts; an index needs no more than its map."""
    expected = saved(tmp_path, "bert")
    save_file({"x": torch.zeros(1)}, tmp_path / "shard-00001-model-00001-of-00001.safetensors", {"format": "pt"})
    look(str(tmp_path))
    torch.save(expected.state_dict(), tmp_path / "adapter_model.bin")
    configured(tmp_path, transformers_weights="adapter_model.bin")
    with pytest.raises(ModelError, match=r"says transformers_weights: 'adapter_model.bin'; .* Take that key out"):
        look(str(tmp_path))
    saved(tmp_path, "bert")
    (tmp_path / WEIGHTS).unlink()
    expected.save_pretrained(tmp_path, max_shard_size="5KB")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": json.loads(index.read_text())["weight_map"]}))
    look(str(tmp_path))


@BOTH
def test_quantised_weights_two_biases_and_another_vocabulary_are_refused(look, tmp_path):
    saved(tmp_path, "bert")
    kept = load_file(tmp_path / WEIGHTS)
    other = {"cls.predictions.decoder.bias": kept["cls.predictions.bias"] + 1}
    save_file({**kept, **other}, tmp_path / WEIGHTS, {"format": "pt"})
    with pytest.raises(ModelError, match="has two biases of its output head"):
        look(str(tmp_path))
    whole = {key: value.to(torch.int8) if value.dim() == 2 else value for key, value in kept.items()}
    save_file(whole, tmp_path / WEIGHTS, {"format": "pt"})
    with pytest.raises(ModelError, match="is int8; expected floating-point numbers: quantised weights are not read"):
        look(str(tmp_path))


def test_a_vocabulary_of_another_size_costs_nothing(tmp_path):
    saved(tmp_path, "bert")
    configured(tmp_path, vocab_size=1_000_000_000)
    with pytest.raises(ModelError, match="lacks an embedding of 1000000000 rows"):
        check(str(tmp_path))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_are_float32_whatever_they_were_saved_in(dtype, tmp_path):
    saved(tmp_path, "bert").to(dtype).save_pretrained(tmp_path)
    assert {parameter.dtype for parameter in read(str(tmp_path)).parameters()} == {torch.float32}


@BOTH
def test_what_old_releases_of_gpt2_hold_is_no_matter(look, tmp_path):
    """Their buffers, and names without "transformer."."""
    saved(tmp_path, "gpt2")
    buffers = {"h.0.attn.bias": torch.ones(1, 1, 4, 4), "h.0.attn.masked_bias": torch.tensor(-1e4)}
    rewritten(tmp_path, lambda tensors: {key.removeprefix("transformer."): value for key, value in tensors.items()} | buffers)
    look(str(tmp_path))


@BOTH
def test_heads_over_sentence_pairs_are_no_matter(look, tmp_path):
    """Published checkpoints of BERT hold them."""
    torch.manual_seed(0)
    transformers.BertForPreTraining(bert().config).save_pretrained(tmp_path, safe_serialization=True)
    look(str(tmp_path))
    assert read(str(tmp_path)).vocabulary == V


@BOTH
def test_an_encoder_saved_without_its_output_head_is_refused(look, tmp_path):
    transformers.BertModel(bert().config).save_pretrained(tmp_path, safe_serialization=True)
    with pytest.raises(ModelError, match=r"lacks cls.predictions"):
        look(str(tmp_path))


@BOTH
def test_an_output_head_of_its_own_is_refused_and_a_copy_of_the_embedding_is_none(look, tmp_path):
    """Whatever the configuration says of it."""
    saved(tmp_path, "bert")
    embedding = load_file(tmp_path / WEIGHTS)["bert.embeddings.word_embeddings.weight"]
    rewritten(tmp_path, lambda tensors: tensors.update({"cls.predictions.decoder.weight": embedding.clone()}))
    look(str(tmp_path))
    rewritten(tmp_path, lambda tensors: tensors.update({"cls.predictions.decoder.weight": embedding + 1}))
    with pytest.raises(ModelError, match="an output head of its own; expected one tied to the embedding"):
        look(str(tmp_path))
    saved(tmp_path, "bert")
    configured(tmp_path, tie_word_embeddings=False)
    for known in (look, build):
        with pytest.raises(ModelError, match="an output head of its own; expected one tied to the embedding"):
            known(str(tmp_path))


def test_a_check_keeps_no_weights_and_draws_nothing(tmp_path):
    saved(tmp_path, "bert")
    state = torch.random.get_rng_state()
    assert check(str(tmp_path)) is None
    assert torch.equal(torch.random.get_rng_state(), state)
    embedding, other = torch.zeros(V, 2), torch.zeros(4, 3)
    assert stand_in(embedding, V) is embedding
    light = stand_in(other, V)
    assert (light.shape, light.untyped_storage().nbytes()) == (other.shape, 4)


@pytest.mark.parametrize(
    ("name", "holds", "said"),
    [
        ("gpt2", PretrainedEncoder, "is a gpt2; the system needs bert or roberta"),
        ("bert", PretrainedEncoderDecoder, "is a bert; the system needs bart"),
        ("roberta", PretrainedEncoder, None),
        ("bart", Pretrained, None),
    ],
)
def test_the_class_of_a_network_is_named_as_its_authors_do(name, holds, said, tmp_path):
    saved(tmp_path, name)
    for known in (check, lambda folder, holds: build(folder, holds=holds)):
        if said is None:
            known(str(tmp_path), holds)
        else:
            with pytest.raises(ModelError, match=said):
                known(str(tmp_path), holds)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("bert", {"hidden_act": "unheard-of"}, "describes no bert that can be built: KeyError: 'unheard-of'"),
        ("bert", {"hidden_size": "16"}, "describes no bert that can be built: .* 'hidden_size' expected int, got str"),
        ("bert", {"hidden_size": 17}, "describes no bert that can be built: ValueError: The hidden size .17."),
        ("roberta", {"pad_token_id": None}, "describes no roberta that can be built: TypeError"),
        (
            "bert",
            {"model_type": "own", "auto_map": {"AutoModel": "own.Own"}},
            "type 'own'; expected one of bert, roberta, gpt2, bart",
        ),
        ("bert", {"model_type": ["bert"]}, r"type \['bert'\]; expected one of .*\. No code of it is run"),
    ],
)
@BOTH
def test_a_configuration_that_describes_no_network_is_said(look, name, change, said, tmp_path):
    saved(tmp_path, name)
    configured(tmp_path, **change)
    for known in (look, build):
        with pytest.raises(ModelError, match=said):
            known(str(tmp_path))


@BOTH
def test_a_configuration_that_cannot_be_read_is_said(look, tmp_path):
    saved(tmp_path, "bert")
    for text, said in (("[1", r"config\.json cannot be read: Expecting"), ("[1]", "holds a list; expected an object")):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ModelError, match=said):
            look(str(tmp_path))
    (tmp_path / "config.json").unlink()
    with pytest.raises(ModelError, match=r"no config\.json lies in .*; expected what save_pretrained writes"):
        look(str(tmp_path))


@BOTH
def test_what_is_no_checkpoint_is_said(look, tmp_path, monkeypatch):
    with pytest.raises(ModelError, match="is no folder; give an absolute path"):
        look(str(tmp_path / "none"))
    torch.save(saved(tmp_path, "bert").state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / WEIGHTS).rename(tmp_path / "kept")
    with pytest.raises(ModelError, match=r"no \*.safetensors lies in .*; pickled weights are not read"):
        look(str(tmp_path))
    for part in (0, 200, -50):
        (tmp_path / WEIGHTS).write_bytes((tmp_path / "kept").read_bytes()[:part])
        with pytest.raises(ModelError, match=r"the weights in .* cannot be read: SafetensorError"):
            look(str(tmp_path))
    (tmp_path / WEIGHTS).rename(tmp_path / "weights.safetensors")
    with pytest.raises(
        ModelError, match=r"weights\.safetensors in .*, expected model\.safetensors or model\.safetensors\.index\.json$"
    ):
        look(str(tmp_path))
    (tmp_path / "weights.safetensors").rename(tmp_path / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="an adapter is no network: merge it into the one that it changes"):
        look(str(tmp_path))
    monkeypatch.setattr(checkpoints, "why_unreadable", lambda: "the package transformers is not installed; pip install it")
    with pytest.raises(ModelError, match="the package transformers is not installed"):
        look(str(tmp_path))


def test_transformers_is_imported_only_where_something_is_read():
    import subprocess

    code = "import sys, baselines.networks.checkpoints, baselines.pretraining; assert 'transformers' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
