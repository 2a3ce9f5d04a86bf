"""DiffusionBERT as a text model: levels of each token in training and sampling, both reverse steps, its bound, its keys."""

import dataclasses
import math
from itertools import pairwise

import pytest
import torch
from scipy.stats import chi2
from torch import nn

from baselines.encoding import targets
from baselines.enumeration import drawn, exact_bound, exact_law, without_mask
from baselines.parts.conditioning import Canvas
from baselines.parts.estimates import Estimate
from baselines.parts.objectives_discrete import token_error
from baselines.parts.randomness import Noise
from baselines.parts.truncation import TopK
from baselines.systems.diffusion_bert import DiffusionBERT, DiffusionBERTCode, through_base
from baselines.training import Draws
from harness.construction import construct
from harness.contracts import Budget, Example, FitContext, Request, Sampling, TaskView
from harness.errors import UnknownName
from harness.pretrained import tokenizer_of
from harness.tokenizer import PAD, Tokenizer

SENTENCES = [f"the {a} {n} {v}" for a in ("old", "small") for n in ("dog", "cat") for v in ("sees", "hears")]
EXAMPLES = [Example(id=str(i), target=SENTENCES[i % len(SENTENCES)]) for i in range(64)]
PAIRS = [dataclasses.replace(item, source=" ".join(reversed(item.target.split()))) for item in EXAMPLES]
SMALL = {"width": 32, "layers": 1, "heads": 2, "chain": 50, "plm": None}
LENGTH = 6
BOTH = pytest.mark.parametrize("model_class", [DiffusionBERT, DiffusionBERTCode])


def view_of(family="ucg", length=LENGTH, counts=None):
    tokenizer = Tokenizer.train("words", SENTENCES)
    usual = [1] * len(tokenizer)
    for sentence in SENTENCES:
        for index in tokenizer.encode(sentence):
            usual[index] += 1
    sources = 0 if family == "ucg" else 5
    unigram = tuple(counts or usual)
    return TaskView(name="toy", family=family, tokenizer=tokenizer, max_tokens=length, max_source_tokens=sources, unigram=unigram)


def model_of(model_class=DiffusionBERT, schedule=None, view=None, **size):
    return construct(model_class, schedule or model_class.design.schedule, view or view_of(), SMALL | size)


def requests(n, examples=EXAMPLES):
    return [Request(id=str(i), seed=i, max_tokens=LENGTH, source=examples[i].source) for i in range(n)]


def trained(model, updates, examples=EXAMPLES):
    tokens = updates * model.optimisation.batch * model.layout.length
    return model.fit(examples, examples[:8], Budget(tokens=tokens), FitContext(seed=0))


def canvas_of(rows, ids):
    ids = torch.tensor(ids).expand(rows, -1)
    return Canvas(ids=ids, given=torch.zeros_like(ids, dtype=torch.bool))


