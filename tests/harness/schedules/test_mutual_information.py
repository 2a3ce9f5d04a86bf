import math
import time

import pytest
import torch

from harness.schedules.mutual_information import (
    Informative,
    Mixing,
    entropy,
    evenly_removed,
    exponents,
    kept_alpha,
    matrix_curve,
    mixing_curve,
    powers,
    removed,
    unigram_law,
)
from harness.schedules.names import build

LAW = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
EVEN = torch.full((4,), 0.25, dtype=torch.float64)


def joint_information(joint: torch.Tensor) -> float:
    independent = joint.sum(0, keepdim=True) * joint.sum(1, keepdim=True)
    return float((joint * torch.log(torch.where(joint > 0, joint / independent, 1.0))).sum())


@pytest.mark.parametrize("stationary", [EVEN, torch.tensor([0, 0, 0, 1.0]), torch.tensor([0.1, 0.2, 0.3, 0.4])])
@pytest.mark.parametrize("alpha", [0.0, 0.03, 0.5, 0.99, 1.0])
def test_information_of_mixing_kernels_is_that_of_the_joint_law(stationary: torch.Tensor, alpha: float) -> None:
    stationary = stationary.double() / stationary.double().sum()
    transition = alpha * torch.eye(4, dtype=torch.float64) + (1 - alpha) * stationary
    found = Mixing(stationary).information(torch.tensor([alpha], dtype=torch.float64), LAW)
    assert found.item() == pytest.approx(joint_information(LAW[:, None] * transition), abs=1e-14)


def test_mixing_satisfies_the_protocol() -> None:
    assert isinstance(Mixing(EVEN), Informative)


def test_entropy_of_even_and_certain_laws() -> None:
    assert entropy(EVEN).item() == pytest.approx(math.log(4))
    assert entropy(torch.tensor([1.0, 0.0])).item() == 0


def test_roots_are_exact() -> None:
    kept = torch.linspace(0, 1, 41, dtype=torch.float64)
    alpha = kept_alpha(Mixing(EVEN), LAW, kept)
    assert torch.allclose(Mixing(EVEN).information(alpha, LAW) / entropy(LAW), kept, atol=1e-14)
    assert alpha[0] == 0
    assert alpha[-1] == 1


def test_absorbing_noise_loses_information_linearly() -> None:
    mask, law = Mixing(torch.tensor([0, 0, 0, 0, 1.0]).double()), torch.cat([LAW, torch.zeros(1).double()])
    times = torch.linspace(0, 1, 101, dtype=torch.float64).unsqueeze(-1)
    assert torch.allclose(build("mutual-information", kernel=mask, unigram=law).alpha_bar(times), 1 - times, atol=1e-7)
    table = build("mutual-information@100", kernel=mask, unigram=law)
    assert torch.allclose(table.alpha_bar(times), 1 - times, atol=1e-13)


def test_the_closed_form_is_the_root_between_its_knots() -> None:
    schedule = build("mutual-information", kernel=Mixing(EVEN), unigram=LAW)
    times = torch.rand(500, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    exact = kept_alpha(Mixing(EVEN), LAW, 1 - times.flatten())
    assert (schedule.alpha_bar(times).flatten() - exact).abs().max() < 1e-5


def test_the_closed_form_falls_at_a_rate_to_its_end() -> None:
    schedule = build("mutual-information", kernel=Mixing(EVEN), unigram=LAW)
    ends = schedule.rate(torch.tensor([[0.0], [0.5], [1.0]], dtype=torch.float64))
    assert torch.isfinite(ends).all()
    assert (ends < 0).all()


def test_the_interpolated_form_is_near_the_exact_one_on_its_own_grid() -> None:
    table = build("mutual-information-interpolated@9", kernel=Mixing(EVEN), unigram=LAW).table
    exact = kept_alpha(Mixing(EVEN), LAW, 1 - evenly_removed(9))
    assert torch.allclose(table, exact, rtol=1e-3)
    assert not torch.allclose(table, exact, rtol=1e-12)


def test_a_kernel_whose_alpha_is_information_gets_a_straight_line() -> None:
    class Kept:
        def information(self, alpha: torch.Tensor, unigram: torch.Tensor) -> torch.Tensor:
            return alpha * entropy(unigram)

    times = torch.linspace(0, 1, 33, dtype=torch.float64).unsqueeze(-1)
    schedule = build("mutual-information@32", kernel=Kept(), unigram=torch.tensor([3, 2, 1]))
    assert torch.allclose(schedule.alpha_bar(times), 1 - times, atol=1e-13)


def test_exponents_of_a_rate_matrix_agree_with_the_formula_for_mixing() -> None:
    rate = EVEN[:, None].expand(4, 4) - torch.eye(4, dtype=torch.float64)
    share = evenly_removed(6)
    found = exponents(matrix_curve(rate, LAW), share)
    assert torch.allclose(found, exponents(mixing_curve(Mixing(EVEN), LAW), share), rtol=1e-9)
    assert torch.allclose(removed(matrix_curve(rate, LAW), found), share, atol=1e-12)
    assert torch.allclose(torch.exp(-found), kept_alpha(Mixing(EVEN), LAW, 1 - share), rtol=1e-9)


def test_powers_begin_with_no_step() -> None:
    assert powers(torch.tensor([0.2, 0.5, 0.31])).tolist() == [0, 1, 2, 2]


def test_a_corpus_of_one_token_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two tokens"):
        unigram_law(torch.tensor([7, 0, 0]))


def test_a_vocabulary_of_8192_is_solved_in_seconds() -> None:
    counts = (1e6 / torch.arange(1, 8193, dtype=torch.float64)).floor()
    kernel = Mixing(torch.full((8192,), 1 / 8192, dtype=torch.float64))
    start = time.perf_counter()
    table = build("mutual-information@200", kernel=kernel, unigram=counts).table
    assert time.perf_counter() - start < 20
    kept = kernel.information(table[::50], unigram_law(counts)) / entropy(unigram_law(counts))
    assert torch.allclose(kept, 1 - torch.arange(1, 201, 50).double() / 200, atol=1e-6)
