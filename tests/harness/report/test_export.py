import csv
import io
import json
import math

import pytest
from example_rows import HOSTILE, row, rows, unconditional, value

from harness.report.escape import markdown_cell, terminal, visible
from harness.report.export import as_csv, as_json, as_markdown, interval, number
from harness.report.sections import sections
from harness.tracking.rows import Row, Value


def test_sections_hold_one_task_and_family_with_its_own_metrics_best_first():
    t2t, ucg = sections(rows())
    assert (t2t.family, ucg.family) == ("t2t", "ucg")
    assert ucg.headline == "in_language_standardised"
    assert [row.model for row in ucg.rows] == ["gpt", "d3pm[kernel=absorbing]", "d3pm[kernel=uniform]", "unigram"]
    assert "chrf" not in ucg.metrics
    assert "mauve" not in ucg.metrics, "nobody has a number for it"
    assert (len(ucg.failed), len(ucg.skipped), len(t2t.pending)) == (1, 1, 1)
    assert ucg.unranked == ("smoke",)


def test_a_profile_that_ranks_says_which_rows_it_does_not_rank():
    settings = {"profile": "publish", "n": 400}
    cells = [row(index, "gpt", "t2t", metrics={"bleu": value(3.0)}, seed=index, settings=settings) for index in range(2)]
    (section,) = sections(cells)
    assert section.shortfalls == ("not ranked: gpt: 2 of 3 seeds", "not ranked: gpt: 400 of 1000 sources")
    assert "not ranked: gpt: 2 of 3 seeds" in as_markdown(cells)


def test_a_greyed_latency_stays_visible_and_says_why():
    told = ("greyed: unstable: the canary kernel drifted by 7%", "slow warm-up")
    (cell,) = [row(0, "gpt", "ucg", metrics={"judge_ppl": value(3.0)}, latency={"latency_ms_p50": value(8.0, flags=told)})]
    assert cell.latency_greyed == ("unstable: the canary kernel drifted by 7%",)
    text = as_markdown([cell])
    assert "~~8.0 [7.0, 9.0]~~ (1) (2)" in text
    assert "- (1) greyed: unstable: the canary kernel drifted by 7%" in text


def test_the_table_says_what_it_is_sorted_by():
    assert "Sorted by judge_ppl." in as_markdown(rows(), sort="judge_ppl")


def test_control_characters_take_no_effect_in_any_form():
    cells = [row(1, "m", "ucg", status="failed", reason="10%\r20%\x1b[31m\x9b31m")]
    assert "\r" not in as_csv(cells)
    assert not {"\x1b", "\x9b", "\r"} & set(as_csv(cells) + as_json(cells) + as_markdown(cells))
    assert json.loads(as_json(cells))[0]["reason"] == cells[0].reason


def test_a_metric_of_a_stranger_is_shown_where_no_headline_is_known():
    (section,) = sections([row(1, "m", "ucg", metrics={"sparkle": value(3.0)})])
    assert section.headlines == ("sparkle",)


def test_markdown_shows_intervals_flags_profile_and_what_failed():
    text = as_markdown(rows())
    assert "0.900 [0.870, 0.930]" in text
    assert "its budget proves nothing; not ranked" in text
    assert "(1) shared machine" in text
    assert "own_bits_per_byte: signatures differ" in text
    assert "- skipped: gpt, sqrt, seed 0: gpt has no schedule" in text
    assert "4 done, 1 failed, 1 skipped cells" in text


def test_what_is_unfinished_for_one_reason_is_one_line_that_names_each_cell():
    reason = "samples from its own law only"
    cells = [
        row(1, "m", "ucg", status="skipped", decode="sample-t0.7", reason=reason),
        row(2, "m", "ucg", status="skipped", decode="sample-t1.4", seed=1, reason=reason),
        row(3, "n", "ucg", status="skipped", reason="another"),
        row(4, "slow", "ucg", status="pending"),
    ]
    assert [line for line in as_markdown(cells).splitlines() if line.startswith("- ")] == [
        "- skipped: m, sample-t0.7, seed 0; m, sample-t1.4, seed 1: samples from its own law only",
        "- skipped: n, seed 0: another",
        "- pending: slow, seed 0: not run yet",
    ]


