"""Properties of every schedule, by existing: the parameters are read from the registry."""

import copy
import pickle

import pytest
import torch

from harness.schedules.base import Schedule
from harness.schedules.catalogue import EQUAL, example_text, known_schedules
from harness.schedules.discretised import Discretised
from harness.schedules.mutual_information import Mixing
from harness.schedules.names import CHANGES, CONTENT, CURVES, TABLE_ONLY, build, known_names, parse

UNIGRAM = torch.tensor([40, 25, 20, 10, 5, 0])
SENTENCE = [4, 1, 3, 0, 2]
KERNELS = {
    "absorbing": Mixing(torch.tensor([0.0, 0, 0, 0, 0, 1], dtype=torch.float64)),
    "uniform": Mixing(torch.full((6,), 1 / 6, dtype=torch.float64)),
}


def texts() -> list[str]:
    tables = [f"{name}@64" for name in (*CURVES, *CONTENT)]
    return [example_text(name) for name in known_names()] + tables + [f"{name}(of=cosine-squared@64)" for name in CHANGES]


def cases() -> list[tuple[str, str]]:
    return [(text, kernel) for text in texts() for kernel in (KERNELS if parse(text).needs_kernel else ["absorbing"])]


@pytest.fixture(params=cases(), ids="-".join)
def schedule(request: pytest.FixtureRequest) -> Schedule:
    text, kernel = request.param
    return build(text, kernel=KERNELS[kernel], unigram=UNIGRAM)


def grid(schedule: Schedule, points: int = 257) -> torch.Tensor:
    if schedule.steps:
        return (torch.arange(schedule.steps + 1, dtype=torch.float64) / schedule.steps).unsqueeze(-1)
    return torch.linspace(0, 1, points, dtype=torch.float64).unsqueeze(-1)


def ids_of(schedule: Schedule, rows: int) -> torch.Tensor | None:
    """One sentence in every row, for schedules that look at tokens."""
    return torch.tensor(SENTENCE).expand(rows, -1) if schedule.grain == "content" else None


def alpha_of(schedule: Schedule, times: torch.Tensor) -> torch.Tensor:
    return schedule.alpha_bar(times, ids_of(schedule, len(times)))


def rate_of(schedule: Schedule, times: torch.Tensor) -> torch.Tensor:
    return schedule.rate(times, ids_of(schedule, len(times)))


def test_alpha_bar_lies_in_the_unit_interval_and_never_increases(schedule: Schedule) -> None:
    alpha = alpha_of(schedule, grid(schedule))
    assert alpha.dtype == torch.float64
    assert bool(((alpha >= 0) & (alpha <= 1)).all())
    assert bool((alpha.diff(dim=0) <= 1e-15).all())
    assert bool((alpha[0] - alpha[-1] > 0.6).all())


@pytest.mark.parametrize("shape", [(3, 1), (3, 5)])
def test_shape_is_kept_and_float32_times_are_read(schedule: Schedule, shape: tuple[int, int]) -> None:
    steps = schedule.steps or 16
    index = torch.randint(steps + 1, shape, generator=torch.Generator().manual_seed(0))
    narrow = alpha_of(schedule, (index / steps).float())
    wide = alpha_of(schedule, index.double() / steps)
    assert narrow.shape == (shape if schedule.grain != "content" else (3, len(SENTENCE)))
    assert narrow.dtype == torch.float64
    assert torch.allclose(narrow, wide, atol=1e-3)


def test_each_position_has_its_own_time(schedule: Schedule) -> None:
    times = grid(schedule, 9).T[:, : len(SENTENCE)]
    together, alone = alpha_of(schedule, times)[0], torch.stack([alpha_of(schedule, t.reshape(1, 1))[0] for t in times[0]])
    assert torch.equal(together, alone.diagonal() if schedule.grain == "content" else alone[:, 0])


