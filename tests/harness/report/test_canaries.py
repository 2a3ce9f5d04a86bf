from harness.report.canaries import canary_lines
from harness.report.export import as_markdown
from harness.report.sections import sections
from harness.tracking.rows import Row, Value


def row(model, kind, seed=0, **values):
    metrics = {
        name: Value(value=value, n=9, signature="s", higher_is_better=higher, exposes=exposes)
        for name, (value, higher, exposes) in values.items()
    }
    return Row(
        digest=f"{model}{seed}", grid="g", model=model, task="t", family="ucg", schedule=None, steps=None, seed=seed,
        decode="sample", status="done", metrics=metrics, settings={"design": {"name": model.partition("[")[0], "kind": kind}},
    )  # fmt: skip


def values(mauve, ppl):
    return {"mauve": (mauve, True, ("tiled", "shuffled-human", "empty")), "judge_ppl": (ppl, False, ("shuffled-human",))}


REAL = [row("gpt", "autoregressive", **values(0.9, 20.0)), row("d3pm", "diffusion", **values(0.7, 40.0))]


def lines(*rows):
    (section,) = sections([*REAL, *rows])
    return canary_lines(section)


def test_a_value_that_ranks_a_canary_above_a_model_is_flagged():
    found = lines(row("tiled", "floor", **values(0.1, 5.0)))
    assert found[0] == "judge_ppl ranks tiled above d3pm, gpt: by itself it is no evidence here"
    assert found[1] == "canary tiled: exposed by mauve"


def test_a_canary_that_is_missed_by_what_should_see_it_is_named():
    found = lines(row("shuffled-human", "floor", **values(0.8, 900.0)))
    assert found[0] == "mauve ranks shuffled-human above d3pm: by itself it is no evidence here"
    assert found[1] == "canary shuffled-human: exposed by judge_ppl; some model is no better by mauve"
    assert (
        "exposed by nothing; some model is no better by mauve, judge_ppl"
        in lines(row("shuffled-human", "floor", **values(0.8, 30.0)))[2]
    )


def test_a_canary_without_a_value_is_below():
    assert lines(row("empty", "floor", **values(None, None))) == ["canary empty: exposed by mauve"]


def test_every_seed_of_a_canary_must_be_below():
    found = lines(row("tiled", "floor", **values(0.1, 90.0)), row("tiled", "floor", seed=1, **values(0.8, 90.0)))
    assert found[-1] == "canary tiled: exposed by nothing; some model is no better by mauve"


def test_human_text_is_no_canary_and_without_models_nothing_is_said():
    assert lines(row("human", "floor", **values(0.95, 10.0))) == []
    (section,) = sections([row("tiled", "floor", **values(0.1, 5.0))])
    assert canary_lines(section) == []


def test_the_table_says_it():
    assert "ranks tiled above d3pm, gpt" in as_markdown([*REAL, row("tiled", "floor", **values(0.1, 5.0))])
