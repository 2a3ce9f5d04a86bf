"""A small BART: what it reads, what it learns, and how a system with a bidirectional decoder begins with it."""

import math
from dataclasses import replace

import pytest
import torch

from baselines.local_bart import LocalBart
from baselines.networks.pretrained import PretrainedSourceDenoiser
from baselines.parts.conditioning import Source
from baselines.pretraining import denoiser_of, take_weights
from baselines.training import Draws
from harness.construction import construct
from harness.contracts import Budget, Example, FitContext, TaskView
from harness.errors import ModelError
from harness.pretrained import tokenizer_of
from harness.tokenizer import EOS, PAD, Tokenizer

WORDS = [f"w{index}" for index in range(40)]
TINY = {"width": 16, "layers": 1, "heads": 2}


def view(length=12):
    return TaskView(
        name="toy", family="t2t", tokenizer=Tokenizer.train("words", [" ".join(WORDS)]), max_tokens=length, max_source_tokens=6
    )


def draws(rows, seed=0):
    return Draws(seed=seed, batch=rows, rows=slice(rows), device=torch.device("cpu"))


class Fixed(Draws):
    """Draws that are said: where spans begin, and how long they are."""

    def uniform(self, name, *shape):
        lengths = {0: 0.01, 1: 0.1, 2: 0.3, 3: 0.5}
        begins, sizes = FIXED
        row = [0.0 if place in begins else 0.99 for place in range(shape[0])]
        if name == "length":
            row = [lengths[sizes[begins.index(place)]] if place in begins else 0.5 for place in range(shape[0])]
        return torch.tensor([row], dtype=torch.float64)


FIXED: tuple[list[int], list[int]] = ([], [])
M = "M"


@pytest.mark.parametrize(
    ("begins", "sizes", "expected"),
    [
        ([], [], [10, 11, 12, 13, 14]),
        ([1], [2], [10, M, 13, 14]),
        ([0], [1], [M, 11, 12, 13, 14]),
        ([2], [0], [10, 11, M, 12, 13, 14]),  # a span of no token is put in
        ([1, 2], [2, 2], [10, M, 14]),  # spans that overlap become one
        ([1, 3], [2, 1], [10, M, 14]),  # as do those that touch
        ([1, 2], [2, 0], [10, M, 13, 14]),  # and one of no token inside another
        ([0], [3], [M, 13, 14]),
        ([3], [3], [10, 11, 12, M]),  # the end of the text ends a span
        ([5, 8], [2, 2], [10, 11, 12, 13, 14]),  # none begins at EOS or padding
    ],
)
def test_spans_become_masks(begins, sizes, expected, monkeypatch):
    monkeypatch.setitem(globals(), "FIXED", (begins, sizes))
    model = construct(LocalBart, None, view(), TINY)
    ids = torch.tensor([[10, 11, 12, 13, 14, EOS, PAD, PAD, PAD]])
    source = model.infilled(ids, Fixed(seed=0, batch=1, rows=slice(1), device=torch.device("cpu")))
    mask = len(model.task.tokenizer)
    assert source.ids.tolist() == [[*(mask if token == M else token for token in expected), EOS]]
    assert source.present.all()


def test_three_tenths_are_hidden_in_spans_of_poisson_length():
    """4,000 texts of 200 tokens, 4.5 standard errors; fewer are hidden at the beginning, before which no span begins."""
    model = construct(LocalBart, None, view(), TINY)
    ids = torch.arange(5, 205).repeat(4000, 1) % 40 + 5
    source = model.infilled(ids, draws(len(ids)))
    mask = len(model.task.tokenizer)
    kept = ((source.ids != mask) & source.present).sum(1).double()
    # P(kept at place i): no span that began at i - k, k up to i, is longer than k
    tail = [1 - sum(math.exp(-3) * 3**j / math.factorial(j) for j in range(k + 1)) for k in range(40)] + [0.0] * 160
    begins = -math.log(0.7) / 3
    expected, alive = 0.0, 1.0
    for place in range(200):
        alive *= 1 - begins * tail[place]
        expected += alive
    assert expected / 200 == pytest.approx(0.7, abs=0.02)
    assert abs(kept.mean().item() - expected) < 4.5 * kept.std().item() / len(ids) ** 0.5


def test_texts_are_conditions_and_targets_each_by_itself():
    model = construct(LocalBart, None, view(length=4), TINY)
    rows = model.data([[7, 8], [], [9] * 6], [[5, EOS], [6, EOS], [7, EOS]])["ids"].tolist()
    assert rows == [[5, EOS, PAD, PAD], [6, EOS, PAD, PAD], [7, EOS, PAD, PAD], [7, 8, EOS, PAD], [9, 9, 9, 9]]


