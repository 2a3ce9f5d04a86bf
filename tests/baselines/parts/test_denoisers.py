"""Estimates that are made and read only where they are looked at, guidance, and what it all costs."""

import pytest
import torch

from baselines.parts.calls import among, counted
from baselines.parts.conditioning import Canvas
from baselines.parts.denoisers import Tempered, select
from baselines.parts.estimates import PIECE, Changed, Deferred, Estimate, Late, Readout
from baselines.parts.guidance import ConditionDropout, Guided, Mixed
from baselines.training import Draws

CHOSEN = torch.tensor([[True, False, True], [False, False, False], [False, True, False]])


def logits(seed=0):
    return torch.randn(3, 3, 5, generator=torch.Generator().manual_seed(seed))


def estimate(seed=0):
    return Estimate(logits(seed).log_softmax(-1), logits(seed))


def test_a_readout_reads_what_is_looked_at():
    head, read = torch.nn.Linear(4, 5), []
    hidden = torch.randn(3, 3, 4)

    def heard(states):
        read.append(states.shape[:-1].numel())
        return head(states)

    readout = Readout(hidden, heard, lambda values: values.log_softmax(-1))
    some = readout.at(CHOSEN)
    assert read == [3]
    torch.testing.assert_close(some, readout.x0_hat[CHOSEN])
    assert torch.equal(readout.raw, head(hidden))
    assert read == [3, 9]


def test_hidden_states_are_finished_where_they_are_looked_at():
    head, states, finished = torch.nn.Linear(4, 5), torch.randn(3, 3, 4), []

    def finish(some, chosen):
        finished.append(None if chosen is None else int(chosen.sum()))
        return 2 * some

    readout = Readout(Late(states, finish), head, lambda values: values.log_softmax(-1))
    assert bool(readout.everywhere().all())
    torch.testing.assert_close(readout.raw_at(CHOSEN), head(2 * states)[CHOSEN])
    assert finished == [3]
    assert torch.equal(readout.hidden, 2 * states)
    torch.testing.assert_close(readout.at(CHOSEN), readout.x0_hat[CHOSEN])
    assert finished == [3, None]


def test_a_deferred_estimate_asks_for_the_rows_that_are_looked_at():
    asked = []

    def ask(rows):
        asked.append(None if rows is None else rows.tolist())
        whole = estimate()
        return whole if rows is None else Estimate(whole.x0_hat[rows], whole.raw[rows])

    deferred = Deferred(ask)
    assert torch.equal(deferred.at(CHOSEN), estimate().x0_hat[CHOSEN])
    assert asked == [[0, 2]]
    assert deferred.known is None
    assert torch.equal(deferred.x0_hat, estimate().x0_hat)
    assert torch.equal(deferred.at(CHOSEN), estimate().x0_hat[CHOSEN])
    assert asked == [[0, 2], None]
    assert deferred.known is not None


def test_changes_are_the_same_whole_and_in_part():
    changed = Changed(estimate(), lambda x0_hat: (2 * x0_hat).log_softmax(-1))
    assert torch.equal(changed.at(CHOSEN), changed.x0_hat[CHOSEN])
    assert torch.equal(changed.raw, estimate().raw)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 3.0])
def test_a_mixture_is_normalised_and_the_same_whole_and_in_part(gamma):
    first, second = estimate(1), estimate(2)
    mixed = Mixed(first, second, gamma)
    weight = first.x0_hat.exp() ** gamma * second.x0_hat.exp() ** (1 - gamma)
    torch.testing.assert_close(mixed.x0_hat.exp(), weight / weight.sum(-1, keepdim=True))
    torch.testing.assert_close(mixed.at(CHOSEN), mixed.x0_hat[CHOSEN])


class Echo(torch.nn.Module):
    """Estimates what it sees."""

    def forward(self, x_t, time, given, previous):
        law = torch.nn.functional.one_hot(x_t, 5) * 2.0
        return Estimate(law.log_softmax(-1), law)


