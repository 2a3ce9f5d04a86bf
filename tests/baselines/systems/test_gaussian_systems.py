"""Diffusion-LM and DiffuSeq as adapters: they fit, answer, survive a round trip, and hear of a swapped schedule."""

from dataclasses import replace

import pytest
import torch

from baselines.engine import Canvas
from baselines.parts.randomness import Noise
from baselines.parts.samplers import ancestral, ddim
from baselines.systems.diffuseq import DiffuSeq
from baselines.systems.diffusion_lm import DiffusionLM
from baselines.training import Draws
from harness.contracts import Budget, Sampling
from harness.errors import ModelError
from harness.schedules.names import build

SIZE = {"width": 32, "layers": 1, "heads": 2, "embedding": 16, "chain": 50}
SMALL = Budget(tokens=128 * 8 * 3)


def systems(ucg_view, t2t_view):
    return {
        "diffusion-lm": DiffusionLM(build("sqrt@50"), ucg_view, **SIZE),
        "diffuseq": DiffuSeq(build("sqrt@50"), t2t_view, **SIZE),
    }


@pytest.fixture(params=["diffusion-lm", "diffuseq"])
def system(request, ucg_view, t2t_view, unconditional, conditional):
    torch.manual_seed(0)
    data = unconditional if request.param == "diffusion-lm" else conditional
    return systems(ucg_view, t2t_view)[request.param], data


def fitted(system, run):
    model, data = system
    model.fit(data[:500], data[500:], replace(SMALL, tokens=model.optimisation.batch * model.layout.length * 3), run)
    return model, data


def test_fit_reports_what_it_used(system, run):
    model, data = system
    report = model.fit(data[:500], data[500:], Budget(tokens=model.optimisation.batch * model.layout.length * 3 + 5), run)
    assert (report.updates, report.tokens) == (3, model.optimisation.batch * model.layout.length * 3)
    assert report.valid_loss is not None
    assert report.valid_loss > 0


def test_samples_do_not_depend_on_the_batch(system, run, requests_for):
    model, data = fitted(system, run)
    requests = requests_for(data, 6)
    together = model.generate(requests, Sampling(steps=10))
    apart = model.generate(requests[::-1], Sampling(steps=10, micro_batch=4))[::-1]
    assert [answer.texts for answer in together] == [answer.texts for answer in apart]
    assert {answer.network_calls for answer in together} == {10}
    assert {answer.positions_processed for answer in together} == {10 * model.layout.length}


def test_candidates_differ_and_count(system, run, requests_for):
    model, data = fitted(system, run)
    (answer,) = model.generate(requests_for(data, 1, n=5), Sampling(steps=5))
    assert len(answer.texts) == len(answer.ids) == 5
    assert len(set(answer.texts)) > 1


def test_round_trip(system, run, requests_for, tmp_path):
    model, data = fitted(system, run)
    model.save(tmp_path / "model")
    again = type(model).load(tmp_path / "model", "cpu")
    requests = requests_for(data, 3)
    assert model.generate(requests, Sampling(steps=5)) == again.generate(requests, Sampling(steps=5))
    assert again.schedule.specification == model.schedule.specification


@pytest.mark.parametrize("name", ["cosine-squared", "linear-beta-rescaled@50"])
def test_a_swapped_schedule_changes_the_corrupted_batch(system, name):
    """x_t is made anew from equal draws and the swapped levels."""
    model, data = system
    canvas, index = Canvas(**model._data(data[:4])), torch.tensor([3, 20, 40, 49])
    native, changed = (corrupted(part, canvas, index) for part in (model, swapped(model, name)))
    draws, given = draws_for(4), canvas.given[..., None]
    x0 = changed.clean + (1 - level(name, torch.tensor([1]))).sqrt()[..., None] * draws.normal("embed", *changed.clean.shape[1:])
    kept = level(name, index + 1)[..., None]
    noisy = kept.sqrt() * x0 + (1 - kept).sqrt() * draws.normal("corrupt", *x0.shape[1:])
    torch.testing.assert_close(changed.x_t, torch.where(given, x0, noisy).float())
    assert (native.x_t != changed.x_t)[~canvas.given].all()


@pytest.mark.parametrize("name", ["cosine-squared", "linear-beta-rescaled@50"])
def test_a_swapped_schedule_changes_the_levels_that_reverse_steps_hear(system, name):
    model, data = system
    canvas, visited = Canvas(**model._data(data[:4])), torch.tensor([0, 7, 23, 49])
    native, changed = (levels_heard(part.diffusion, canvas, visited) for part in (model, swapped(model, name)))
    after = torch.tensor([24, 8, 1, 0])
    for heard, completed in zip(changed, (visited.flip(0) + 1, after), strict=True):
        torch.testing.assert_close(heard[~canvas.given].unique(dim=0), level(name, completed).mT)
        assert (heard[canvas.given] == 1).all()
    assert (native[0] != changed[0])[~canvas.given].all()


def swapped(model, name):
    """The same system on another schedule, with the same embeddings."""
    other = type(model)(build(name), model.task, **SIZE)
    other.diffusion.space.load_state_dict(model.diffusion.space.state_dict())
    return other


def level(name, completed):
    return build(name).alpha_bar(completed[:, None] / 50)


def draws_for(batch):
    return Draws(seed=3, batch=batch, rows=slice(batch), device=torch.device("cpu"))


def corrupted(model, canvas, index):
    return model.diffusion.step(canvas, *model.diffusion.clock.interval(index), draws_for(len(index)))


def levels_heard(diffusion, canvas, visited):
    """alpha_t and alpha_s of every reverse step while it samples, "B L K" each."""
    heard = []

    def reverse(kernel, x_t, estimate, alpha_t, alpha_s, *, noise, final):
        heard.append((alpha_t, alpha_s))
        return diffusion.reverse(kernel, x_t, estimate, alpha_t, alpha_s, noise=noise, final=final)

    diffusion.sample(canvas, Noise(torch.arange(len(canvas.ids))), diffusion.clock.through(visited), reverse=reverse)
    return [torch.stack(levels, -1) for levels in zip(*heard, strict=True)]


def test_diffuseq_adds_noise_only_where_no_step_is_skipped(ucg_view, t2t_view):
    model = systems(ucg_view, t2t_view)["diffuseq"]
    assert model.reverse_for(50) is ancestral
    assert model.reverse_for(49) is ddim


def test_unknown_decoding_is_refused(system, requests_for):
    model, data = system
    with pytest.raises(ModelError, match="beam"):
        model.generate(requests_for(data, 1), Sampling(method="beam", steps=5))


def test_size_meets_a_parameter_target(ucg_view):
    size = DiffusionLM.size_for(60_000, ucg_view, layers=2, heads=2, embedding=16)
    model = DiffusionLM(build("sqrt@50"), ucg_view, layers=2, heads=2, embedding=16, **size)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert 0.7 < count / 60_000 < 1.4


@pytest.mark.slow
def test_diffusion_lm_learns_the_toy_language(ucg_view, unconditional, run, requests_for):
    model = DiffusionLM(build("sqrt@200"), ucg_view, width=64, layers=2, heads=2, embedding=16, chain=200)
    model.fit(unconditional[:500], (), Budget(tokens=model.optimisation.batch * 8 * 3000), run)
    answers = model.generate(requests_for(unconditional, 300), Sampling(steps=50))
    known = {example.target for example in unconditional}
    assert sum(answer.texts[0] in known for answer in answers) > 210