class Fixed(nn.Module):
    """A denoiser whose estimate of every position is fixed by the state that it reads there."""

    def __init__(self, states, tokens, seed=0, spread=1.0):
        super().__init__()
        draws = torch.randn(states, tokens, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        self.table = nn.Parameter((spread * draws).log_softmax(-1), requires_grad=False)

    def forward(self, x_t, time, given, previous):
        other = self.table[x_t.roll(1, -1)]
        x0_hat = (self.table[x_t] + other).log_softmax(-1)
        return Estimate(x0_hat, x0_hat)


# --- as a text model -------------------------------------------------------------------------------------------------
@BOTH
@pytest.mark.parametrize(("family", "examples"), [("ucg", EXAMPLES), ("t2t", PAIRS)])
def test_it_trains_samples_and_survives_saving(model_class, family, examples, tmp_path):
    model = model_of(model_class, view=view_of(family))
    assert trained(model, 5, examples).updates == 5
    found = model.generate(requests(3, examples), Sampling(steps=5))
    assert [answer.network_calls for answer in found] == [5, 5, 5]
    assert model.likelihood(examples[:4]) is None
    model.save(tmp_path)
    assert model_class.load(tmp_path, "cpu").generate(requests(3, examples), Sampling(steps=5)) == found


def test_on_a_schedule_without_tokens_it_has_a_bound_and_asks_the_network_when_it_reveals(tmp_path):
    model = model_of(schedule="cosine-squared")
    trained(model, 5)
    calls = [answer.network_calls for answer in model.generate(requests(8), Sampling(steps=50))]
    assert all(1 <= count <= LENGTH for count in calls)
    scores = model.likelihood(EXAMPLES[:4])
    assert (scores.kind, scores.estimator) == ("bound", "discrete-T")
    model.save(tmp_path)
    assert DiffusionBERT.load(tmp_path, "cpu").likelihood(EXAMPLES[:4]) == scores


def test_all_steps_of_the_chain_are_the_default():
    assert {answer.steps_used for answer in model_of(chain=7).generate(requests(2), Sampling())} == {7}
    assert {answer.steps_used for answer in model_of(schedule="spindle@9").generate(requests(2), Sampling())} == {9}


def test_the_last_step_draws():
    """All requests have noise of their own: from equal states the last step gives different texts; the mode would give one."""
    texts = {answer.texts for answer in model_of(chain=1).generate(requests(30), Sampling(steps=1))}
    assert len(texts) > 5


def test_its_width_meets_a_target():
    view = view_of()
    keys = DiffusionBERT.size_for(40_000, view, layers=2, heads=2)
    network = DiffusionBERT.network_of(view, SMALL | keys | {"layers": 2, "heads": 2})
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(40_000, rel=0.1)


@pytest.mark.parametrize("wrong", [0, -3, 2.0, True, "many"])
def test_a_top_k_that_is_no_number_of_tokens_is_refused(wrong):
    with pytest.raises(ValueError, match="top_k"):
        model_of(top_k=wrong)


def test_unknown_keys_are_refused():
    with pytest.raises(UnknownName, match="guidance"):
        model_of(guidance=2.0)


@pytest.mark.parametrize(("width", "expected"), [(8, 3e-3), (256, 1.5e-3), (768, 5e-4)])
def test_the_learning_rate_is_that_of_the_width_of_its_checkpoint(width, expected, tmp_path):
    transformers = pytest.importorskip("transformers")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({word for text in SENTENCES for word in text.split()})]
    config = transformers.BertConfig(
        vocab_size=len(vocabulary), hidden_size=width, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=16,
    )  # fmt: skip
    transformers.BertForMaskedLM(config).save_pretrained(tmp_path)
    transformers.BertTokenizerFast(vocab={word: index for index, word in enumerate(vocabulary)}).save_pretrained(tmp_path)
    view = dataclasses.replace(view_of(), tokenizer=tokenizer_of(tmp_path), unigram=())
    model = construct(DiffusionBERT, "sqrt", view, {"plm": str(tmp_path), "chain": 50})
    assert model.optimisation.learning_rate == pytest.approx(expected)


@pytest.mark.parametrize("plm", ["local", None])
def test_the_learning_rate_is_that_of_its_own_width_where_it_has_one(plm):
    rates = [model_of(width=width, plm=plm, learning_rate=1e-3).optimisation.learning_rate for width in (32, 128, 512)]
    assert rates == pytest.approx([1e-3, 1e-3, 2.5e-4])


def test_a_system_of_a_checkpoint_is_another_version():
    """Its learning rate was that of width 128 once; trainings that were kept from then are not taken for this one's."""
    assert [DiffusionBERT.design_for(plm=plm).version for plm in ("local", None, "/models/bert")] == [1, 1, 2]


# --- levels in training ----------------------------------------------------------------------------------------------
@BOTH
def test_rare_tokens_are_masked_more_often(model_class):
    """t = 1/2, n = 20,000 masks of every position: each share within 4.5 standard errors of 1 - alpha-bar; in order of rarity."""
    view = view_of(counts=[900, 0, 0, 0, 0, 5, 50, 15, 30, 7, 7, 7])
    model, rows = model_of(model_class, view=view), 20_000
    canvas = canvas_of(rows, [6, 8, 7, 5, PAD])
    t = torch.full((rows, 1), 0.5, dtype=torch.float64)
    step = model.diffusion.step(canvas, t, t - 0.02, Draws(seed=1, batch=rows, rows=slice(rows), device=torch.device("cpu")))
    share = (step.x_t == model.kernel.mask).double().mean(0)
    expected = 1 - model.diffusion.schedule.alpha_bar(t[:1], canvas.ids[:1])[0]
    assert bool(((share - expected).abs() < 4.5 * (0.25 / rows) ** 0.5).all())
    assert bool((share[:4].diff() > 0).all())
    assert expected[4] == 0.5


