"""MDLM on windows: what each shows of the one before, what it costs, when texts end, and what the bound is of."""

from dataclasses import replace

import pytest
import torch
from masked_cases import answers, asked, behind_a_source, plausible, sharpened
from toy_sentences import EXAMPLES, LENGTH, learns, requests, tiny, trained

from baselines.adapter import canvas_of
from baselines.encoding import targets
from baselines.parts.calls import Calls
from baselines.parts.estimates import Estimate
from baselines.parts.randomness import Noise
from baselines.parts.windows import Windows
from baselines.systems.mdlm import MDLM
from baselines.systems.mdlm_classifier import MDLMClassifier
from baselines.training import Draws
from harness.contracts import Budget, FitContext, Sampling
from harness.errors import ModelError, UnknownName
from harness.tokenizer import BOS, EOS, PAD


class Counting(torch.nn.Module):
    """A network that writes, behind what it sees first, the ids that follow: BOS 5 6 7 ...; and EOS in place of `last`."""

    def __init__(self, vocabulary, last=None):
        super().__init__()
        self.vocabulary, self.last = vocabulary, last
        self.anything = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x_t, time, given, previous):
        first = torch.where(x_t[:, 0] == BOS, 4, x_t[:, 0])
        tokens = first[:, None] + torch.arange(x_t.shape[1])
        tokens = tokens if self.last is None else torch.where(tokens == self.last, EOS, tokens)
        law = torch.nn.functional.one_hot(tokens.clamp(max=self.vocabulary - 1), self.vocabulary).double().log()
        return Estimate(law, law)


def counting(window, stride=None, last=None, **keys):
    model = tiny(MDLM, length=8, window=window, stride=stride, **keys)
    model.diffusion.denoiser = Counting(len(model.task.tokenizer), last)
    return model


def longer(n):
    return [replace(request, max_tokens=8) for request in requests(n)]


# --- sampler ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("window", "stride"), [(4, 1), (4, 2), (4, 3), (5, 2), (8, 4)])
@pytest.mark.parametrize("schedule_steps", [8, 40])
def test_each_window_goes_on_where_the_one_before_ended(window, stride, schedule_steps):
    model = counting(window, stride)
    ids = [answer.ids[0] for answer in model.generate(longer(3), Sampling(steps=schedule_steps))]
    known = len(model.task.tokenizer) - 1
    assert ids == [tuple(min(token, known) for token in range(5, 13))] * 3


def test_a_text_ends_with_the_window_that_holds_its_end():
    model = counting(4, 2, last=8)
    (answer,) = model.generate(longer(1), Sampling(steps=40))
    assert answer.ids[0] == (5, 6, 7, EOS)
    assert answer.finish_reasons == ("eos",)
    (whole,) = counting(4, 2).generate(longer(1), Sampling(steps=40))
    assert answer.network_calls < whole.network_calls
    (fixed,) = model.generate(longer(1), Sampling(steps=40, fixed_length=True))
    assert len(fixed.ids[0]) == 8


@pytest.mark.parametrize("micro_batch", [1, 3])
def test_calls_are_those_of_each_text_alone(micro_batch):
    model = tiny(MDLM, length=8, window=4)
    trained(model, 3)
    together = model.generate(longer(5), Sampling(steps=12))
    assert model.generate(longer(5), Sampling(steps=12, micro_batch=micro_batch)) == together
    assert all(answer.positions_processed == 4 * answer.network_calls for answer in together)
    assert all(answer.network_calls <= 12 + 4 for answer in together)  # each window's move to the data counts as no step


def test_every_window_takes_a_step_at_least():
    with pytest.raises(ModelError, match="3 steps for 4 blocks"):
        tiny(MDLM, length=8, window=4, stride=2).generate(longer(1), Sampling(steps=3))


@pytest.mark.parametrize("keys", [{}, {"window": 4}, {"window": 4, "stride": 1}, {"window": 8}, {"window": 9}], ids=str)
def test_the_least_steps_that_a_grid_hears_of_are_those_of_its_windows(keys):
    model = tiny(MDLM, length=8, **keys)
    assert MDLM.least_steps(8, **keys) == (1 if model.windows is None else len(model.stretches(model.windows)))


def test_samples_have_the_law_of_the_windows_one_after_the_other():
    """BOS and three tokens through windows of three: two are written in two steps, then one behind them; false alarm 1e-5.

    In each step a mask of the first window is revealed with probability 1/2, and in the last one for sure.
    """
    model = tiny(MDLM, "linear-alpha-bar@4", length=3, window=3, stride=1)
    sharpened(model, 8.0)
    tokens, mask = len(model.task.tokenizer), model.kernel.mask
    every = torch.arange(tokens)
    both = law_of(model, torch.tensor([[BOS, mask, mask]]))[0]
    second = law_of(model, torch.stack([torch.full_like(every, BOS), every, torch.full_like(every, mask)], 1))[:, 2]
    first = law_of(model, torch.stack([torch.full_like(every, BOS), torch.full_like(every, mask), every], 1))[:, 1]
    pairs = both[1][:, None] * both[2] / 2 + both[1][:, None] * second / 4 + both[2] * first.T / 4
    before = torch.cartesian_prod(every, every)
    third = law_of(model, torch.cat([before, torch.full_like(before[:, :1], mask)], 1))[:, 2]
    ended = (before == EOS).any(-1)
    third[ended] = torch.nn.functional.one_hot(torch.tensor(PAD), tokens).double()
    seeds, empty = torch.arange(20_000), model.windows.canvas([()] * 20_000, None)
    found = model.write(empty, Noise(seeds), 4, Sampling(steps=4), Calls(20_000))[:, 1:]
    assert plausible(found, (pairs.flatten()[:, None] * third).flatten(), tokens)


