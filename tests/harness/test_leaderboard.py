import math

import pytest
from example_rows import row, rows, unconditional, value

import harness
from harness.errors import GridError, StoreError, UnknownName
from harness.leaderboard import Condition, cell_of, columns_of, frame, order, rows_of, select
from harness.tracking.rows import IDENTITY


def test_a_frame_has_one_line_per_cell_identity_first_and_every_part_of_a_metric():
    table = frame(rows())
    assert list(table.columns[: len(IDENTITY)]) == list(IDENTITY)
    assert len(table) == 9
    gpt = table[(table.model == "gpt") & (table.status == "done")].iloc[0]
    assert gpt["judge_ppl"] == 20.0
    assert (gpt["judge_ppl.low"], gpt["judge_ppl.high"], gpt["judge_ppl.n"]) == (17.0, 23.0, 512)
    assert gpt["own_bits_per_byte.signature"] == "kind:exact"
    assert gpt["latency.latency_ms_p50.flags"] == "shared machine"
    assert gpt["cost.parameters"] == 81920
    assert gpt["mauve.reason"] == "n below 500"
    assert table["bleu"].isna().sum() == 7


def test_absent_is_missing_and_never_zero():
    assert cell_of(rows()[0], "mauve") is None
    assert cell_of(rows()[0], "bleu") is None
    assert cell_of(rows()[0], "cost.flops") is None


@pytest.mark.parametrize(
    ("text", "models"),
    [
        ("judge_ppl < 50", ["gpt", "d3pm[kernel=absorbing]"]),
        ("judge_ppl.high <= 23", ["gpt"]),
        ("model = 'unigram'", ["unigram"]),
        ("chrf++ > 50", ["diffuseq"]),
        ("status != done", ["broken", "gpt", "slow"]),
        ("latency.latency_ms_p50 >= 7", ["d3pm[kernel=absorbing]"]),
    ],
)
def test_conditions_keep_the_rows_that_hold_them(text, models):
    assert sorted(row.model for row in select(rows(), where=[text])) == sorted(models)


def test_a_bare_name_takes_every_variant_of_a_model():
    assert len(select(rows(), model="d3pm")) == 2
    assert len(select(rows(), model="d3pm[kernel=uniform]", task="world", family="ucg")) == 1


def test_a_wrong_name_gets_near_matches():
    with pytest.raises(UnknownName, match="judge_ppl"):
        select(rows(), where=["judge_pl < 3"])
    with pytest.raises(UnknownName, match="'gpt'"):
        select(rows(), model="gpd")
    with pytest.raises(UnknownName, match="chrf"):
        order(rows(), "chrff")
    with pytest.raises(GridError, match="column operator value"):
        Condition.parse("judge_ppl")


def test_the_best_comes_first_whichever_end_is_better():
    best = [row.model for row in order(rows(), "in_language_standardised")][:2]
    assert best == ["gpt", "d3pm[kernel=absorbing]"]
    assert order(rows(), "judge_ppl")[0].model == "gpt"
    assert order(rows(), "-judge_ppl")[0].model == "unigram"
    assert order(rows(), "bleu")[2:] == [row for row in rows() if "bleu" not in row.metrics]


def test_values_that_are_not_finite_do_not_break_the_order():
    tied = [unconditional(1, "a", 0.5, math.inf), unconditional(2, "b", 0.5, 3.0)]
    assert [row.model for row in order(tied, "judge_ppl")] == ["b", "a"]


@pytest.mark.parametrize("text", ["in_language => 0.5", "in_language <> 0.5", "in_language >= high", "in_language >= 5%"])
def test_a_condition_that_cannot_be_meant_is_refused(text):
    with pytest.raises(GridError, match="condition"):
        select(rows(), where=[text])


def test_values_that_are_not_ranked_come_after_those_that_are():
    few = value(0.99, flags=("not ranked: n below 2000",))
    cells = [row(1, "few", "ucg", metrics={"mauve": few}), row(2, "many", "ucg", metrics={"mauve": value(0.5)})]
    assert [item.model for item in order(cells, "mauve")] == ["many", "few"]
    assert [item.model for item in order(cells, "-mauve")] == ["many", "few"]


def test_columns_are_the_same_for_any_order_of_rows():
    assert columns_of(rows()) == columns_of(rows()[::-1])


def test_no_rows_no_error():
    assert select([], model="gpt", where=["bleu > 3"]) == []
    assert order([], "bleu") == []
    assert len(frame([])) == 0


def test_a_store_gives_its_rows(tmp_path):
    from harness.tracking.records import Store

    store = Store(tmp_path)
    cell = {
        "digest": "0" * 32, "grid": "g", "model": "gpt", "task": "world", "family": "ucg", "schedule": None, "steps": None,
        "seed": 0, "decode": "sample", "reason": "no reason", "stages": {}, "settings": {},
    }  # fmt: skip
    store.snapshot("g", {"grid": "g", "cells": [cell]})
    assert [row.status for row in rows_of(store, "g")] == ["skipped"]
    assert [row.model for row in rows_of(tmp_path)] == ["gpt"]
    with pytest.raises(UnknownName, match="Known: g"):
        rows_of(tmp_path, "h")


def test_a_store_that_does_not_exist_is_refused_and_not_made(tmp_path):
    for address in (tmp_path / "typo", str(tmp_path / "typo")):
        with pytest.raises(StoreError, match=r"no store at .*typo"):
            harness.table(address)
    assert not (tmp_path / "typo").exists()


def test_a_read_only_store_is_read(tmp_path, monkeypatch):
    from harness.tracking.files import LocalFiles
    from harness.tracking.records import Store

    Store(tmp_path).snapshot("g", {"grid": "g", "cells": []})
    monkeypatch.setattr(LocalFiles, "write", lambda files, name, data: pytest.fail(f"{name} was written"))
    assert len(harness.table(tmp_path, "g")) == 0


def test_columns_go_by_the_names_that_the_table_prints():
    assert order(rows(), "parameters") == order(rows(), "cost.parameters")
    assert select(rows(), where=["parameters > 0"]) == select(rows(), where=["cost.parameters > 0"])


def test_an_unknown_column_is_answered_with_few_names():
    with pytest.raises(UnknownName) as error:
        order(rows(), "in_languag")
    assert "Did you mean 'in_language" in str(error.value)
    assert len(str(error.value)) < 600
