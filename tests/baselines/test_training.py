"""The loop: resumed equals uninterrupted, micro-batches equal the whole batch, NaN is an error."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from baselines import training
from baselines.parts.timesteps import LossSecondMoment
from baselines.training import Draws, Optimisation, train
from harness.contracts import Budget, FitContext
from harness.errors import ModelError

SETTINGS = Optimisation(learning_rate=1e-2, batch=8, ema=0.99)


class Line(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))

    def loss(self, batch, draws: Draws):
        noise = draws.uniform("noise", 3)
        return ((batch["x"] + 0.1 * noise) @ self.weight - batch["y"]).square()


def data():
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return {"x": x, "y": x @ torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)}


def fitted(run, tokens=8 * 40, settings=SETTINGS):
    model = Line()
    report = train(model, model.loss, data(), optimisation=settings, canvas=1, budget=Budget(tokens=tokens), run=run)
    return model.weight.detach(), report


def test_a_killed_run_resumes_to_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    whole, report = fitted(FitContext(seed=3))
    killed = FitContext(
        seed=3, folder=tmp_path, progress=lambda share, loss: share > 0.5 and (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        fitted(killed)
    updates = []
    resumed, again = fitted(FitContext(seed=3, folder=tmp_path, progress=lambda share, loss: updates.append(share)))
    assert len(updates) < 25
    assert torch.equal(whole, resumed)
    assert report == again


def test_time_before_a_resume_counts(tmp_path, monkeypatch):
    clock = iter(range(0, 100_000, 10))
    monkeypatch.setattr(training.time, "monotonic", lambda: float(next(clock)))
    _, whole = fitted(FitContext(seed=3, folder=tmp_path / "whole"))
    killed = FitContext(
        seed=3, folder=tmp_path / "two", progress=lambda share, loss: share > 0.5 and (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        fitted(killed)
    _, again = fitted(FitContext(seed=3, folder=tmp_path / "two"))
    assert again.seconds == pytest.approx(whole.seconds, rel=0.25)


def test_micro_batches_change_nothing(tmp_path):
    whole, _ = fitted(FitContext(seed=3))
    parts, _ = fitted(FitContext(seed=3, micro_batch=3))
    torch.testing.assert_close(whole, parts, rtol=1e-10, atol=1e-12)


class Timed(Line):
    """Steps with large losses are drawn more often, so what is drawn depends on what was observed."""

    def __init__(self):
        super().__init__()
        self.times = LossSecondMoment(4, per_step=2)

    def loss(self, batch, draws: Draws):
        index, weight = draws.once("time", partial(self.times.sample, draws.batch))
        value = super().loss(batch, draws) * (1 + index)
        self.times.observe(index, value.detach())
        return value * weight


def test_micro_batches_change_nothing_where_losses_move_the_times():
    models = [Timed(), Timed()]
    for model, micro_batch in zip(models, (None, 3), strict=True):
        run = FitContext(seed=3, micro_batch=micro_batch)
        train(model, model.loss, data(), optimisation=SETTINGS, canvas=1, budget=Budget(tokens=8 * 40), run=run)
    assert models[0].times.warm
    torch.testing.assert_close(models[0].weight, models[1].weight, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(models[0].times.history, models[1].times.history)


def test_seeds_matter():
    assert not torch.equal(fitted(FitContext(seed=3))[0], fitted(FitContext(seed=4))[0])


def test_it_learns():
    weight, report = fitted(FitContext(seed=3), tokens=8 * 600, settings=replace(SETTINGS, learning_rate=5e-2, ema=None))
    assert report.losses[-1][1] < 0.1 * report.losses[0][1]
    assert (weight - torch.tensor([1.0, -2.0, 0.5])).abs().max() < 0.2


def test_nan_is_an_error():
    model = Line()
    with pytest.raises(ModelError, match=r"is nan at update 1 of 10, before any learning rate has acted: .* not finite"):
        train(
            model, lambda batch, draws: model.loss(batch, draws) * float("nan"), data(), optimisation=SETTINGS, canvas=1,
            budget=Budget(tokens=80), run=FitContext(seed=0),
        )  # fmt: skip


def test_too_small_a_budget_is_an_error():
    with pytest.raises(ValueError, match="one update takes 8 x 1"):
        fitted(FitContext(seed=0), tokens=7)


def test_every_example_is_seen_once_per_epoch():
    run = FitContext(seed=1)
    seen = torch.cat([training._batch({"i": torch.arange(50)}, update, 8, run)["i"] for update in range(25)])
    assert torch.equal(seen[:50].sort().values, torch.arange(50))
    assert torch.equal(seen[50:100].sort().values, torch.arange(50))
    assert not torch.equal(seen[:50], seen[50:100])


@pytest.mark.parametrize(("width", "rate"), [(64, 1e-2), (128, 1e-2), (256, 5e-3), (768, 1e-2 / 6)])
def test_the_rate_falls_with_the_width(width, rate):
    assert SETTINGS.at_width(width).learning_rate == pytest.approx(rate)


def test_losses_hear_how_far_training_is_and_that_scoring_is_no_training():
    heard = []

    class Hearing(Line):
        def loss(self, batch, draws: Draws):
            heard.append(draws.progress)
            return super().loss(batch, draws)

    model = Hearing()
    run = FitContext(seed=3, micro_batch=4)
    train(model, model.loss, data(), optimisation=SETTINGS, canvas=1, budget=Budget(tokens=8 * 4), run=run, valid=data())
    assert heard == [0.0, 0.0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 1.0]


def test_nan_after_an_update_speaks_of_the_learning_rate():
    model = Line()
    with pytest.raises(ModelError, match=r"became nan at update 2 of 10; lower the learning rate"):
        train(
            model, lambda batch, draws: model.loss(batch, draws) * (float("nan") if model.weight.any() else 1.0), data(),
            optimisation=SETTINGS, canvas=1, budget=Budget(tokens=80), run=FitContext(seed=0),
        )  # fmt: skip
