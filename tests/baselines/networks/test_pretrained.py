"""Networks that others pretrained: small random ones, saved as `transformers` saves them, against `transformers` itself."""

import json

import pytest
import torch
from random_checkpoints import LONGEST, MODELS, D, V, saved

from baselines.networks.checkpoints import build, read
from harness.errors import ModelError

pytest.importorskip("transformers")


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
def test_its_decoder_is_that_of_transformers_under_an_open_mask(tmp_path):
    """A mask for every pair of positions is added to the scores in place of their own: a causal one changes nothing."""
    theirs = saved(tmp_path, "bart", layers=2)
    own = read(str(tmp_path)).eval()
    source, target = ids(), ids(length=5, seed=3)
    open_mask = torch.zeros(2, 1, 5, 5)
    closed = open_mask.masked_fill(torch.ones(5, 5, dtype=torch.bool).triu(1), torch.finfo().min)
    said = {"input_ids": source, "decoder_input_ids": target, "output_hidden_states": True}
    causal, hidden_later = (theirs(**said, **more) for more in ({}, {"decoder_attention_mask": closed}))
    close(causal.logits, hidden_later.logits)
    expected = theirs(**said, decoder_attention_mask=open_mask)
    hidden = own.hidden(own.embed(target), own.encode(own.embed(source)))
    close(hidden, expected.decoder_hidden_states[-1])
    close(own.logits(hidden), expected.logits)
    assert ((hidden - causal.decoder_hidden_states[-1]).abs().amax(-1) > 1e-3).all()


@torch.no_grad()
def test_an_encoder_looks_in_both_directions_whatever_it_says_of_itself(tmp_path):
    saved(tmp_path, "bert")
    expected = read(str(tmp_path)).eval()
    configuration = json.loads((tmp_path / "config.json").read_text())
    changed = {"is_decoder": True, "add_cross_attention": True, "return_dict": False}
    (tmp_path / "config.json").write_text(json.dumps({**configuration, **changed}))
    own = read(str(tmp_path)).eval()
    close(own.hidden(own.embed(ids())), expected.hidden(expected.embed(ids())))


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
