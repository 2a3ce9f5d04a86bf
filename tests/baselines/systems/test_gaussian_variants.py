"""Sampling variants of Diffusion-LM and DiffuSeq: late clamping, other samplers, and defaults that change nothing."""

import json
from pathlib import Path

import pytest
import torch

from baselines.encoding import conditions
from baselines.engine import Canvas, Diffusion
from baselines.parts.clocks import Chain
from baselines.parts.denoisers import Clamped
from baselines.parts.estimates import Estimate
from baselines.parts.gaussian import GaussianKernel, posterior_variance, step_variance
from baselines.parts.objectives import end_to_end
from baselines.parts.randomness import Noise
from baselines.parts.samplers import ancestral, ddim
from baselines.parts.spaces import EmbeddingSpace
from baselines.parts.timesteps import UniformTimes, evenly
from baselines.systems.d3pm import D3PM
from baselines.systems.diffuseq import DiffuSeq, OneDown, whole_strides
from baselines.systems.diffusion_lm import DiffusionLM
from harness.check.case import Case
from harness.check.training import learns_the_same_for_any_sampling_keys
from harness.contracts import Sampling, stream_seed
from harness.errors import ModelError
from harness.schedules.names import build

SIZE = {"width": 32, "layers": 1, "heads": 2, "embedding": 16, "chain": 50}
GOLDEN = Path(__file__).parents[2] / "golden" / "diffuseq_process.json"
STRIDED = [case for case in json.loads(GOLDEN.read_text(encoding="utf-8"))["cases"] if case["kind"] == "diffuseq.strided_ddim"]


def untrained(system, view, **size):
    torch.manual_seed(0)
    return system(build("sqrt@50"), view, **SIZE, **size)


def heard(model, canvas, visited):
    """What reverse steps hear while a model samples: levels at written positions, whether all estimates are clamped, final."""
    found, space, reverse = [], model.diffusion.space, model.reverse_for(len(visited))

    def listening(kernel, x_t, estimate, alpha_t, alpha_s, *, noise, final):
        clamped = torch.equal(estimate.x0_hat, space.snap(estimate.x0_hat))
        found.append((alpha_t[~canvas.given].unique().item(), alpha_s[~canvas.given].unique().item(), clamped, final))
        return reverse(kernel, x_t, estimate, alpha_t, alpha_s, noise=noise, final=final)

    diffusion, noise = model.diffusion, Noise(torch.arange(len(canvas.ids)))
    diffusion.sample(canvas, noise, diffusion.clock.through(visited), model.sampling_denoiser(diffusion.denoiser), listening)
    return found


@pytest.mark.parametrize("steps", [10, 50])
def test_defaults_change_nothing(steps, t2t_view, conditional, requests_for):
    """Said or not; and both are what the parts give when they are put together by hand, clamped at every step."""
    requests, settings = requests_for(conditional, 4), Sampling(steps=steps)
    said, unsaid = untrained(DiffuSeq, t2t_view, clamp_below=None, sampler="native"), untrained(DiffuSeq, t2t_view)
    answers = unsaid.generate(requests, settings)
    assert said.generate(requests, settings) == answers
    assert type(unsaid.diffusion) is Diffusion
    assert unsaid.diffusion.kernel.variance is step_variance
    assert (said.design, DiffuSeq.design_for()) == (unsaid.design, DiffuSeq.design)
    prompt = unsaid.layout.canvas(conditions(t2t_view, requests), None)
    noise = Noise(torch.tensor([stream_seed(request.seed, 0) for request in requests]))
    clamped = Clamped(unsaid.diffusion.denoiser, unsaid.diffusion.space.snap)
    ids = unsaid.diffusion.sample(prompt, noise, Chain(50, evenly).grid(steps), clamped, ancestral if steps == 50 else ddim)
    rows = unsaid.layout.targets(Canvas(ids=ids, given=prompt.given))
    for row, answer in zip(rows, answers, strict=True):
        assert answer.ids[0] == tuple(row[: len(answer.ids[0])])


@pytest.mark.parametrize(
    ("system", "family", "keys"),
    [
        (DiffusionLM, "ucg", {"clamp_below": 0}),
        (DiffuSeq, "t2t", {"clamp_below": 7, "sampler": "ancestral"}),
        (DiffuSeq, "a2t", {"sampler": "released-ddim"}),
        (D3PM, "ucg", {"unmasking": "exact-count"}),
    ],
)
def test_one_training_serves_all_sampling_keys(system, family, keys, tmp_path):
    size = {"width": 16, "layers": 1, "heads": 2, **keys}
    case = Case(system, system.design_for(**size), family, size, tmp_path, "cpu")
    assert case.keys == keys
    learns_the_same_for_any_sampling_keys(case)
    plain = system.load(tmp_path / "loaded-with-keys", "cpu")
    assert case.texts_of(plain) != case.texts_of(case.briefly_fitted)


@pytest.mark.parametrize("system", [DiffusionLM, DiffuSeq])
@pytest.mark.parametrize(("below", "clamped"), [(None, [True] * 4), (0, [False] * 4), (23, [False, False, True, True])])
def test_only_steps_below_are_clamped(system, below, clamped, ucg_view, t2t_view, unconditional, conditional):
    of_pair = system is DiffuSeq
    model = untrained(system, t2t_view if of_pair else ucg_view, clamp_below=below)
    canvas = Canvas(**model._data((conditional if of_pair else unconditional)[:3]))
    steps = heard(model, canvas, torch.tensor([0, 22, 23, 49]))
    assert [step[2] for step in steps] == clamped
    assert model.design.clamping == {None: True, 0: False}.get(below, f"steps below {below}")


