"""MLflow's own page, in a real browser: the saved view opens as a leaderboard."""

import json
import os
from pathlib import Path

import pytest
from browser.chromium import Chromium, find
from example_rows import rows

from harness.tracking.mlflow_server import free_port, serving
from harness.tracking.mlflow_sink import local_uri, publish

pytestmark = pytest.mark.skipif(find() is None, reason="no chromium or chromium-browser on PATH")
_CELL = ".ag-center-cols-container .ag-row[row-index='{line}'] .ag-cell[col-id='{column}']"
_COLUMNS = "JSON.stringify([...document.querySelectorAll('.ag-header-cell')].map(e => [e.offsetLeft, e.getAttribute('col-id')]))"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The saved view of the UCG section, opened, with a picture in `$SCREENSHOTS` where that is set."""
    store = tmp_path_factory.mktemp("store")
    done = publish(rows(), local_uri(store), "quickstart", artifacts=store / "mlartifacts")
    with serving(store, port=free_port()) as address, Chromium() as browser:
        browser.open(address + done.views["world[size=small] / ucg"])
        browser.wait_for("document.querySelectorAll('.ag-center-cols-container .ag-row').length")
        browser.wait_for(read(0, "metrics.`in_language_standardised`"))
        yield browser
        if folder := os.environ.get("SCREENSHOTS"):
            browser.screenshot(Path(folder) / "saved-view.png")


def read(line, column):
    """JavaScript that reads one cell of the table."""
    selector = json.dumps(_CELL.format(line=line, column=column))
    return f"(document.querySelector({selector}) || {{}}).innerText"


def test_a_metric_is_read_from_the_table_best_first(page):
    models = [page.evaluate(read(line, "params.`model`")) for line in range(5)]
    assert models == ["gpt", "d3pm[kernel=absorbing]", "d3pm[kernel=uniform]", "unigram", "broken"]
    assert [page.evaluate(read(line, "metrics.`in_language_standardised`")) for line in range(3)] == ["0.9", "0.6", "0.46823"]
    assert page.evaluate(read(0, "metrics.`judge_ppl`")) == "20"


def test_the_columns_are_the_metrics_of_the_family_in_the_order_of_the_headlines(page):
    given = [name for _, name in sorted(json.loads(page.evaluate(_COLUMNS))) if name.startswith("metrics.")]
    wanted = [
        "in_language_standardised",
        "low/in_language_standardised",
        "high/in_language_standardised",
        "judge_ppl",
        "in_language",
    ]
    assert given[: len(wanted)] == [f"metrics.`{name}`" for name in wanted]
    assert "metrics.`chrf`" not in given


def test_the_description_links_to_every_section(page):
    links = page.evaluate("JSON.stringify([...document.querySelectorAll('a')].map(a => a.innerText))")
    assert {"world[size=small] / t2t", "world[size=small] / ucg"} <= set(json.loads(links))