def test_a_source_is_never_masked_and_belongs_to_no_average():
    model = model_of(view=view_of("t2t"))
    one, other = ([dataclasses.replace(PAIRS[0], source=text)] for text in ("cat old", "hears sees the small"))
    canvases = [model.layout.canvas(*_coded(model, item)) for item in (one, other)]
    t = torch.full((1, 1), 0.5, dtype=torch.float64)
    levels = [model.diffusion.alpha(t, canvas) for canvas in canvases]
    assert all(bool((level[canvas.given] == 1).all()) for level, canvas in zip(levels, canvases, strict=True))
    written = [level[~canvas.given][:LENGTH] for level, canvas in zip(levels, canvases, strict=True)]
    assert torch.equal(*written)
    alone = model_of().diffusion.alpha(t, canvas_of(1, canvases[0].ids[~canvases[0].given][:LENGTH].tolist()))
    assert torch.equal(written[0], alone[0])


def _coded(model, examples):
    encode = model.task.tokenizer.encode
    return [encode(item.source) for item in examples], targets(model.task, examples)


@pytest.mark.parametrize(("family", "examples", "weight"), [("ucg", EXAMPLES, 1e-2), ("t2t", PAIRS, 3e-4)])
def test_the_loss_is_the_divergence_and_a_little_cross_entropy_of_what_is_written(family, examples, weight):
    """T (reveal CE at masks + lambda_h CE), the reveal at the true tokens' levels; 0 at the source."""
    model, rows = model_of(view=view_of(family), chain=8), 6
    canvas = model.layout.canvas(*_coded(model, examples[:rows])) if family == "t2t" else canvas_of(rows, [5, 6, 7, 8, 1, 0])
    t, s = model.diffusion.clock.interval(torch.arange(rows))
    step = model.diffusion.step(canvas, t, s, Draws(seed=1, batch=rows, rows=slice(rows), device=torch.device("cpu")))
    alpha_t, alpha_s = model.diffusion.alpha(t, canvas), model.diffusion.alpha(s, canvas)
    reveal = ((alpha_s - alpha_t) / (1 - alpha_t)).nan_to_num(0) * (step.x_t == model.kernel.mask)
    expected = 8 * (reveal + weight) * token_error(step) * ~canvas.given
    assert torch.allclose(model.diffusion.objective(step).double(), expected, rtol=1e-5)
    assert bool((step.x_t == model.kernel.mask).any())


def test_the_released_loss_takes_tokens_to_be_masked_at_the_base_rate():
    """T (reveal CE at masks + lambda_h CE), where alpha_t is what the base rate leaves of the token's own alpha_s."""
    model, rows = model_of(DiffusionBERTCode, chain=8), 6
    canvas = canvas_of(rows, [5, 6, 7, 8, 1, 0])
    t, s = model.diffusion.clock.interval(torch.arange(rows))
    step = model.diffusion.step(canvas, t, s, Draws(seed=1, batch=rows, rows=slice(rows), device=torch.device("cpu")))
    kept, beta = model.diffusion.alpha_after(s, canvas), 1 - (1 - t) / (1 - s)
    reveal = beta * kept / (beta * kept + 1 - kept) * (step.x_t == model.kernel.mask)
    assert torch.allclose(model.diffusion.objective(step).double(), 8 * (reveal + 1e-2) * token_error(step), rtol=1e-5)


# --- the reverse step ------------------------------------------------------------------------------------------------
def test_the_base_transition_composes_the_released_betas():
    """beta_i = 1 / (T - i); from step 3 to step 6 of 8, a token that is there at 3 stays with the product of 1 - beta."""
    kept = math.prod(1 - 1 / (8 - i) for i in range(3, 6))
    alpha_s = torch.tensor([[0.7, 0.2]]).double()
    t, s = torch.tensor([[6 / 8]]).double(), torch.tensor([[3 / 8]]).double()
    assert torch.allclose(through_base(t, s, alpha_s), kept * alpha_s)


