"""Networks that others pretrained: small random ones, saved as `transformers` saves them, against `transformers` itself."""

import json
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from baselines.networks import pretrained
from baselines.networks.pretrained import build, read
from harness.errors import ModelError

transformers = pytest.importorskip("transformers")

V, D, LONGEST = 23, 16, 12
SIZES = {"hidden_size": D, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
SPREAD = {"initializer_range": 0.5}


def bert():
    config = transformers.BertConfig(vocab_size=V, max_position_embeddings=LONGEST, **SIZES, **SPREAD)
    return transformers.BertForMaskedLM(config)


def roberta():
    config = transformers.RobertaConfig(
        vocab_size=V, max_position_embeddings=LONGEST + 2, pad_token_id=1, type_vocab_size=1, **SIZES, **SPREAD
    )
    return transformers.RobertaForMaskedLM(config)


def gpt2():
    config = transformers.GPT2Config(vocab_size=V, n_positions=LONGEST, n_embd=D, n_layer=2, n_head=2, **SPREAD)
    return transformers.GPT2LMHeadModel(config)


def bart(layers=2):
    config = transformers.BartConfig(
        vocab_size=V, max_position_embeddings=LONGEST, d_model=D, encoder_layers=2, decoder_layers=layers,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24, init_std=0.5,
        scale_embedding=True,
    )  # fmt: skip
    return transformers.BartForConditionalGeneration(config)


MODELS = {make.__name__: make for make in (bert, roberta, gpt2, bart)}


def saved(folder, name, **keys):
    torch.manual_seed(0)
    model = MODELS[name](**keys).eval()
    for parameter in model.parameters():
        if parameter.dim() == 1:  # norms and biases begin as if they were not there
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    if name == "bart":
        model.final_logits_bias.copy_(torch.randn(1, V))
    model.save_pretrained(folder, safe_serialization=True)
    return model


def ids(rows=2, length=7, seed=1):
    return torch.randint(2, V, (rows, length), generator=torch.Generator().manual_seed(seed))


def close(one, other):
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2"])
@torch.no_grad()
def test_hidden_states_and_logits_are_those_of_transformers(name, tmp_path):
    theirs = saved(tmp_path, name)
    own = read(str(tmp_path)).eval()
    expected = theirs(input_ids=ids(), output_hidden_states=True)
    hidden = own.hidden(own.embed(ids()))
    close(hidden, expected.hidden_states[-1])
    close(own.logits(hidden), expected.logits)
    assert (own.vocabulary, own.width, own.longest) == (V, D, LONGEST)


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2"])
@torch.no_grad()
def test_embeddings_of_no_token_go_through_as_well(name, tmp_path):
    theirs = saved(tmp_path, name)
    x = torch.randn(2, 5, D, generator=torch.Generator().manual_seed(2))
    expected = theirs.base_model(inputs_embeds=x).last_hidden_state
    close(read(str(tmp_path)).eval().hidden(x), expected)


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2"])
@torch.no_grad()
def test_nobody_looks_at_what_is_not_present(name, tmp_path):
    saved(tmp_path, name)
    own = read(str(tmp_path)).eval()
    present = torch.ones(2, 7, dtype=torch.bool)
    present[0, 5:] = False
    changed = ids().clone()
    changed[0, 5:] = 3
    one, other = (own.hidden(own.embed(row), present) for row in (ids(), changed))
    close(one[present], other[present])
    assert not torch.allclose(own.hidden(own.embed(ids()))[0, :5], own.hidden(own.embed(changed))[0, :5]) or name == "gpt2"


@torch.no_grad()
def test_the_encoder_of_an_encoder_decoder_is_that_of_transformers(tmp_path):
    theirs = saved(tmp_path, "bart")
    own = read(str(tmp_path)).eval()
    present = torch.ones(2, 7, dtype=torch.bool)
    present[0, 4:] = False
    expected = theirs.model.encoder(input_ids=ids(), attention_mask=present.long()).last_hidden_state
    close(own.encode(own.embed(ids()), present)[present], expected[present])


@torch.no_grad()
def test_its_decoder_is_that_of_transformers_where_a_causal_mask_hides_nothing(tmp_path):
    """With one layer the last position sees everything under either mask."""
    theirs = saved(tmp_path, "bart", layers=1)
    own = read(str(tmp_path)).eval()
    source, target = ids(), ids(length=5, seed=3)
    expected = theirs(input_ids=source, decoder_input_ids=target, output_hidden_states=True)
    hidden = own.hidden(own.embed(target), own.encode(own.embed(source)))
    close(hidden[:, -1], expected.decoder_hidden_states[-1][:, -1])
    close(own.logits(hidden)[:, -1], expected.logits[:, -1])
    assert not torch.allclose(hidden[:, 0], expected.decoder_hidden_states[-1][:, 0], atol=1e-3)


@torch.no_grad()
def test_its_decoder_looks_in_both_directions_and_past_no_padding(tmp_path):
    saved(tmp_path, "bart")
    own = read(str(tmp_path)).eval()
    present = torch.ones(2, 7, dtype=torch.bool)
    present[:, 5:] = False
    memory = own.encode(own.embed(ids()), present)
    target, other = ids(length=5, seed=3), ids(length=5, seed=3)
    other[:, -1] = (other[:, -1] + 1) % V
    one = own.hidden(own.embed(target), memory, present)
    assert not torch.allclose(one[:, 0], own.hidden(own.embed(other), memory, present)[:, 0], atol=1e-3)
    unseen = torch.where(present[..., None], memory, 7.0)
    close(own.hidden(own.embed(target), unseen, present), one)


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_ids_may_have_another_order_be_repeated_or_be_new(name, tmp_path):
    """Rows 0..4 as they are, row 3 once more, one new row for a mask, which is read and not estimated."""
    saved(tmp_path, name)
    plain, own = read(str(tmp_path)).eval(), read(str(tmp_path), [4, 3, 2, 1, 0, 3, None], vocabulary=6).eval()
    order = torch.tensor([4, 3, 2, 1, 0, 3])
    mine = torch.tensor([[0, 5, 2, 1]])
    states = [
        net.hidden(x, x) if name == "bart" else net.hidden(x)
        for net, x in ((own, own.embed(mine)), (plain, plain.embed(order[mine])))
    ]
    close(*states)
    close(own.logits(states[0]), plain.logits(states[1])[..., order])
    close(own.embedding.weight[6], plain.embedding.weight.mean(0))
    assert own.logits(states[0]).shape[-1] == own.vocabulary == 6


@pytest.mark.parametrize("name", MODELS)
def test_every_weight_learns_and_nothing_is_random_in_training(name, tmp_path):
    saved(tmp_path, name)
    own = read(str(tmp_path)).train()
    x = own.embed(ids(length=LONGEST))
    states = [own.hidden(x, own.encode(x)) if name == "bart" else own.hidden(x) for _ in range(2)]
    assert torch.equal(*states)
    own.logits(states[0]).square().sum().backward()
    still = {key for key, value in own.named_parameters() if value.grad is None or not value.grad.any()}
    assert {key for key in still if "pooler" not in key and not key.endswith("k_proj.bias") and "key.bias" not in key} == set()


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_a_network_can_be_built_first_and_filled_later(name, tmp_path):
    saved(tmp_path, name)
    rows = [*range(V), None]
    built, filled = build(str(tmp_path), rows, V), read(str(tmp_path), rows, V)
    assert not torch.equal(built.embedding.weight, filled.embedding.weight)
    built.load_state_dict(filled.state_dict())
    x = built.eval().embed(ids())
    states = [net.hidden(x, x) if name == "bart" else net.hidden(x) for net in (built, filled.eval())]
    assert torch.equal(*states)


def test_a_canvas_longer_than_the_network_is_refused(tmp_path):
    saved(tmp_path, "roberta")
    own = read(str(tmp_path))
    own.hidden(own.embed(ids(length=LONGEST)))
    with pytest.raises(ModelError, match=f"13 positions, the pretrained network has {LONGEST}: take a shorter canvas"):
        own.embed(ids(length=LONGEST + 1))


def rewritten(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("name", MODELS)
def test_missing_and_extra_tensors_are_one_error_each(name, tmp_path):
    saved(tmp_path, name)
    kept = load_file(tmp_path / "model.safetensors")
    gone = next(key for key in kept if key.endswith("weight") and (".0." in key or ".h.0" in key))
    rewritten(tmp_path, lambda tensors: tensors.pop(gone))
    with pytest.raises(ModelError, match=rf"the checkpoint in .* lacks {gone}; expected those of \w+, as its save_pretrained"):
        read(str(tmp_path))
    rewritten(tmp_path, lambda tensors: tensors.update({gone: kept[gone], "adapter.weight": torch.zeros(2)}))
    with pytest.raises(ModelError, match=r"the checkpoint in .* has too many: adapter.weight; expected those of"):
        read(str(tmp_path))
    rewritten(tmp_path, lambda tensors: (tensors.pop("adapter.weight"), tensors.update({gone: torch.zeros(3, 5)})))
    with pytest.raises(ModelError, match=r"the weights in .* cannot be read"):
        read(str(tmp_path))


def test_heads_over_sentence_pairs_are_no_matter(tmp_path):
    """Published checkpoints of BERT hold them."""
    torch.manual_seed(0)
    transformers.BertForPreTraining(bert().config).save_pretrained(tmp_path, safe_serialization=True)
    assert read(str(tmp_path)).vocabulary == V


def test_an_encoder_saved_without_its_output_head_is_refused(tmp_path):
    transformers.BertModel(bert().config).save_pretrained(tmp_path, safe_serialization=True)
    with pytest.raises(ModelError, match=r"lacks cls.predictions"):
        read(str(tmp_path))


def test_what_is_no_checkpoint_is_said(tmp_path, monkeypatch):
    with pytest.raises(ModelError, match="is no folder; give an absolute path"):
        read(str(tmp_path / "none"))
    with pytest.raises(ModelError, match="neither an absolute path nor a name in the local cache of the hub"):
        read("nobody/nothing")
    torch.save(saved(tmp_path, "bert").state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").rename(tmp_path / "kept")
    with pytest.raises(ModelError, match=r"no \*.safetensors lies in .*; pickled weights are not read"):
        read(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "kept").read_bytes()[:200])
    with pytest.raises(ModelError, match=r"the weights in .* cannot be read: SafetensorError"):
        read(str(tmp_path))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    with pytest.raises(ModelError, match="an output head of its own; expected one tied to the embedding"):
        build(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "own", "auto_map": {"AutoModel": "own.Own"}}))
    with pytest.raises(ModelError, match=r"type 'own'; expected one of bert, roberta, gpt2, bart. No code of it is run"):
        read(str(tmp_path))
    (tmp_path / "config.json").unlink()
    with pytest.raises(ModelError, match=r"config.json cannot be read"):
        read(str(tmp_path))
    monkeypatch.setattr(pretrained, "why_unreadable", lambda: "the package transformers is not installed; pip install it")
    with pytest.raises(ModelError, match="the package transformers is not installed"):
        read(str(tmp_path))


def test_transformers_is_imported_only_where_something_is_read():
    import subprocess

    code = "import sys, baselines.networks.pretrained; assert 'transformers' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