def test_rate_is_the_slope(schedule: Schedule) -> None:
    if schedule.steps:
        times = grid(schedule)
        slope = alpha_of(schedule, times).diff(dim=0) * schedule.steps
        assert torch.allclose(rate_of(schedule, times[1:]), slope, atol=1e-12)
        assert torch.equal(rate_of(schedule, times[:1]), rate_of(schedule, times[1:2]))
    else:
        times, h = torch.linspace(0.013, 0.987, 61, dtype=torch.float64).unsqueeze(-1), 1e-6
        slope = (alpha_of(schedule, times + h) - alpha_of(schedule, times - h)) / (2 * h)
        assert torch.allclose(rate_of(schedule, times), slope, atol=2e-4, rtol=2e-4)
    assert bool((rate_of(schedule, times) <= 1e-12).all())


def test_times_outside_and_off_the_grid_are_refused(schedule: Schedule) -> None:
    for wrong in (-0.01, 1.01, float("nan")):
        with pytest.raises(ValueError, match="must lie in"):
            alpha_of(schedule, torch.tensor([[wrong]]))
    if schedule.steps:
        with pytest.raises(ValueError, match="off the grid"):
            alpha_of(schedule, torch.tensor([[0.5 / schedule.steps]], dtype=torch.float64))


def test_survives_pickle_copy_and_state_dict(schedule: Schedule) -> None:
    times = grid(schedule)
    expected = alpha_of(schedule, times)
    assert torch.equal(alpha_of(pickle.loads(pickle.dumps(schedule)), times), expected)
    twin = copy.deepcopy(schedule)
    for buffer in twin.buffers():
        buffer.zero_()
    twin.load_state_dict(schedule.state_dict())
    assert torch.equal(alpha_of(twin, times), expected)


def test_a_change_of_dtype_leaves_float64(schedule: Schedule) -> None:
    times = grid(schedule)
    assert torch.equal(alpha_of(copy.deepcopy(schedule).half(), times), alpha_of(schedule, times))


def test_specification_makes_the_same_schedule_again(schedule: Schedule) -> None:
    plan = parse(schedule.specification)
    assert parse(plan.key) == plan == parse(plan.specification)
    again = build(plan, kernel=KERNELS["absorbing"], unigram=UNIGRAM)
    assert again.specification == schedule.specification
    if not plan.needs_kernel:
        assert torch.equal(alpha_of(again, grid(schedule)), alpha_of(schedule, grid(schedule)))


@pytest.mark.parametrize("name", [name for name in CURVES if not parse(example_text(name)).needs_kernel])
def test_a_fine_table_is_the_closed_form_up_to_its_start(name: str) -> None:
    closed, table = build(name), build(f"{name}@5000")
    times = torch.linspace(0.1, 0.9, 9, dtype=torch.float64).unsqueeze(-1)
    start = 1.0 if name.endswith(("unnormalised",)) or name.startswith("truncated") else closed.alpha_bar(torch.zeros(1, 1))
    assert torch.allclose(table.alpha_bar(times) * start, closed.alpha_bar(times), atol=1e-3)


def test_the_catalogue_lists_every_schedule_with_its_ends() -> None:
    lines = known_schedules()
    assert [line.name for line in lines] == known_names()
    for line in lines:
        assert line.equation
        assert 0.6 < line.start <= 1
        assert 0 <= line.end < 0.01
        assert line.table_only == (line.name in TABLE_ONLY)
        assert bool(line.equal) == (line.equal_because is not None)


def test_schedules_marked_equal_are_equal() -> None:
    times = torch.arange(0, 1001, 50, dtype=torch.float64).unsqueeze(-1) / 1000
    for group in EQUAL:
        curves = [build(example_text(n), kernel=KERNELS["absorbing"], unigram=UNIGRAM).alpha_bar(times) for n in group]
        assert all(torch.allclose(curve, curves[0], atol=1.1e-3) for curve in curves)


def test_a_table_keeps_betas_and_levels_in_step() -> None:
    table = build("sqrt@2000")
    assert isinstance(table, Discretised)
    assert table.levels[0] == 1
    assert torch.allclose(table.table, torch.cumprod(1 - table.betas, 0), rtol=1e-15)
    assert table.table[0].item() == pytest.approx(0.98535869, abs=1e-8)
