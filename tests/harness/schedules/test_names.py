import math

import pytest
import torch

from harness.errors import GridError, UnknownName
from harness.schedules.discretised import Discretised
from harness.schedules.names import betas_of, build, in_range, parse

ENDS = torch.tensor([[0.0], [1.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("given", "short", "key"),
    [
        ("sqrt", "sqrt", "sqrt(s=0.0001)"),
        ("sqrt@2000", "sqrt@2000", "sqrt(s=0.0001)@2000"),
        ({"name": "sqrt@2000"}, "sqrt@2000", "sqrt(s=0.0001)@2000"),
        ({"name": "cosine-squared", "s": 0.008}, "cosine-squared", "cosine-squared(s=0.008)"),
        ({"name": "cosine-squared@10", "s": 1}, "cosine-squared(s=1)@10", "cosine-squared(s=1)@10"),
        (" cosine-squared( s = 0.1 ) @10", "cosine-squared(s=0.1)@10", "cosine-squared(s=0.1)@10"),
        ("sqrt(max_beta=1)@10", "sqrt(max_beta=1)@10", "sqrt(s=0.0001,max_beta=1)@10"),
        (
            {"name": "shifted", "of": {"name": "cosine-squared", "s": 0}, "scale": 0.1},
            "shifted(of=cosine-squared(s=0),scale=0.1)",
            "shifted(of=cosine-squared(s=0),scale=0.1,limit=15)",
        ),
        (
            "between(of=shifted(of=sqrt@50,scale=2),low=0.1)",
            "between(of=shifted(of=sqrt@50,scale=2),low=0.1)",
            "between(of=shifted(of=sqrt(s=0.0001)@50,scale=2,limit=15),low=0.1,high=1)",
        ),
        ("piecewise-linear-beta(head=5)@50", "piecewise-linear-beta(head=5)@50",
         "piecewise-linear-beta(start=0.1,stop=20,offset=0.01,head=5)@50"),
        ("in-range(of=sqrt,snr_low=0.001,snr_high=inf)", "in-range(of=sqrt,snr_low=0.001)",
         "in-range(of=sqrt(s=0.0001),snr_low=0.001,snr_high=inf)"),
    ],
)  # fmt: skip
def test_spellings_of_one_schedule_have_one_key(given: object, short: str, key: str) -> None:
    plan = parse(given)
    assert (plan.specification, plan.key, str(plan)) == (short, key, short)
    assert parse(plan.key) == plan


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_names_that_say_too_little_are_refused_with_what_exists(name: str) -> None:
    with pytest.raises(GridError, match=r"says too little.*cosine-squared.*linear-alpha-bar"):
        parse(name)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("sqrtt", UnknownName, "Did you mean 'sqrt'"),
        ("cosine-squared(r=1)", UnknownName, "parameter of schedule 'cosine-squared' 'r'.*Known: s"),
        ("sqrt(max_beta=0.9)", UnknownName, "max_beta"),
        ("sqrt(s=2)", GridError, "s is 2, but must lie between 0 and 0.5"),
        ("sqrt(s=much)", GridError, "must be a number"),
        ({"name": "sqrt", "s": True}, GridError, "must be a number"),
        ({"name": "sqrt", "s": None}, GridError, "must be a number"),
        ({"s": 1}, GridError, "`name` is missing"),
        ("sqrt(s)", GridError, "parameter=value"),
        ("shifted(of=sqrt(s=0.1)", GridError, "cannot be read|parameter=value"),
        ("sqrt@many", GridError, "cannot be read"),
        ("sqrt@0", GridError, "at least 1 step"),
        ("shifted", GridError, "changes another one"),
        ("shifted(of=sqrt@10)@10", GridError, "not both"),
        ("linear-beta-rescaled", GridError, "table only.*@1000"),
        ("linear-beta-rescaled@10", GridError, "beta at step 5 of 10 is 1.11.*Use more steps"),
        ("piecewise-linear-beta@10", GridError, "more steps than its head of 10"),
        ("linear-beta(beta_min=5,beta_max=1)", GridError, "beta_max is 1, but must lie between 5"),
        ("mutual-information-interpolated(interpolation_steps=2)@8", GridError, "interpolation_steps is 2"),
        ("in-range(of=sqrt,snr_low=500)", GridError, "shares no signal-to-noise ratio"),
    ],
)  # fmt: skip
def test_bad_specifications_are_refused(given: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        parse(given)


def test_mutual_information_asks_for_its_kernel() -> None:
    assert parse("mutual-information@10").needs_kernel
    assert parse("shifted(of=mutual-information)").needs_kernel
    assert not parse("shifted(of=sqrt)").needs_kernel
    with pytest.raises(GridError, match="kernel and the corpus unigram"):
        build("mutual-information")


def test_betas_of_refused_tables_can_be_looked_at() -> None:
    assert betas_of("linear-beta-rescaled@10").max() > 1
    assert torch.equal(betas_of("sqrt@10"), build("sqrt@10").betas)
    with pytest.raises(GridError, match="closed form"):
        betas_of("sqrt")


def test_a_schedule_that_fits_is_not_touched() -> None:
    schedule = build("sqrt@2000")
    assert in_range(schedule, None) is schedule
    assert in_range(schedule, (0.0, math.inf)) is schedule
    assert in_range(schedule, (None, None)) is schedule
    assert in_range(schedule, (1e-7, 100.0)) is schedule


@pytest.mark.parametrize("text", ["sqrt", "sqrt@2000", "cosine-squared", "cosine-squared@5000", "linear-alpha-bar"])
def test_a_mapped_schedule_stays_in_range_and_can_be_built_again(text: str) -> None:
    low, high = 1 / 90001, 0.5
    mapped = in_range(build(text), (low, high))
    alpha = mapped.alpha_bar(ENDS if mapped.steps is None else torch.tensor([[1 / mapped.steps], [1.0]], dtype=torch.float64))
    assert (alpha / (1 - alpha)).flatten().tolist() == pytest.approx([high, low], rel=1e-6)
    assert mapped.specification.startswith(f"in-range(of={text},")
    times = torch.arange(0, 2001, 500, dtype=torch.float64).unsqueeze(-1) / 2000
    assert torch.allclose(build(mapped.specification).alpha_bar(times), mapped.alpha_bar(times), atol=1e-12)


def test_the_map_is_affine_in_log_snr() -> None:
    inner = build("cosine-squared(s=0.1)")
    times = torch.linspace(0.2, 0.8, 5, dtype=torch.float64).unsqueeze(-1)
    before, after = (torch.logit(s.alpha_bar(times)).flatten() for s in (inner, in_range(inner, (1e-3, 1e3))))
    slopes = after.diff() / before.diff()
    assert torch.allclose(slopes, slopes[0].expand(4), rtol=1e-9)


def test_an_end_that_lies_inside_stays() -> None:
    mapped = in_range(build("sqrt"), (1e-3, math.inf))
    assert mapped.alpha_bar(ENDS).flatten().tolist() == pytest.approx([0.99, 1e-3 / 1.001], rel=1e-9)


def test_a_table_changed_from_a_table_starts_where_it_did() -> None:
    table = build("shifted(of=sqrt@100,scale=0.5)")
    assert isinstance(table, Discretised)
    assert table.levels[0] == 1
    plain = build("sqrt@100").table
    assert torch.allclose(torch.logit(table.table[:50]), torch.logit(plain[:50]) + 2 * math.log(0.5))
