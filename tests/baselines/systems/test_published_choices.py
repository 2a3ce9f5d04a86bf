"""What systems are trained on, what their networks are told, and what they do where nothing is asked: choices of the papers."""

import pytest
import torch
from toy_sentences import LENGTH, requests, tiny, view

from baselines.networks.token_denoiser import TokenDenoiser
from baselines.parts.categorical import Absorbing
from baselines.parts.conditioning import Canvas
from baselines.parts.timesteps import ContinuousTimes
from baselines.systems import duo
from baselines.systems.bd3_lm import BD3LM
from baselines.systems.d3pm import D3PM
from baselines.systems.diffusion_bert import DiffusionBERT, DiffusionBERTCode
from baselines.systems.diffusion_nat import DEFAULTS as NAT_DEFAULTS
from baselines.systems.duo import Duo
from baselines.systems.llada import LLaDA
from baselines.systems.md4 import MD4
from baselines.systems.mdlm import MDLM
from baselines.systems.mdlm_classifier import MDLMClassifier, gamma_of
from baselines.systems.multinomial import Multinomial
from baselines.systems.sedd import SEDD
from baselines.systems.udlm import UDLM
from baselines.training import Draws
from harness.contracts import Sampling
from harness.schedules.mutual_information import entropy, unigram_law
from harness.schedules.names import build


def canvas(ids):
    return Canvas(ids=ids, given=torch.zeros_like(ids, dtype=torch.bool))


def draws(rows):
    return Draws(seed=1, batch=rows, rows=slice(rows), device=torch.device("cpu"))


# --- what is trained -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("system", "schedule", "keys"),
    [
        (SEDD, None, {}), (SEDD, None, {"kernel": "uniform"}), (UDLM, None, {}), (Duo, None, {}), (BD3LM, None, {"block": 2}),
        (BD3LM, "cosine-squared(s=0)", {"block": 2}), (MDLM, None, {}), (MD4, None, {}), (LLaDA, None, {}),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_trained_is_the_integrand_of_the_bound(system, schedule, keys):
    """Of its value, too: a loss of another scale, or of another term, would learn all the same."""
    model = tiny(system, schedule, **keys)
    length = model.layout.length
    ids = torch.arange(16 * length).view(16, length) % len(model.task.tokenizer)
    t = torch.linspace(0.05, 0.95, 16, dtype=torch.float64)[:, None]
    step = model.diffusion.step(canvas(ids), t, t, draws(16))
    found, wanted = model.diffusion.objective(step).double(), model.bound_term(step).double()
    assert (wanted != 0).any()
    assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_blocks_of_one_are_trained_as_an_autoregressive_model():
    """The cross-entropy of every token behind those before it, with no other weight."""
    model = tiny(BD3LM, block=1).train()
    ids = torch.randint(5, 12, (16, LENGTH), generator=torch.Generator().manual_seed(0))
    network = model.diffusion.network
    law = network.logits(network.beside_clean(torch.full_like(ids, model.kernel.mask), ids, None)).log_softmax(-1)
    expected = -law.gather(-1, ids[..., None])[..., 0].mean(-1)
    assert torch.allclose(model.diffusion.loss(canvas(ids), draws(16)).float(), expected, rtol=1e-4)


@pytest.mark.parametrize("system", [UDLM, Duo])
def test_uniform_noise_is_trained_at_times_of_equal_parts(system):
    t, weight = tiny(system).diffusion.times.sample(8, torch.Generator().manual_seed(0))
    assert torch.equal(((t - 1e-3) / (1 - 1e-3) * 8).floor(), torch.arange(8).double())
    assert weight.tolist() == [1.0] * 8
    assert isinstance(tiny(system).diffusion.times, ContinuousTimes)


# --- what networks see -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("system", "keys", "told"),
    [
        (Multinomial, {}, True), (D3PM, {}, True), (SEDD, {}, True), (MD4, {}, True), (Duo, {}, True), (MDLM, {}, False),
        (LLaDA, {}, False), (DiffusionBERT, {"plm": None}, False), (DiffusionBERTCode, {"plm": None}, False),
    ],
    ids=str,
)  # fmt: skip
def test_networks_are_told_the_time_where_their_design_says_so(system, keys, told):
    model = tiny(system, **keys)
    network = model.diffusion.denoiser
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    ids = torch.zeros(1, LENGTH, dtype=torch.int64)
    early, late = (network(ids, torch.tensor([time]), ids.bool(), None).raw for time in (0.0, 999.0))
    assert (model.design.time_input is not None) == told
    assert torch.equal(early, late) == (not told)


