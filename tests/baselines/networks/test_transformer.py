import pytest
import torch

from baselines.networks.attention import BidirectionalAttention, CausalAttention, rotary_table, rotate
from baselines.networks.initialise import initialise
from baselines.networks.sizes import parameters_of, width_for
from baselines.networks.transformer import TimeEmbedding, Transformer


def network(**keys):
    built = Transformer(32, 2, 4, **keys)
    initialise(built, torch.Generator().manual_seed(0))
    return built


def test_scores_of_rotated_vectors_depend_on_the_distance_alone():
    vectors = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    table = rotary_table(40, 8, device=torch.device("cpu"))
    scores = [rotate(vectors[0], table[i]) @ rotate(vectors[1], table[i + 5]) for i in (0, 7, 30)]
    assert torch.allclose(torch.stack(scores), scores[0].expand(3), atol=1e-5)
    assert not torch.allclose(scores[0], rotate(vectors[0], table[0]) @ rotate(vectors[1], table[6]), atol=1e-3)


def test_causal_attention_does_not_look_ahead_and_bidirectional_does():
    x = torch.randn(2, 7, 32, generator=torch.Generator().manual_seed(1))
    changed = x.clone()
    changed[:, 5] *= -1
    causal, both = network(attention=CausalAttention), network(attention=BidirectionalAttention)
    assert torch.equal(causal(x)[:, :5], causal(changed)[:, :5])
    assert not torch.allclose(both(x)[:, :5], both(changed)[:, :5], atol=1e-4)


@pytest.mark.parametrize("attention", [CausalAttention, BidirectionalAttention])
def test_padding_changes_no_real_position(attention):
    built = network(attention=attention)
    x = torch.randn(2, 7, 32, generator=torch.Generator().manual_seed(2))
    present = torch.ones(2, 7, dtype=torch.bool)
    present[:, 4:] = False
    assert torch.allclose(built(x, present=present)[:, :4], built(x[:, :4]), atol=1e-5)
    assert built(x, present=~present).isfinite().all()


def test_a_fresh_condition_changes_nothing_and_a_trained_one_does():
    built, embedding = network(condition_width=32), TimeEmbedding(32)
    x = torch.randn(3, 5, 32, generator=torch.Generator().manual_seed(3))
    times = torch.tensor([0.0, 500.0, 1000.0])
    assert torch.allclose(built(x, condition=embedding(times)), built(x, condition=embedding(times.flip(0))))
    torch.nn.init.normal_(built.modulate.project.weight, generator=torch.Generator().manual_seed(4))
    per_sequence = built(x, condition=embedding(times))
    assert not torch.allclose(per_sequence, built(x, condition=embedding(times.flip(0))), atol=1e-3)
    per_position = built(x, condition=embedding(times[:, None].expand(3, 5)))
    assert torch.allclose(per_sequence, per_position, atol=1e-5)


@pytest.mark.parametrize("told", ["nothing", "once", "everywhere"])
def test_what_is_finished_at_some_positions_is_what_stands_there(told):
    built = network(condition_width=None if told == "nothing" else 32)
    generator = torch.Generator().manual_seed(5)
    x, chosen = torch.randn(3, 5, 32, generator=generator), torch.rand(3, 5, generator=generator) < 0.4
    condition = {"nothing": None, "once": torch.randn(3, 32), "everywhere": torch.randn(3, 5, 32)}[told]
    if condition is not None:
        torch.nn.init.normal_(built.modulate.project.weight, generator=generator)
    assert 0 < chosen.sum() < 15
    assert torch.allclose(built.begin(x, condition=condition).at(chosen), built(x, condition=condition)[chosen], atol=1e-5)


def test_a_missing_or_needless_condition_is_refused():
    x = torch.zeros(1, 3, 32)
    with pytest.raises(ValueError, match="built with `condition_width`"):
        network(condition_width=32)(x)
    with pytest.raises(ValueError, match="built without `condition_width`"):
        network()(x, condition=torch.zeros(1, 32))


def test_times_are_told_apart():
    embedding = TimeEmbedding(32)
    found = embedding(torch.tensor([[0.0, 1.0], [999.0, 1000.0]], dtype=torch.float64))
    assert found.shape == (2, 2, 32)
    assert found.dtype == torch.float32
    assert torch.pdist(found.flatten(0, 1)).min() > 1e-3


def test_weights_come_from_the_generator_alone():
    first = network(condition_width=8).state_dict()
    torch.manual_seed(123)
    second = network(condition_width=8).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = Transformer(32, 2, 4)
    initialise(other, torch.Generator().manual_seed(1))
    assert not torch.equal(other.blocks[0].mlp.up.weight, first["blocks.0.mlp.up.weight"])


def test_initial_weights_have_the_stated_deviations():
    built = Transformer(256, 8, 4)
    initialise(built, torch.Generator().manual_seed(0))
    assert built.blocks[3].mlp.up.weight.std().item() == pytest.approx((3 * 256) ** -0.5, rel=0.02)
    assert built.blocks[3].mlp.down.weight.std().item() == pytest.approx((3 * 1024) ** -0.5 / 4, rel=0.02)
    assert built.blocks[3].attention.out.weight.std().item() == pytest.approx((3 * 256) ** -0.5 / 4, rel=0.02)


def test_heads_must_divide_the_width_into_even_parts():
    with pytest.raises(ValueError, match="no multiple of heads"):
        Transformer(32, 1, 5)
    with pytest.raises(ValueError, match="even number"):
        Transformer(12, 1, 4)


@pytest.mark.parametrize("target", [50_000, 300_000, 2_000_000])
def test_no_other_width_is_nearer_to_the_target(target):
    def count(width):
        return parameters_of(lambda: Transformer(width, 3, 4))

    def distance(width):
        return max(count(width) / target, target / count(width))

    width = width_for(target, lambda width: Transformer(width, 3, 4))
    assert width % 8 == 0
    assert distance(width) == min(distance(other) for other in range(8, 1024, 8))
    assert count(width) == sum(parameter.numel() for parameter in Transformer(width, 3, 4).parameters())


def test_an_impossible_target_is_refused():
    with pytest.raises(ValueError, match="too few"):
        width_for(1000, lambda width: Transformer(width, 4, 4))
