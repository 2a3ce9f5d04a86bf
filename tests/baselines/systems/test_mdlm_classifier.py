"""MDLM guided by a classifier: the guided law, its first-order ratios, training, saving."""

from dataclasses import replace

import pytest
import torch
from toy_sentences import SENTENCES, view

from baselines.adapter import canvas_of
from baselines.parts.conditioning import Canvas, Source
from baselines.parts.objectives_discrete import masked_bound
from baselines.systems.mdlm_classifier import MDLMClassifier
from baselines.training import Draws
from harness.construction import construct
from harness.contracts import Budget, Example, FitContext, Request, Sampling, TaskView
from harness.errors import UnknownName

NOUNS = ("dog", "cat")
EXAMPLES = [
    Example(id=str(i), target=SENTENCES[i % 8], source=next(noun for noun in NOUNS if noun in SENTENCES[i % 8]))
    for i in range(64)
]  # fmt: skip


def a2t():
    plain = view()
    return TaskView(name="toy", family="a2t", tokenizer=plain.tokenizer, max_tokens=6, max_source_tokens=2, unigram=plain.unigram)


def model_of(**size):
    return construct(MDLMClassifier, "log-linear", a2t(), {"width": 32, "layers": 2, "heads": 2, **size})


def requests(n, noun):
    return [Request(id=str(i), seed=i, max_tokens=6, source=noun) for i in range(n)]


def steered(model, x_t, noun):
    source = model.layout.canvas([model.task.tokenizer.encode(noun)] * len(x_t), None).source
    denoiser = model.sampling_denoiser(model.diffusion.denoiser.reading(source))
    return denoiser(x_t, torch.zeros(len(x_t)), torch.zeros_like(x_t, dtype=torch.bool), None), source


@pytest.mark.parametrize("gamma", [0.0, 1.0, 3.0])
def test_a_revealed_token_follows_the_model_times_the_condition(gamma):
    """With as many candidates as tokens; every replacement by itself, the other masks left as they are."""
    model = model_of(guidance=gamma, candidates=100)
    mask, states = len(model.task.tokenizer), len(model.task.tokenizer)
    x_t = torch.tensor([[mask, 5, mask, 7, mask, mask], [mask] * 6])
    estimate, source = steered(model, x_t, "dog")
    chosen = torch.zeros_like(x_t, dtype=torch.bool)
    chosen[0, 2] = chosen[1, 0] = True
    found = estimate.at(chosen)
    pair = model.diffusion.denoiser
    for row, (example, place) in enumerate(((0, 2), (1, 0))):
        replaced = x_t[example].expand(states, -1).clone()
        replaced[:, place] = torch.arange(states)
        one = Source(ids=source.ids[:1].expand(states, -1), present=source.present[:1].expand(states, -1))
        plain = pair(x_t, torch.zeros(2), chosen, None).x0_hat[example, place]
        expected = (plain + gamma * pair.classifier(replaced, one)).log_softmax(-1)
        torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-4)


def of_both_nouns(model):
    """Canvases of masks, which differ in their conditions alone, what hears both of these, and every position."""
    x_t = torch.full((2, 6), len(model.task.tokenizer))
    source = model.layout.canvas([model.task.tokenizer.encode(noun) for noun in NOUNS], None).source
    return x_t, model.sampling_denoiser(model.diffusion.denoiser.reading(source)), torch.ones_like(x_t, dtype=torch.bool)


def test_each_row_is_steered_by_its_own_condition():
    model = model_of(guidance=3.0, candidates=100)
    x_t, denoiser, everywhere = of_both_nouns(model)
    together = denoiser(x_t, torch.zeros(2), ~everywhere, None).at(everywhere)
    alone = [steered(model, x_t[:1], noun)[0].at(everywhere[:1]) for noun in NOUNS]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-5)
    assert (alone[0] - alone[1]).abs().max() > 1e-3


def test_rows_that_are_chosen_keep_their_conditions():
    model = model_of(guidance=3.0, candidates=100)
    x_t, denoiser, everywhere = of_both_nouns(model)
    for row, noun in enumerate(NOUNS):
        found = denoiser.select(torch.tensor([row]))(x_t[:1], torch.zeros(1), ~everywhere[:1], None).at(everywhere[:1])
        alone, _ = steered(model, x_t[:1], noun)
        torch.testing.assert_close(found, alone.at(everywhere[:1]), rtol=0, atol=1e-5)


def test_only_candidates_are_asked_about():
    model = model_of(candidates=3)
    mask = len(model.task.tokenizer)
    estimate, _ = steered(model, torch.full((1, 6), mask), "cat")
    law = estimate.at(torch.ones(1, 6, dtype=torch.bool)).exp()
    assert (law > 0).sum(-1).tolist() == [3] * 6
    assert torch.allclose(law.sum(-1), torch.ones(6))