def test_its_loss_is_that_of_a_decoder_that_looks_back_only():
    model = construct(LocalBart, None, view(), TINY)
    torch.manual_seed(0)
    ids = torch.randint(5, 40, (3, 12))
    source = model.infilled(ids, draws(3))
    memory = model.network.encode(source)
    expected = torch.zeros(3)
    for place in range(12):  # one position after the other, with nothing but what stands before
        read = torch.cat([torch.full((3, 1), EOS), ids[:, :place]], 1)
        logits = model.network(read, torch.zeros(3), memory, source.present).raw[:, -1]
        expected += torch.nn.functional.cross_entropy(logits, ids[:, place], reduction="none") / 12
    torch.testing.assert_close(model.loss({"ids": ids}, draws(3)), expected)


def fitted(tmp_path, updates=3):
    model = construct(LocalBart, None, view(), TINY)
    shown = [Example(id=str(i), target=" ".join(WORDS[i : i + 5]), source=" ".join(WORDS[i + 5 : i + 8])) for i in range(30)]
    report = model.fit(shown, shown[:4], Budget(tokens=updates * 16 * 12), FitContext(seed=0))
    assert report.updates == updates
    model.save(tmp_path)
    return model


def test_a_bidirectional_decoder_begins_with_exactly_these_weights(tmp_path):
    model = fitted(tmp_path)
    network = denoiser_of("local", view(), lambda: LocalBart.denoiser_of(view(), model.measures), PretrainedSourceDenoiser)
    take_weights(network, FitContext(seed=0, pretrained=tmp_path), view())
    expected = model.network.state_dict()
    assert network.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())
    source = Source(ids=torch.tensor([[7, 8, EOS]]), present=torch.ones(1, 3, dtype=torch.bool))
    one, other = torch.tensor([[5, 6, 7]]), torch.tensor([[5, 6, 8]])
    firsts = [net(row, torch.zeros(1), net.encode(source), source.present).raw[:, 0] for net in (network, model.network)
              for row in (one, other)]  # fmt: skip
    assert not torch.allclose(firsts[0], firsts[1])
    assert torch.equal(firsts[2], firsts[3])


def test_a_checkpoint_reads_its_source_and_writes_in_no_order(tmp_path):
    transformers, tokenizers = pytest.importorskip("transformers"), pytest.importorskip("tokenizers")
    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", *"abcdefgh", "<mask>"]
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: i for i, w in enumerate(vocabulary)}, unk_token="<unk>"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    named = {"bos": "<s>", "eos": "</s>", "pad": "<pad>", "unk": "<unk>", "mask": "<mask>"}
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, **{f"{name}_token": token for name, token in named.items()}
    ).save_pretrained(tmp_path)
    config = transformers.BartConfig(
        vocab_size=13, max_position_embeddings=16, d_model=8, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=8, decoder_ffn_dim=8, init_std=0.5,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = transformers.BartForConditionalGeneration(config).eval()
    theirs.save_pretrained(tmp_path, safe_serialization=True)
    task = replace(view(), tokenizer=tokenizer_of(tmp_path))
    assert task.tokenizer.rows == (1, 2, 0, 3, 2, *range(4, 12), 12)
    network = denoiser_of(str(tmp_path), task, lambda: None, PretrainedSourceDenoiser).eval()
    take_weights(network, FitContext(seed=0, pretrained=tmp_path), task)
    rows = torch.tensor(task.tokenizer.rows)
    ids, mask = torch.tensor([[*task.tokenizer.encode("a b"), EOS, PAD]]), len(task.tokenizer)
    source = Source(ids=ids, present=torch.tensor([[True, True, True, False]]))
    x_t = torch.tensor([[5, mask, 7]])
    with torch.no_grad():
        estimate = network.reading(source)(x_t, torch.zeros(1), torch.zeros_like(x_t, dtype=torch.bool), None)
        logits = theirs(input_ids=rows[ids], attention_mask=source.present.long(), decoder_input_ids=rows[x_t]).logits
    torch.testing.assert_close(estimate.raw[:, -1], logits[:, -1, rows[:-1]], atol=1e-5, rtol=1e-5)
    with pytest.raises(ModelError, match="is a bart; the system needs bert or roberta"):
        denoiser_of(str(tmp_path), task, lambda: None)