def test_guidance_leaves_the_condition_out_once():
    x_t, given = torch.tensor([[0, 1, 2]]), torch.tensor([[True, False, False]])
    echo = Echo()
    with counted(echo, 1) as calls:
        guided = Guided(echo, 2.0, 4)(x_t, torch.zeros(1), given, None)
    assert calls.count == [2]
    law = echo(x_t, None, None, None).x0_hat
    assert torch.allclose(guided.x0_hat[:, 1:], law[:, 1:], atol=1e-6)
    without = echo(torch.tensor([[4, 1, 2]]), None, None, None).x0_hat
    assert torch.allclose(guided.x0_hat, (2 * law - without).log_softmax(-1))


@pytest.mark.parametrize(("gamma", "shown"), [(0.0, 4), (1.0, 0)])
def test_guidance_that_mixes_nothing_asks_once(gamma, shown):
    x_t, given = torch.tensor([[0, 1, 2]]), torch.tensor([[True, False, False]])
    echo = Echo()
    with counted(echo, 1) as calls:
        guided = Guided(echo, gamma, 4)(x_t, torch.zeros(1), given, None)
    assert calls.count == [1]
    assert torch.equal(guided.x0_hat, echo(torch.tensor([[shown, 1, 2]]), None, None, None).x0_hat)
    assert guided.weighted is None


class ByRowEcho:
    """A denoiser that knows its rows."""

    def __init__(self, rows):
        self.rows = rows

    def __call__(self, x_t, time, given, previous):
        return self.rows

    def select(self, rows):
        return ByRowEcho(self.rows[rows])


def test_wrapped_denoisers_are_selected_by_row():
    rows = torch.tensor([2, 0])
    wrapped = Guided(Tempered(ByRowEcho(torch.tensor([5, 6, 7])), 0.5), 2.0, 4)
    assert select(wrapped, rows).denoiser.denoiser.rows.tolist() == [7, 5]
    assert select(echo := Echo(), rows) is echo


def test_calls_are_counted_for_the_rows_they_are_for():
    echo, x_t = Echo(), torch.zeros(3, 4, dtype=torch.int64)
    with counted(echo, 3) as calls:
        with among(calls, torch.tensor([0, 2])):
            echo(x_t[:2], None, None, None)
        with among(calls, None):
            echo(x_t, None, None, None)
    echo(x_t, None, None, None)
    assert calls.count == [2, 1, 2]
    assert calls.positions == [8, 4, 8]


def test_condition_dropout_hides_whole_conditions():
    """n = 4,000 rows at 0.3: 4.5 standard errors, a false alarm in 150,000."""
    n = 4000
    x_t, given = torch.zeros(n, 3, dtype=torch.int64), torch.tensor([True, True, False]).expand(n, 3)
    draws = Draws(seed=1, batch=n, rows=slice(n), device=torch.device("cpu"))
    seen = ConditionDropout(0.3, 4)(x_t, Canvas(ids=x_t, given=given), draws)
    assert torch.equal(seen[:, 0], seen[:, 1])
    assert not seen[:, 2].any()
    assert abs((seen[:, 0] == 4).float().mean().item() - 0.3) < 4.5 * (0.21 / n) ** 0.5


def test_pieces_are_what_is_chosen_in_its_order():
    """1,300 positions, of which about a third are chosen: more than one piece."""
    hidden, chosen = torch.randn(13, 100, 4), torch.rand(13, 100, generator=torch.Generator().manual_seed(0)) < 0.45
    head, read = torch.nn.Linear(4, 5), []

    def heard(states):
        read.append(len(states))
        return head(states)

    readout = Readout(hidden, heard, lambda values: values.log_softmax(-1))
    found = torch.cat(list(Deferred(lambda rows: readout).pieces(chosen)))
    assert max(read) == PIECE
    assert sum(read) == int(chosen.sum()) > PIECE
    torch.testing.assert_close(found, readout.x0_hat[chosen])


def test_the_probability_of_one_token_makes_no_table_of_all():
    hidden, head, read = torch.randn(13, 100, 4), torch.nn.Linear(4, 5), []

    def heard(states):
        read.append(states.shape[:-1].numel())
        return head(states)

    readout = Readout(hidden, heard, lambda values: values.log_softmax(-1))
    ids = torch.randint(5, (13, 100))
    found = Tempered(lambda *_: readout, 0.5)(ids, torch.zeros(13), ids < 0, None).of(ids)
    assert max(read) == PIECE
    expected = (2 * head(hidden).log_softmax(-1)).log_softmax(-1).gather(-1, ids[..., None])[..., 0]
    torch.testing.assert_close(found, expected)