def test_a_temperature_is_one_of_the_tilted_law():
    model = model_of(guidance=2.0, candidates=3)
    mask = len(model.task.tokenizer)
    x_t, everywhere = torch.full((1, 6), mask), torch.ones(1, 6, dtype=torch.bool)
    estimate, source = steered(model, x_t, "cat")
    prompt = Canvas(ids=x_t, given=~everywhere, source=source)
    cool = model.denoiser_for(prompt, Sampling(steps=1, temperature=0.5))(x_t, torch.zeros(1), ~everywhere, None)
    tilted = estimate.at(everywhere).exp()
    torch.testing.assert_close(cool.at(everywhere).exp(), tilted.square() / tilted.square().sum(-1, keepdim=True))
    answers = {
        temperature: [answer.ids for answer in model.generate(requests(8, "cat"), Sampling(steps=50, temperature=temperature))]
        for temperature in (1.0, 0.5)
    }
    assert answers[1.0] != answers[0.5]


def test_without_guidance_the_law_is_the_model_s_own_and_no_classifier_is_asked():
    model, read = model_of(guidance=0.0, candidates=3), []
    pair, mask = model.diffusion.denoiser, len(model.task.tokenizer)
    pair.classifier.register_forward_pre_hook(lambda module, given: read.append(given[0].numel()))
    x_t, everywhere = torch.full((2, 6), mask), torch.ones(2, 6, dtype=torch.bool)
    estimate, _ = steered(model, x_t, "cat")
    assert torch.equal(estimate.at(everywhere), pair(x_t, torch.zeros(2), everywhere, None).at(everywhere))
    (answer,) = model.generate(requests(1, "dog"), Sampling(steps=4))
    assert read == []
    assert answer.positions_processed == 6 * answer.network_calls


def test_its_design_and_keys():
    assert {MDLMClassifier.design_for(guidance=gamma) for gamma in (None, 1.0, 2.0, 0)} == {MDLMClassifier.design}
    with pytest.raises(UnknownName, match="condition_dropout"):
        model_of(condition_dropout=0.1)
    with pytest.raises(ValueError, match="guidance -1, expected null or a finite weight from 0 on"):
        model_of(guidance=-1)


def test_training_hears_both_networks_and_guides_neither():
    model = model_of()
    batch = model._data(EXAMPLES[:4])
    canvas = canvas_of(batch)
    draws = Draws(seed=1, batch=4, rows=slice(4), device=torch.device("cpu"))
    t = torch.full((4, 1), 0.5, dtype=torch.float64)
    step = model.diffusion.step(canvas, t, t, draws)
    pair, term = model.diffusion.denoiser, masked_bound(model.kernel, model.diffusion.schedule)
    plain = replace(step, estimate=pair(step.x_t, torch.zeros(4), canvas.given, None))
    expected = term(plain) - pair.classifier(step.x_t, canvas.source)[:, None] / 6
    torch.testing.assert_close(model.diffusion.objective(step), expected)


def test_it_trains_samples_and_survives_saving(tmp_path):
    model = model_of()
    report = model.fit(EXAMPLES, EXAMPLES[:8], Budget(tokens=5 * 16 * 6), FitContext(seed=0))
    assert report.updates == 5
    asked = requests(3, "dog")
    found = model.generate(asked, Sampling(steps=5))
    assert all(1 <= answer.network_calls <= 6 for answer in found)
    assert model.likelihood(EXAMPLES[:2]) is None
    model.save(tmp_path)
    assert MDLMClassifier.load(tmp_path, "cpu").generate(asked, Sampling(steps=5)) == found
    alone = model.generate(asked, Sampling(steps=5, micro_batch=1))
    assert [answer.texts for answer in alone] == [answer.texts for answer in found]


def test_what_the_classifier_reads_is_counted():
    model, read = model_of(candidates=3), []
    pair = model.diffusion.denoiser
    pair.classifier.register_forward_pre_hook(lambda module, given: read.append(given[0].numel()))
    pair.denoiser.register_forward_pre_hook(lambda module, given: read.append(given[0].numel()))
    for steps in (1, 4):
        read.clear()
        (answer,) = model.generate(requests(1, "dog"), Sampling(steps=steps))
        assert answer.positions_processed == sum(read) == 6 * answer.network_calls + 6 * 6 * 3


@pytest.mark.slow
def test_guidance_makes_texts_obey_the_condition():
    """Without it half of the texts have either noun."""
    model = model_of(width=48)
    model.fit(EXAMPLES, [], Budget(tokens=600 * 16 * 6), FitContext(seed=1))
    shares = []
    for gamma in (0.0, 2.0):
        model.diffusion.denoiser.gamma = gamma
        texts = [answer.texts[0] for answer in model.generate(requests(64, "dog"), Sampling(steps=50))]
        assert sum(text in SENTENCES for text in texts) > 50
        shares.append(sum("dog" in text for text in texts) / 64)
    assert shares[0] < 0.5 + 4.5 * 0.0625
    assert shares[1] > 0.9