@pytest.mark.parametrize(("ppl", "said"), [(20.0, "nothing moved"), (20.5, "judge_ppl 0.50")])
def test_the_noise_floor_names_what_moved(ppl, said):
    again = {"numerics": {"dtype": "float64"}, "again_of": f"{1:032x}"}
    cells = [
        unconditional(1, "m", 0.5, 20.0),
        unconditional(2, "m", 0.5, ppl, decode="sample again dtype=float64", settings=again),
    ]
    assert f"- noise floor, by sampling m (sample again dtype=float64): {said}\n" in as_markdown(cells)


def test_intervals_of_one_seed_are_of_items_only_and_bounds_say_so():
    text = as_markdown(rows())
    assert (
        text.count("- intervals are over items only, one seed each: nothing is said of other training runs (harness rank)") == 2
    )
    bare = row(1, "m", "ucg", metrics={"sparkle": Value(value=3.0, n=9, signature="s", higher_is_better=True)})
    assert "over items only" not in as_markdown([bare])
    own = {"own_bits_per_byte": value(1.5, 0.25, better=False, flags=("upper bound", "Monte-Carlo error 2%"))}
    text = as_markdown([row(1, "d3pm", "ucg", metrics=own)])
    assert "<= 1.50 [1.25, 1.75] (1)" in text
    assert "(1) Monte-Carlo error 2%" in text
    absent = {"own_bits_per_byte": Value(value=None, n=9, signature="s", reason="too few", flags=("upper bound",))}
    assert "<=" not in as_markdown([row(1, "d3pm", "ucg", metrics={**own, **absent})])


def test_every_line_of_a_markdown_table_has_the_same_cells():
    for block in as_markdown(rows()).split("\n\n"):
        if block.startswith("|"):
            assert len({line.replace("\\|", "").count("|") for line in block.splitlines()}) == 1


def test_a_sort_column_that_one_section_lacks_is_no_error():
    assert as_markdown(rows(), sort="bleu").index("diffuseq") < as_markdown(rows(), sort="bleu").index("copy-source")


def test_hostile_text_takes_no_effect():
    assert "<script>" not in as_markdown(rows())
    assert markdown_cell("a|b\n<b> *c* [d](e) in_language") == "a\\|b<br>&lt;b&gt; \\*c\\* \\[d\\](e) in_language"
    assert visible("\x1b[31mred\u202e") == "\\x1b[31mred\\x202e"
    assert terminal("[red]x[/red]") == "\\[red]x\\[/red]"


def test_csv_leaves_absent_values_empty_and_keeps_hostile_text_whole():
    lines = list(csv.DictReader(io.StringIO(as_csv(rows()))))
    assert len(lines) == 9
    assert lines[0]["mauve"] == ""
    assert lines[0]["judge_ppl"] == "109.0"
    assert lines[4]["reason"] == HOSTILE


def test_json_has_no_nan_and_is_read_back():
    odd = row(1, "m", "ucg", metrics={"a": value(math.nan), "b": value(math.inf)}, cost={"x": math.nan})
    data = json.loads(as_json([odd, *rows()]), parse_constant=lambda name: pytest.fail(name))
    assert data[0]["metrics"]["a"]["value"] is None
    assert [Row.from_json(item) for item in data[1:]] == rows()


@pytest.mark.parametrize(
    ("given", "shown"), [(None, ""), (math.nan, ""), (0.0, "0"), (81920.0, "81,920"), (0.12345, "0.1235"), (1.3e-7, "1.3e-07")]
)
def test_numbers_have_four_significant_digits(given, shown):
    assert number(given) == shown


def test_an_interval_decides_the_digits():
    assert interval(value(45.4567, 1.5)) == "45.5 [44.0, 47.0]"
    assert interval(value(1234.5, 300.0)) == "1,234 [934, 1,534]"
    assert interval(value(None)) == ""


def test_no_rows_say_what_to_do():
    assert "harness run" in as_markdown([])
