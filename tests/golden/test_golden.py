"""Every golden case against the product."""

import pytest
from golden_cases import HERE, Case, agrees, cases, cases_in, computed, differences, kinds
from golden_quirks import QUIRKS


def marked(case: Case) -> object:
    """The case as a parameter: quirks are skipped and kinds that nothing maps are expected to fail, both with the reason."""
    quirk = QUIRKS.get(case.id)
    if quirk and not quirk.fields:
        return pytest.param(case, id=case.id, marks=pytest.mark.skip(reason=f"quirk of released code: {quirk.reason}"))
    if case.kind not in kinds():
        return pytest.param(case, id=case.id, marks=pytest.mark.xfail(reason=f"not built yet: {case.kind}", strict=True))
    return pytest.param(case, id=case.id)


@pytest.mark.parametrize("case", [marked(case) for case in cases()])
def test_golden(case: Case) -> None:
    if case.kind not in kinds():
        pytest.fail(f"not built yet: {case.kind}")
    ignored = QUIRKS[case.id].fields if case.id in QUIRKS else frozenset()
    wrong = differences(case.expected, computed(case), case.tolerance, ignored)
    assert not wrong, "\n".join(wrong[:10])


def test_every_quirk_names_a_case() -> None:
    assert set(QUIRKS) <= {case.id for case in cases_in(HERE)}


def test_every_mapped_kind_has_a_name_that_the_files_could_hold() -> None:
    for kind in kinds():
        assert kind == kind.lower()
        assert "." in kind


@pytest.mark.parametrize(
    ("expected", "got", "tolerance", "passes"),
    [
        (3, 3.0, "exact", True),
        (3, 3.0000001, {"rtol": 1e-3, "atol": 0}, False),
        (1.0, 1.0005, {"rtol": 1e-3, "atol": 0}, True),
        (1.0, float("nan"), {"rtol": 1e-3, "atol": 0}, False),
        (1.0, True, "exact", False),
        (True, 1, "exact", False),
        (True, True, "exact", True),
        (None, None, "exact", True),
        ("a", "b", "exact", False),
        (0.1, None, {"rtol": 1, "atol": 1}, False),
    ],
)
def test_leaves_follow_the_comparator_rule(expected: object, got: object, tolerance: object, passes: bool) -> None:
    assert agrees(expected, got, tolerance) is passes


def test_shapes_and_fields_must_match() -> None:
    assert differences({"a": [1.0, 2.0]}, {"a": [1.0, 2.0]}, "exact") == []
    assert differences({"a": [1.0, 2.0]}, {"a": [1.0]}, "exact")
    assert differences({"a": 1.0}, {"a": 1.0, "b": 2.0}, "exact")
    assert differences({"a": 1.0, "b": 2.0}, {"a": 1.0}, "exact")
    assert differences({"a": 1.0, "b": 2.0}, {"a": 1.0}, "exact", frozenset({"b"})) == []
    assert differences({"a": {"b": 1.0, "c": 2.0}}, {"a": {"c": 3.0}}, "exact", frozenset({"a.b"}))