def test_the_released_ddim_goes_one_step_down_while_it_skips(t2t_view, conditional):
    levels = build("sqrt@50").levels
    native, released = (untrained(DiffuSeq, t2t_view, sampler=sampler) for sampler in ("native", "released-ddim"))
    canvas, visited = Canvas(**native._data(conditional[:2])), whole_strides(50, 5)
    assert visited.tolist() == [9, 19, 29, 39, 49]
    places = [
        [tuple(int((levels == level).nonzero()) for level in step[:2]) for step in heard(model, canvas, visited)]
        for model in (native, released)
    ]
    assert places[0] == [(50, 40), (40, 30), (30, 20), (20, 10), (10, 0)]
    assert places[1] == [(50, 49), (40, 39), (30, 29), (20, 19), (10, 9)]
    assert released.reverse_for(5) is ddim


@pytest.mark.parametrize("case", STRIDED, ids=[case["id"] for case in STRIDED])
def test_the_released_ddim_holds_the_golden_states(case):
    """The engine's own loop on the recorded start and prediction; float32 draws, tolerance of the file."""
    inputs, expected = case["inputs"], case["expected"]
    schedule, start, states = build(f"{inputs['schedule']}@{inputs['T']}"), torch.tensor(inputs["x_T"]), []

    class Start(Noise):
        def normal(self, step, *shape):
            return start

    def constant(x_t, time, given, previous):
        states.append(x_t)
        return Estimate(torch.tensor(inputs["model_output_x0"]), x_t)

    space = EmbeddingSpace(3, start.shape[-1])
    model = OneDown(
        space=space, kernel=GaussianKernel(start.shape[-1], step_variance), schedule=schedule, denoiser=torch.nn.Identity(),
        objective=end_to_end(space), times=UniformTimes(inputs["T"]), reverse=ddim,
        clock=Chain(inputs["T"]), time_input=Chain(inputs["T"]).network_time,
    )  # fmt: skip
    empty = torch.zeros(start.shape[:2], dtype=torch.int64)
    visited = whole_strides(inputs["T"], expected["num_steps"])
    assert visited.flip(0)[:3].tolist() == expected["first3"]
    assert visited.flip(0)[-3:].tolist() == expected["last3"]
    model.sample(Canvas(ids=empty, given=empty.bool()), Start(torch.arange(len(start))), model.clock.through(visited), constant)
    for state, name in zip(states[1:3], ("state_after_1", "state_after_2"), strict=True):
        torch.testing.assert_close(state, torch.tensor(expected[name]), **case["tolerance"])


def test_answers_of_the_released_ddim_visit_its_own_steps(t2t_view, conditional, requests_for):
    requests = requests_for(conditional, 3)
    native, released = (untrained(DiffuSeq, t2t_view, sampler=sampler) for sampler in ("native", "released-ddim"))
    times = []
    released.diffusion.denoiser.register_forward_pre_hook(lambda module, arguments: times.append(arguments[1][0].item()))
    answers = released.generate(requests, Sampling(steps=5))
    assert times == [980, 780, 580, 380, 180]
    assert {answer.network_calls for answer in answers} == {5}
    assert released.generate(requests, Sampling(steps=50)) == native.generate(requests, Sampling(steps=50))
    with pytest.raises(ModelError, match="7 of 50 steps"):
        released.generate(requests, Sampling(steps=7))


def test_ancestral_has_the_posterior_variance_however_many_steps_are_skipped(t2t_view):
    model = untrained(DiffuSeq, t2t_view, sampler="ancestral")
    assert (model.reverse_for(5), model.reverse_for(50)) == (ancestral, ancestral)
    x = torch.zeros(1, 1, 16)
    level = [torch.full((1, 1), value, dtype=torch.float64) for value in (0.2, 0.7)]
    law = model.diffusion.kernel.posterior(x, x, *level)
    assert law.variance.item() == pytest.approx((1 - 0.7) / (1 - 0.2) * (1 - 0.2 / 0.7))
    assert model.diffusion.kernel.variance is posterior_variance
    assert model.design.variance == "posterior"


def test_a_variant_loads_as_it_was_saved(t2t_view, conditional, requests_for, tmp_path):
    model = untrained(DiffuSeq, t2t_view, sampler="released-ddim", clamp_below=20)
    model.save(tmp_path)
    again = DiffuSeq.load(tmp_path, "cpu")
    assert again.design == model.design
    assert again.generate(requests_for(conditional, 2), Sampling(steps=5)) == model.generate(
        requests_for(conditional, 2), Sampling(steps=5)
    )


@pytest.mark.parametrize(
    ("system", "size", "message"),
    [
        (DiffusionLM, {"clamp_below": -1}, "-1 is none of null .every step is clamped., 0"),
        (DiffusionLM, {"clamp_below": "late"}, "'late' is none of null"),
        (DiffuSeq, {"clamp_below": True}, "True is none of null"),
        (DiffuSeq, {"sampler": "ddim"}, "'ddim' is none of native, ancestral, released-ddim"),
        (DiffusionLM, {"sampler": "native"}, "unknown key 'sampler'.* Known: batch, chain, clamp_below"),
    ],
)
def test_wrong_keys_are_refused(system, size, message):
    with pytest.raises(ValueError, match=message):
        system.design_for(**size)
