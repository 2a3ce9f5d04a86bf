"""D3PM as a text model: variants, training, sampling, likelihood, saving."""

import pytest
import torch

from baselines.systems.d3pm import D3PM, VARIANTS, Complete
from harness.construction import construct
from harness.contracts import Budget, Example, FitContext, Request, Sampling, TaskView
from harness.schedules.names import build
from harness.tokenizer import Tokenizer

SENTENCES = [f"the {a} {n} {v}" for a in ("old", "small") for n in ("dog", "cat") for v in ("sees", "hears")]
EXAMPLES = [Example(id=str(i), target=SENTENCES[i % len(SENTENCES)]) for i in range(64)]
SMALL = {"width": 32, "layers": 1, "heads": 2, "chain": 50}
LENGTH = 6


def view():
    tokenizer = Tokenizer.train("words", SENTENCES)
    counts = [1] * len(tokenizer)
    for example in EXAMPLES:
        for index in tokenizer.encode(example.target):
            counts[index] += 1
    return TaskView(name="toy", family="ucg", tokenizer=tokenizer, max_tokens=LENGTH, unigram=tuple(counts))


def model_of(schedule=None, **size):
    keys = SMALL | size
    return construct(D3PM, schedule or D3PM.design_for(**keys).schedule, view(), keys)


def requests(n):
    return [Request(id=str(i), seed=i, max_tokens=LENGTH) for i in range(n)]


@pytest.mark.parametrize("kernel", VARIANTS)
def test_every_kernel_trains_samples_scores_and_survives_saving(kernel, tmp_path):
    model = model_of("linear-alpha-bar", kernel=kernel)
    report = model.fit(EXAMPLES, EXAMPLES[:8], Budget(tokens=5 * model.optimisation.batch * LENGTH), FitContext(seed=0))
    assert report.updates == 5
    assert report.valid_loss > 0
    found = model.generate(requests(3), Sampling(steps=5))
    assert [answer.network_calls for answer in found] == [5, 5, 5]
    scores = model.likelihood(EXAMPLES[:4])
    assert scores.kind == "bound"
    assert scores.estimator == "discrete-T"
    assert all(value > 0 for value in scores.nats)
    assert scores.tokens == (5, 5, 5, 5)
    model.save(tmp_path)
    again = D3PM.load(tmp_path, "cpu")
    assert again.generate(requests(3), Sampling(steps=5)) == found
    assert again.likelihood(EXAMPLES[:4]) == scores


@pytest.mark.parametrize("kernel", VARIANTS)
def test_native_schedules_build_and_end_in_noise(kernel):
    keys = {"kernel": kernel, "width": 16, "layers": 1, "heads": 2}
    model = construct(D3PM, D3PM.design_for(**keys).schedule, view(), keys)
    ends = model.diffusion.schedule.alpha_bar(torch.tensor([[0.0], [1.0]]).double())
    assert ends[:, 0].tolist() == [1.0, 0.0]
    assert model.diffusion.chain == 1000


def test_learning_lowers_the_bound_towards_the_entropy():
    """Eight equally likely sentences: the entropy is log 8 = 2.08 nats, an untrained network has about 15."""
    model = model_of(width=48, chain=1000)
    model.fit(EXAMPLES, [], Budget(tokens=300 * 32 * LENGTH), FitContext(seed=1))
    scores = model.likelihood([Example(id=str(i), target=text) for i, text in enumerate(SENTENCES * 4)])
    mean = sum(scores.nats) / len(scores.nats)
    error = sum(value**2 for value in scores.mc_errors) ** 0.5 / len(scores.nats)
    assert 2.079 - 4.5 * error < mean < 2.6
    texts = [answer.texts[0] for answer in model.generate(requests(64), Sampling(steps=50))]
    assert sum(text in SENTENCES for text in texts) > 55
    assert len(set(texts)) > 4


@pytest.mark.parametrize("swapped", ["cosine-squared", "sqrt", "geometric"])
def test_a_swapped_schedule_changes_corruption_and_the_visited_levels(swapped):
    index = torch.tensor([20])
    ids = torch.zeros(1, LENGTH, dtype=torch.int64)
    levels = [model_of(name).diffusion.level(index, ids).item() for name in ("linear-alpha-bar", swapped)]
    assert abs(levels[0] - levels[1]) > 0.01


def test_samples_do_not_depend_on_the_batch():
    model = model_of(unmasking="exact-count")
    together = model.generate(requests(6), Sampling(steps=6, micro_batch=6))
    alone = model.generate(requests(6), Sampling(steps=6, micro_batch=1))
    assert [answer.texts for answer in together] == [answer.texts for answer in alone]


def test_designs_name_their_variant():
    assert D3PM.design_for().name == "d3pm"
    assert D3PM.design_for(kernel="uniform").name == "d3pm-uniform"
    assert D3PM.design_for(kernel="uniform").unmasking is None
    assert D3PM.design_for(unmasking="exact-count").unmasking == "exact-count"


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ({"kernel": "absorb"}, "none of absorbing, uniform"),
        ({"kernel": "uniform", "unmasking": "exact-count"}, "has no mask"),
        ({"unmasking": "all"}, "none of independent"),
        ({"depth": 3}, "unknown key depth"),
    ],
)
def test_wrong_keys_are_refused(size, message):
    with pytest.raises(ValueError, match=message):
        D3PM.design_for(**size)


def test_a_parameter_target_is_met():
    keys = D3PM.size_for(200_000, view(), layers=2)
    model = construct(D3PM, "linear-alpha-bar", view(), {"layers": 2, **keys})
    found = sum(parameter.numel() for parameter in model.parameters())
    assert 0.8 < found / 200_000 < 1.25


def test_complete_keeps_the_inside():
    schedule = build("sqrt")
    time = torch.tensor([[0.0], [0.4], [1.0]]).double()
    levels = Complete(schedule).alpha_bar(time)[:, 0]
    assert levels.tolist() == [1.0, schedule.alpha_bar(time)[1, 0].item(), 0.0]