def own_reveals(model_class, guess, t, s, counts):
    """Probability to be revealed of each position, from the formulas alone; the guess holds no padding."""
    if model_class is DiffusionBERT:
        told = [-math.log(counts[i] / sum(counts[1:])) for i in guess]
        lean, highest = [sum(told) / len(told) / own - 1 for own in told], 1.0
    else:
        told = [math.log(counts[i] + 1) / math.log(max(counts[1:]) + 1) for i in guess]
        lean, highest = [own - sum(told) / len(told) for own in told], 0.999

    def level(u, far):
        return 1.0 if u == 0 else 0.0 if u == 1 else min(max(1 - u + 0.3 * math.sin(math.pi * u) * far, 0.0), highest)

    if model_class is DiffusionBERT:
        return [(level(s, far) - level(t, far)) / (1 - level(t, far)) for far in lean]
    beta = 1 - (1 - t) / (1 - s)
    return [beta * level(s, far) / (beta * level(s, far) + 1 - level(s, far)) for far in lean]


@BOTH
@pytest.mark.parametrize(("t", "s"), [(1.0, 0.9), (0.8, 0.5), (0.5, 0.0)])
def test_masks_are_revealed_as_the_guess_says(model_class, t, s):
    """n = 20,000 steps from the same state: shares within 4.5 standard errors of the formulas, written out anew."""
    counts = [900, 0, 0, 0, 0, 5, 50, 15, 30, 7, 7, 7]
    model, rows = model_of(model_class, view=view_of(counts=counts)).double(), 20_000
    mask, guess = model.kernel.mask, [6, 5, 8]

    class Sure(nn.Module):
        def forward(self, x_t, time, given, previous):
            likely = nn.functional.one_hot(torch.tensor(guess), mask).double()
            x0_hat = (2.0 * likely).log_softmax(-1).expand(len(x_t), -1, -1)
            return Estimate(x0_hat, x0_hat)

    x_t, prompt = torch.full((rows, 3), mask), canvas_of(rows, [7, 7, 7])
    noise = Noise(torch.arange(rows)).uniform(1, 3, 2)
    x_s, _ = model.diffusion.advance(x_t, prompt, t, s, noise, Sure(), None, model.diffusion.reverse)
    expected = torch.tensor(own_reveals(model_class, guess, t, s, counts))
    share = (x_s != mask).double().mean(0)
    assert bool(((share - expected).abs() <= 4.5 * (expected * (1 - expected) / rows).sqrt() + 1e-12).all())
    assert s == 0 or len({round(value, 3) for value in expected.tolist()}) == 3


@BOTH
@pytest.mark.parametrize("visited", [[1.0, 0.6, 0.3, 0.0], [1.0, 0.0]])
def test_the_sampler_follows_its_exact_law(model_class, visited):
    """Canvas of 2, every state enumerated; n = 20,000 samples, chi-square at 1e-6. No mask is left at the end."""
    tokens = len(view_of().tokenizer)
    model, rows, grid = model_of(model_class, view=view_of(length=2)), 20_000, torch.tensor(visited).double()
    model.diffusion.denoiser = Fixed(tokens + 1, tokens, spread=2.0)
    law = without_mask(exact_law(model.diffusion, 2, grid, drawn), tokens + 1, 2, tokens)
    assert law.sum().item() == pytest.approx(1, abs=1e-12)
    ids = model.diffusion.sample(canvas_of(rows, [0, 0]), Noise(torch.arange(rows)), grid)
    count = torch.bincount(ids[:, 0] * tokens + ids[:, 1], minlength=tokens**2).double()
    often = law * rows >= 10
    found, wanted = (torch.cat([x[often], x[~often].sum()[None]]) for x in (count, law * rows))
    assert chi2.sf(((found - wanted) ** 2 / wanted.clamp_min(1e-9)).sum(), int(often.sum())) > 1e-6


def test_the_exact_law_of_one_position_is_a_sum_over_paths():
    """One position, all masked: the guess is always the estimate's mode, so its level at each time gives the law of the time at
    which the mask goes; the token follows the estimate."""
    tokens = len(view_of().tokenizer)
    model = model_of(view=view_of(length=1))
    model.diffusion.denoiser = Fixed(tokens + 1, tokens)
    visited = [1.0, 0.7, 0.2, 0.0]
    law = exact_law(model.diffusion, 1, torch.tensor(visited).double(), drawn)
    estimate = model.diffusion.denoiser(torch.tensor([[tokens]]), None, None, None).x0_hat[0, 0].exp()
    levels = [1 - t for t in visited]  # a sentence of one token is its own average
    left, revealed = 1.0, 0.0
    for before, after in pairwise(levels):
        revealed += left * (after - before) / (1 - before)
        left *= (1 - after) / (1 - before)
    assert revealed == pytest.approx(1)
    assert torch.allclose(law[:tokens], estimate, atol=1e-12)


