import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.stats.bands import rank_bands
from harness.stats.families import benjamini_hochberg, holm
from harness.stats.power import minimum_detectable_effect
from harness.stats.seeds import Error

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=30)


def test_holm_by_hand():
    # Holm's own scheme: 4 * 0.01, 3 * 0.015, then never less than before
    np.testing.assert_allclose(holm([0.03, 0.01, 0.04, 0.015]), [0.06, 0.04, 0.06, 0.045])


@given(P_VALUES)
def test_benjamini_hochberg_is_that_of_scipy(p_values):
    np.testing.assert_allclose(benjamini_hochberg(p_values), stats.false_discovery_control(p_values), atol=1e-12)


@given(P_VALUES)
def test_adjusted_values_keep_their_order_and_lie_between_plain_and_bonferroni(p_values):
    p, adjusted, explored = np.array(p_values), holm(p_values), benjamini_hochberg(p_values)
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(1, p * len(p)) + 1e-12).all()
    assert (explored <= adjusted + 1e-12).all()
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
def test_what_is_no_p_value_is_refused(adjust):
    with pytest.raises(ValueError, match=r"expected numbers in \[0, 1\]"):
        adjust([0.5, float("nan"), 1.5])
    assert len(adjust([])) == 0


@pytest.mark.parametrize("degrees", [2.0, 7.5, 500.0])
def test_power_at_the_detectable_effect_is_as_stated(degrees):
    # what is stated on average, over the standard errors that so many degrees of freedom give
    drawn = 2.0 * np.sqrt(np.random.default_rng(0).chisquare(degrees, size=400_000) / degrees)
    effect = minimum_detectable_effect(Error(1.0, degrees)) * drawn.mean()
    bound = stats.t.ppf(0.975, degrees)
    assert stats.nct.sf(bound, degrees, effect / 2.0) == pytest.approx(0.8, abs=2e-3)


def test_the_detectable_effect_of_many_items_is_the_textbook_one():
    assert minimum_detectable_effect(Error(1.0, 1e6)) == pytest.approx(1.96 + 0.8416, abs=1e-3)


@pytest.mark.parametrize(("power", "significance"), [(0.04, 0.05), (1.0, 0.05), (0.8, 0.0)])
def test_impossible_power_is_refused(power, significance):
    with pytest.raises(ValueError, match="expected 0 < significance < power < 1"):
        minimum_detectable_effect(Error(1.0, 5.0), power=power, significance=significance)


def test_bands_hold_what_is_not_told_from_their_best():
    apart = {("a", "c"): True, ("a", "d"): True, ("c", "d"): False, ("b", "c"): False, ("a", "b"): False}
    assert rank_bands(["a", "b", "c", "d"], apart) == [["a", "b"], ["c", "d"]]
    assert rank_bands(["a", "b"], {}) == [["a", "b"]]
    assert rank_bands([], {}) == []