@torch.no_grad()
def law_of(model, x_t):
    estimate = model.diffusion.denoiser(x_t, torch.zeros(len(x_t)), torch.zeros_like(x_t, dtype=torch.bool), None)
    return estimate.x0_hat.exp().double()


def test_guidance_leaves_out_the_source_and_not_what_earlier_windows_wrote():
    model, seen = behind_a_source(MDLM, window=3, guidance=2.0), []
    model.network.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0].clone()))
    model.generate(asked(8), Sampling(steps=9, fixed_length=True))
    start, mask = model.windows.start, model.kernel.mask
    later = [pair for pair in zip(seen[::2], seen[1::2], strict=True) if (pair[0][:, start] != BOS).all()]
    assert later
    for conditional, unconditional in later:
        assert (unconditional[:, :start] == mask).all()
        assert (unconditional[:, start : start + 2] != mask).all()
        assert torch.equal(unconditional[:, start:], conditional[:, start:])


# --- bound -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("stride", "positions"), [(2, 5), (3, 6)])
def test_every_position_up_to_the_end_of_the_last_window_is_charged_once(stride, positions):
    """A network that says nothing: log V for each position that a window writes, up to the window that holds EOS.

    So each stride has a bound of its own, and is no key of sampling alone.
    """
    assert "stride" not in MDLM.sampling_keys
    model = tiny(MDLM, length=8, window=4, stride=stride)
    with torch.no_grad():
        for parameter in model.diffusion.denoiser.head.parameters():
            parameter.zero_()
    scores = model.likelihood(EXAMPLES[:32])  # four words and EOS: windows end behind 3, and 5 or 6
    wanted = positions * torch.tensor(float(len(model.task.tokenizer))).log().item()
    error = sum(value**2 for value in scores.mc_errors) ** 0.5 / 32
    assert abs(sum(scores.nats) / 32 - wanted) < 4.5 * error < 0.2 * wanted


def test_each_window_is_scored_with_draws_of_its_own():
    """Else what one window errs by, the next would too, and their sum would say it knows more than it does."""
    model, seeds = tiny(MDLM, length=8, window=4, stride=2), []
    estimates = model.estimates
    model.estimates = lambda canvas, draws: seeds.append([draw.seed for draw in draws]) or estimates(canvas, draws)
    model.bounds(canvas_of(model._data(EXAMPLES[:8])), (0,))
    assert len(seeds) > 1
    assert len({seed for row in seeds for seed in row}) == sum(map(len, seeds))


def test_a_text_that_fits_the_window_is_written_at_once():
    model = tiny(MDLM, length=5, window=6)
    assert model.windows is None
    assert isinstance(tiny(MDLM, length=5, window=5).windows, Windows)


# --- training and keys -----------------------------------------------------------------------------------------------
def test_training_sees_windows_from_anywhere_in_long_texts():
    model = tiny(MDLM, window=3)
    model.diffusion.loss = lambda canvas, draws: canvas.ids
    seen = model._loss(model._data(EXAMPLES), Draws(seed=0, batch=64, rows=slice(64), device=torch.device("cpu")))
    assert seen.shape == (64, 3)
    assert 16 < (seen[:, 0] == BOS).sum() < 48


@pytest.mark.parametrize("family", ["a2t", "t2t"])
@pytest.mark.parametrize("guidance", [None, 2.0])
def test_it_is_conditioned_and_survives_saving(family, guidance, tmp_path):
    model = behind_a_source(MDLM, family=family, window=3, guidance=guidance)
    examples = answers(family)
    report = model.fit(examples, examples[:8], Budget(tokens=5 * 16 * model.layout.length), FitContext(seed=0))
    assert (report.updates, model.layout.length) == (5, 4 + 3)
    found = model.generate(asked(3, family), Sampling(steps=9))
    assert all(len(answer.ids[0]) <= LENGTH for answer in found)
    model.most_draws = 16
    assert model.likelihood(examples[:4]).tokens == tuple(map(len, targets(model.task, examples[:4])))
    model.save(tmp_path)
    assert MDLM.load(tmp_path, "cpu").generate(asked(3, family), Sampling(steps=9)) == found


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ({"window": 1}, "window 1, expected null"),
        ({"window": 4.0}, "window 4.0, expected null"),
        ({"window": 4, "stride": 4}, "stride 4, expected null"),
        ({"stride": 2}, "stride 2, expected null"),
    ],
)
def test_wrong_windows_are_refused(size, message):
    with pytest.raises(ValueError, match=message):
        tiny(MDLM, **size)


def test_its_design_says_so():
    design = MDLM.design_for(window=4)
    assert (design.unmasking, design.length) == ("independent, in windows of 4", "the window that holds EOS")
    with pytest.raises(UnknownName, match="window"):
        MDLMClassifier.design_for(window=4)


@pytest.mark.slow
@pytest.mark.parametrize("stride", [1, 2])
def test_it_learns_through_windows(stride):
    learns(tiny(MDLM, width=48, window=3, stride=stride), updates=1500, steps=50, bound=3.2, known=45)