def test_denoisers_see_what_stands_behind():
    network = TokenDenoiser(states=6, vocabulary=5, length=4, width=16, layers=1, heads=2, timed=False)
    ids = torch.tensor([[0, 1, 2, 3], [0, 1, 2, 4]])
    one, other = network(ids, torch.zeros(2), torch.zeros_like(ids, dtype=torch.bool), None).raw
    assert ((one - other).abs().amax(-1) > 1e-5).all()


# --- schedules and chains --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("system", [Multinomial, D3PM])
def test_mutual_information_is_solved_for_uniform_noise_and_the_texts_at_hand(system):
    model = tiny(system, "mutual-information", **({"kernel": "uniform"} if system is D3PM else {}))
    law, t = unigram_law(torch.tensor(view().unigram)), torch.tensor([[0.3], [0.7]], dtype=torch.float64)
    assert not isinstance(model.kernel, Absorbing)
    kept = model.kernel.information(model.diffusion.schedule.alpha_bar(t)[:, 0], law) / entropy(law)
    assert torch.allclose(kept, 1 - t[:, 0], atol=1e-4)


def test_chains_are_as_long_as_published():
    assert tiny(DiffusionBERT, plm=None).diffusion.clock.steps == 2048
    assert (NAT_DEFAULTS["chain"], NAT_DEFAULTS["top_k"], NAT_DEFAULTS["turns"]) == (2000, 15, 2)
    assert (tiny(Multinomial).diffusion.clock.steps, tiny(D3PM).diffusion.clock.steps) == (1000, 1000)


def test_geometric_noise_begins_and_ends_where_the_released_code_says():
    """At total noise of 1e-4, not the 1e-5 of the paper, and 20."""
    ends = build(SEDD.design_for(kernel="uniform").schedule).alpha_bar(torch.tensor([[0.0], [1.0]], dtype=torch.float64))
    assert (-ends.log()).flatten().tolist() == pytest.approx([1e-4, 20.0])


# --- samplers --------------------------------------------------------------------------------------------------------
def test_samplers_in_continuous_time_come_to_a_hundred_thousandth():
    assert tiny(MDLM).diffusion.clock.grid(4)[-2].item() == 1e-5
    assert tiny(UDLM).diffusion.clock.grid(4).tolist() == pytest.approx([1, 0.7500025, 0.500005, 0.2500075, 1e-5], rel=1e-12)
    assert tiny(Duo).diffusion.clock.grid(4)[-2:].tolist() == [1e-5, 0.0]


def test_duo_learns_and_samples_as_published():
    assert (duo.TEMPERATURE, duo.DEFAULTS["curriculum"]) == (1e-3, 0.5)
    assert (Duo.design_for().last_step, UDLM.design_for().last_step[:4]) == ("sample", "none")


def test_a_classifier_guides_with_its_own_strength_where_none_is_asked_for():
    keys = MDLMClassifier.checked({})
    assert (gamma_of(keys), keys["candidates"]) == (1.0, 32)


def test_conditions_are_dropped_in_a_tenth_of_the_examples():
    assert {system.checked({})["condition_dropout"] for system in (MDLM, MD4, UDLM, Duo, LLaDA)} == {0.1}


def test_as_many_steps_are_taken_as_tokens_may_be_written_where_none_are_asked_for():
    (answer,) = tiny(UDLM).generate(requests(1), Sampling())
    assert answer.steps_used == LENGTH