@BOTH
def test_what_stands_on_a_prompt_where_it_is_to_be_written_changes_nothing(model_class):
    """No true token leaks into sampling through the levels."""
    model, rows = model_of(model_class), 16
    trained(model, 3)
    grid = model.diffusion.clock.grid(10)
    some, other = (model.diffusion.sample(canvas_of(rows, ids), Noise(torch.arange(rows)), grid) for ids in ([0] * 6, [5] * 6))
    assert torch.equal(some, other)


def test_where_levels_do_not_move_apart_both_reverse_steps_are_one():
    """lam = 0 in both formulas; no step of six comes to the largest level of the released one, 0.999."""
    one, other = model_of(schedule="spindle(lam=0)"), model_of(DiffusionBERTCode, "spindle-log-frequency(lam=0)")
    other.network.load_state_dict(one.network.state_dict())
    found = [model.generate(requests(8), Sampling(steps=6)) for model in (one, other)]
    assert found[0] == found[1]


# --- likelihood ------------------------------------------------------------------------------------------------------
def test_its_bound_by_draws_is_the_exact_one():
    model = model_of(schedule="cosine-squared@20", view=view_of(length=2))
    examples = [Example(id=str(index), target=word) for index, word in enumerate(("old", "dog", "the", "cat"))]
    trained(model, 3, examples * 8)
    scores = model.likelihood(examples * 16)
    exact = sum(exact_bound(model.diffusion.eval(), torch.tensor(row)).total.item() for row in targets(model.task, examples)) / 4
    mean, error = sum(scores.nats) / 64, sum(value**2 for value in scores.mc_errors) ** 0.5 / 64
    assert error < 0.05 * exact
    assert abs(mean - exact) < 4.5 * error


def test_what_looks_at_tokens_has_no_likelihood_and_the_rest_has_the_one_of_the_design():
    for grain, schedule in (("content", "spindle"), ("sequence", "sqrt")):
        scores = model_of(schedule=schedule).likelihood(EXAMPLES[:2])
        assert (scores and scores.kind) == DiffusionBERT.design.likelihood_on(grain)
    assert DiffusionBERTCode.design.likelihood_on("content") is None


def test_where_no_token_is_looked_at_both_systems_are_one_and_their_bound_is_one():
    """Canvas of 2, every state enumerated: the bound of four texts is not below -log p of the law that the sampler follows."""
    words, view = [Example(id=word, target=word) for word in ("old", "dog", "the", "cat")], view_of(length=2)
    models = [model_of(system, "cosine-squared@12", view=view) for system in (DiffusionBERT, DiffusionBERTCode)]
    tokens = len(view.tokenizer)
    for model in models:
        model.diffusion.denoiser = Fixed(tokens + 1, tokens, spread=2.0)
    one, other = (model.likelihood(words) for model in models)
    assert one == other
    grid = models[1].diffusion.clock.grid(12)
    laws = [without_mask(exact_law(model.diffusion, 2, grid, drawn), tokens + 1, 2, tokens) for model in models]
    assert torch.equal(*laws)
    for row in targets(view, words):
        bounds = [exact_bound(model.diffusion, torch.tensor(row)).total.item() for model in models]
        assert bounds[0] == bounds[1] >= -laws[1][row[0] * tokens + row[1]].log().item()
    scores = models[1].likelihood(words * 32)
    exact = sum(exact_bound(models[1].diffusion, torch.tensor(row)).total.item() for row in targets(view, words)) / 4
    mean, error = sum(scores.nats) / 128, sum(value**2 for value in scores.mc_errors) ** 0.5 / 128
    assert abs(mean - exact) < 4.5 * error
    requested = requests(8)
    assert models[0].generate(requested, Sampling(steps=5)) == models[1].generate(requested, Sampling(steps=5))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_no_level_of_the_released_formula_is_0_or_1_between_the_ends(share):
    """lam pi = 0.94 < 1, and no log frequency is further than 1 from an average: no guess makes a step impossible that can be."""
    model = model_of(DiffusionBERTCode, view=view_of(counts=[0, 0, 0, 0, 0, 0, 10**9, 0, 10, 0, 0, 0]), chain=2048)
    frequent = round(share * 62) + 1
    canvas, t = canvas_of(2047, [6] * frequent + [5] * (64 - frequent)), torch.arange(1, 2048).double()[:, None] / 2048
    levels = model.diffusion.alpha(t, canvas)
    assert 0 < levels.min() <= levels.max() < 1


def test_where_a_level_of_a_guess_is_cut_the_bound_would_be_infinite():
    """A frequent token in the guess has level 1 from t = 0.3 on, so its mask goes at once; of a rare one a mask may stay."""
    model = model_of(view=view_of(counts=[0, 0, 0, 0, 0, 1, 5000, 1, 1, 1, 1, 1]))
    t, s = (torch.tensor([[time]]).double() for time in (0.31, 0.3))
    reveal = {}
    for first in (6, 5):
        canvas = canvas_of(1, [first, 7])
        reveal[first] = model.kernel.reveal(model.diffusion.alpha(t, canvas), model.diffusion.alpha(s, canvas))[0, 0].item()
    assert reveal[6] == 1
    assert 0 < reveal[5] < 1


# --- top-k -----------------------------------------------------------------------------------------------------------
def test_top_k_leaves_the_most_probable_tokens_in_proportion():
    logits = torch.tensor([[[0.1, 0.4, 0.2, 0.3], [0.25, 0.25, 0.25, 0.25]]]).log()
    asked = (torch.zeros(1, 2, dtype=torch.int64), torch.zeros(1), torch.zeros(1, 2, dtype=torch.bool), None)
    cut = TopK(lambda *_: Estimate(logits, logits), 2)(*asked)
    assert torch.allclose(cut.x0_hat[0, 0].exp(), torch.tensor([0, 4 / 7, 0, 3 / 7]))
    assert torch.allclose(cut.x0_hat[0, 1], logits[0, 1])
    assert torch.equal(cut.at(torch.tensor([[True, False]])), cut.x0_hat[:, 0])
    assert torch.allclose(TopK(lambda *_: Estimate(logits, logits), 9)(*asked).x0_hat, logits)


def test_top_k_is_a_key_of_sampling_alone(tmp_path):
    model = model_of()
    trained(model, 3)
    model.save(tmp_path)
    cut = DiffusionBERT.load(tmp_path, "cpu", top_k=1)
    texts = {answer.texts for answer in cut.generate(requests(20), Sampling(steps=1))}
    assert len(texts) == 1
    assert len({answer.texts for answer in model.generate(requests(20), Sampling(steps=1))}) > 10
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), cut.state_dict().values(), strict=True))


# --- learning --------------------------------------------------------------------------------------------------------
@pytest.mark.slow
@BOTH
def test_it_learns_its_sentences(model_class):
    """Eight equally likely sentences; nearly all samples are among them, and they are of many kinds."""
    model = model_of(model_class, width=48, chain=2048)
    model.fit(EXAMPLES, [], Budget(tokens=500 * 16 * LENGTH), FitContext(seed=1))
    texts = [answer.texts[0] for answer in model.generate(requests(64), Sampling(steps=128))]
    assert sum(text in SENTENCES for text in texts) >= 48
    assert len(set(texts)) > 4


@pytest.mark.slow
def test_learning_lowers_its_bound_towards_the_entropy():
    """The entropy is log 8 = 2.08 nats, an untrained network has about 15."""
    model = model_of(schedule="linear-alpha-bar", width=48, chain=1000)
    model.fit(EXAMPLES, [], Budget(tokens=500 * 16 * LENGTH), FitContext(seed=1))
    scores = model.likelihood([Example(id=str(i), target=text) for i, text in enumerate(SENTENCES * 4)])
    mean = sum(scores.nats) / len(scores.nats)
    error = sum(value**2 for value in scores.mc_errors) ** 0.5 / len(scores.nats)
    assert math.log(8) - 4.5 * error < mean < 3.5
