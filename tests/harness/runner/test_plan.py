import json
import subprocess
import sys

import pytest

from harness.errors import GridError
from harness.grid import load
from harness.metrics.profiles import profile
from harness.runner.plan import batches, make_plan
from harness.runner.stage import SCHEMA, Spec, Stage, digest_of


def kinds(plan):
    found = {}
    for stage in plan.stages.values():
        found[stage.kind] = found.get(stage.kind, 0) + 1
    return found


def test_steps_share_a_training_and_decodings_share_candidates(grid_file):
    decode = "decode: [{candidates: 3, select: mbr}, {name: one}]"
    plan = make_plan(load(grid_file("PLUGINS:Diffuser", f"steps: [2, 4, 8]\n{decode}")))
    assert len(plan.cells) == 6
    assert kinds(plan) == {"tokenize": 1, "fit": 1, "generate": 6, "select": 6, "score": 6}


def test_variants_that_only_sample_otherwise_share_a_training(grid_file):
    variants = "d3pm, {name: d3pm, unmasking: exact-count}, {name: d3pm, kernel: uniform}"
    plan = make_plan(load(grid_file(f"gpt, {variants}", "schedules: [cosine-squared]\nlatency: true")))
    assert kinds(plan) == {"tokenize": 1, "fit": 3, "generate": 4, "select": 4, "score": 4, "time": 4}
    assert {str(stage.spec["options"]) for stage in plan.trainings} == {"{}", "{'kernel': 'uniform'}"}
    said = [stage.spec["keys"] for stage in plan.stages.values() if "keys" in stage.spec]
    assert said == [{"unmasking": "exact-count"}] * 2
    assert len({cell.digest for cell in plan.cells}) == 4


def test_numerics_sample_one_cell_again_and_change_no_other(grid_file):
    models = "PLUGINS:Parrot, PLUGINS:Diffuser"
    plain = make_plan(load(grid_file(models, "latency: true")))
    plan = make_plan(load(grid_file(models, "latency: true\nnumerics: [{micro_batch: 1}, {dtype: float64, threads: 2}]")))
    assert set(plain.stages) <= set(plan.stages)
    added = [stage for key, stage in plan.stages.items() if key not in plain.stages]
    assert [stage.kind for stage in added] == ["generate", "select", "score"] * 2
    assert [stage.spec["numerics"] for stage in added[::3]] == [{"micro_batch": 1}, {"threads": 2, "dtype": "float64"}]
    first, *again = [cell for cell in plan.cells if cell.cell.model.title == "Parrot"]
    assert [cell.settings["again_of"] for cell in again] == [first.digest] * 2
    assert [cell.labels("g")["decode"] for cell in again] == [
        "sample again micro_batch=1",
        "sample again threads=2,dtype=float64",
    ]
    assert len({cell.digest for cell in plan.cells}) == 4
    with pytest.raises(GridError, match="numerics that change nothing"):
        load(grid_file(models, "numerics: [{}]"))


def test_inputs_come_before_what_needs_them(grid_file):
    plan = make_plan(load(grid_file("PLUGINS:Parrot, PLUGINS:Diffuser", 'metrics: ["PLUGINS:Judged"]\nlatency: true')))
    seen = set()
    for key, stage in plan.stages.items():
        assert set(stage.inputs.values()) <= seen
        seen.add(key)
    assert kinds(plan) == {"tokenize": 1, "fit": 3, "likelihood": 1, "generate": 2, "select": 2, "score": 2, "time": 2}
    assert [stage.spec["fold"] for stage in plan.trainings].count("judge") == 1


def test_what_changes_no_result_is_in_no_key(grid_file):
    plain = make_plan(load(grid_file("PLUGINS:Parrot")))
    asked = "resources: {fit: {cpus: 2, micro_batch: 8}}\nlimits: {fit: {seconds: 5}}"
    other = make_plan(load(grid_file("PLUGINS:Parrot", asked, name="other")))
    assert list(plain.stages) == list(other.stages)
    assert [cell.digest for cell in plain.cells] == [cell.digest for cell in other.cells]


def test_what_changes_a_result_is_in_the_key(grid_file):
    def fit(models="PLUGINS:Parrot", rest=""):
        return make_plan(load(grid_file(models, rest))).trainings[0].key

    keys = [
        fit(), fit("{name: PLUGINS:Parrot, pause: 0.5}"), fit(rest="seeds: [1]"), fit("PLUGINS:Diffuser"),
        fit("PLUGINS:Diffuser", "schedules: [sqrt]"), fit("PLUGINS:Diffuser", "schedules: [{name: sqrt, s: 0.01}]"),
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)


def test_keys_do_not_depend_on_the_process(grid_file):
    path = grid_file("PLUGINS:Parrot, PLUGINS:Diffuser")
    code = (
        f"from harness.grid import load; from harness.runner.plan import make_plan; print(*make_plan(load({str(path)!r})).stages)"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert other == list(make_plan(load(path)).stages)


def test_a_changed_file_is_another_model(grid_file, tmp_path):
    path = grid_file("PLUGINS:Parrot", 'metrics: ["own.py:Counted"]')
    (tmp_path / "own.py").write_text(_metric(1))
    first = make_plan(load(path))
    (tmp_path / "own.py").write_text(_metric(1) + "# changed\n")
    second = make_plan(load(path))
    changed = set(second.stages) - set(first.stages)
    assert [second.stages[key].title for key in changed] == ["score own.py:Counted"]


def test_a_label_changes_no_key_and_no_other_cell(grid_file):
    models = "{{name: PLUGINS:Parrot, label: {0}}}, {{name: PLUGINS:Diffuser, label: {1}}}"
    one, two = (make_plan(load(grid_file(models.format(*labels), "latency: true", labels[0]))) for labels in ("ab", "cd"))
    assert list(one.stages) == list(two.stages)
    assert [cell.digest for cell in one.cells] == [cell.digest for cell in two.cells]


def test_another_version_of_a_library_is_another_score(grid_file, tmp_path, monkeypatch):
    from harness.grid import catalogue

    (tmp_path / "own.py").write_text(_metric(1).replace("{}\n", "{}\n    libraries = ('sacrebleu', 'no-such-package')\n", 1))
    path = grid_file("PLUGINS:Parrot", 'metrics: ["own.py:Counted", "PLUGINS:Counted"]')
    first = make_plan(load(path))
    (score,) = [stage for stage in first.stages.values() if stage.spec.get("metric") == "own.py:Counted"]
    assert score.spec["libraries"] == {"sacrebleu": catalogue._version("sacrebleu"), "no-such-package": None}
    monkeypatch.setattr(catalogue, "_version", lambda package: "99")
    assert set(first.stages) - set(make_plan(load(path)).stages) == {score.key}


def test_a_cell_says_whose_other_stages_it_needs(grid_file):
    plan = make_plan(load(grid_file("{name: PLUGINS:Parrot, label: ar}, PLUGINS:Diffuser", "latency: true")))
    parrot, diffuser = plan.cells
    assert (parrot.needs, diffuser.needs) == ({}, {"time/16: its baseline ar": parrot.stages["fit"]})
    assert plan.cells_of(parrot.stages["fit"]) == (parrot.cell.name, diffuser.cell.name)
    judged = grid_file("PLUGINS:Parrot", 'metrics: ["PLUGINS:Judged"]', "judged")
    judged.write_text(judged.read_text().replace(":ucg]", ":t2t]"))
    (cell,) = make_plan(load(judged)).cells
    assert list(cell.needs) == ["judge: its tokenize"]


def test_a_likelihood_is_asked_for_on_schedules_on_which_the_design_has_one(grid_file):
    rest = 'schedules: [native, cosine-squared]\nmetrics: ["PLUGINS:Judged"]'
    plan = make_plan(load(grid_file("gpt, d3pm, diffusion-bert, diffusion-bert-code", rest)))
    able = [cell for cell in plan.cells if cell.cell.reason is None]
    asked = {(cell.cell.design.name, str(cell.cell.schedule)): "likelihood" in cell.stages for cell in able}
    assert asked == {
        ("gpt", "None"): True,
        ("d3pm", "mutual-information"): True,
        ("d3pm", "cosine-squared"): True,
        ("diffusion-bert", "spindle"): False,
        ("diffusion-bert", "cosine-squared"): True,
        ("diffusion-bert-code", "spindle-log-frequency"): False,
    }
    inputs = [stage.inputs for stage in plan.stages.values() if stage.kind == "score"]
    assert sum("likelihood" in names for names in inputs) == sum(asked.values())


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ("{name: gpt, layrs: 3}", r"grid.yaml:1: model 'gpt\[layrs=3\]' .*unknown key 'layrs'. Did you mean 'layers'"),
        ("{name: seq2seq, layrs: 3}", "unknown key 'layrs'. Did you mean 'layers'"),
        ("{name: d3pm, kernle: uniform}", "unknown key 'kernle'. Did you mean 'kernel'"),
        ("{name: diffusion-lm, widht: 64}", "unknown key 'widht'. Did you mean 'width'"),
        ("{name: diffuseq, widht: 64}", "unknown key 'widht'. Did you mean 'width'"),
        ("{name: trigram, x: 1}", "trigram has no keys; given: x"),
        ("{name: template, x: 1}", "template has no keys; given: x"),
        ("{name: gpt, layers: '3'}", "layers '3', expected a whole number"),
        ("{name: gpt, layers: true}", "layers True, expected a whole number"),
        ("{name: diffuseq, layers: -3}", "layers -3, expected a whole number"),
        ("{name: gpt, dropout: 1.5}", "dropout 1.5, expected a number from 0 to below 1"),
        ("{name: d3pm, kernel: [uniform]}", "kernel .*expected text"),
        ("{name: d3pm, width: 65}", "width 65, expected a multiple of 8"),
        ("{name: PLUGINS:Parrot, puase: 1}", "unknown key 'puase'. Did you mean 'pause'"),
        ("{name: PLUGINS:Parrot, schedule: sqrt}", "unknown key 'schedule'"),
    ],
)
def test_keys_of_models_are_checked_before_anything_is_spent(grid_file, models, said):
    with pytest.raises(GridError, match=said):
        make_plan(load(grid_file(models)))


def test_keys_of_the_judge_are_checked_even_where_nothing_is_judged(grid_file):
    with pytest.raises(GridError, match=r"grid.yaml:5: model 'judge\[laers=3\]' .*Did you mean 'layers'"):
        make_plan(load(grid_file("PLUGINS:Parrot", "judge: {name: judge, laers: 3}")))


def _metric(version):
    return (
        f"class Counted:\n    name, version, families, needs, values = 'c', {version}, ('ucg',), (), {{}}\n"
        "    def __call__(self, evaluation):\n        return {}\n"
    )


def test_unequal_budgets_wear_a_badge(grid_file):
    path = grid_file("PLUGINS:Parrot, PLUGINS:Diffuser")
    path.write_text(path.read_text().replace("budget: {tokens: 100}", "budget: {default: {tokens: 100}, Parrot: {tokens: 5}}"))
    assert all(cell.settings["badges"] == ["unmatched: compute"] for cell in make_plan(load(path)).cells)


def test_snapshot_is_plain_and_counts_every_cell(grid_file):
    plan = make_plan(load(grid_file("PLUGINS:Parrot, PLUGINS:Diffuser", "decode: [{method: sample}, {method: greedy}]")))
    snapshot = json.loads(json.dumps(plan.snapshot(), allow_nan=False))
    assert len(snapshot["cells"]) == len(plan.cells) + len(plan.skipped) == 4
    assert plan.cells_of(plan.cells[0].stages["tokenize"]) == tuple(cell.cell.name for cell in plan.cells)


PLANNED = """
import sys, time
from harness.grid import load
from harness.metrics.profiles import profile
from harness.runner.plan import batches, make_plan
started = time.process_time()
print(len(make_plan(load(sys.argv[1])).cells), time.process_time() - started)
"""


@pytest.mark.slow
def test_ten_thousand_cells_are_planned_in_seconds(grid_file):
    """Twice the stated limit of 5 s, in CPU time: the machine may be busy, and a cost that grows with the square fails anyhow."""
    axes = f"steps: {list(range(1, 101))}\nseeds: {list(range(50))}\nschedules: [native, sqrt]\n"
    path = grid_file("PLUGINS:Diffuser", axes + 'metrics: ["PLUGINS:Counted", "PLUGINS:Judged"]\nlatency: true')
    done = subprocess.run([sys.executable, "-c", PLANNED, str(path)], capture_output=True, text=True, check=True)
    cells, seconds = done.stdout.split()
    assert int(cells) == 10_000
    assert float(seconds) < 10.0


DECODINGS = """
decode: [{name: plain}, {temperature: 0.7}, {method: greedy}, {method: beam, beams: 4}, {candidates: 3, select: mbr}]
latency: true
"""


def test_a_second_baseline_is_timed_beside_the_first(grid_file):
    models = "{name: PLUGINS:Parrot, label: ar}, {name: PLUGINS:Parrot, label: fast, trick: swift}, PLUGINS:Diffuser"
    plan = make_plan(load(grid_file(models, "latency: true\nbest_baseline: fast")))
    ar, fast, diffuser = plan.cells
    stage = plan.stages[diffuser.stages["time/16"]]
    assert (stage.spec["baseline"], stage.spec["best_baseline"]) == ("Parrot", "Parrot[trick=swift]")
    assert (stage.inputs["baseline"], stage.inputs["best_baseline"]) == (ar.stages["fit"], fast.stages["fit"])
    assert set(diffuser.needs) == {"time/16: its baseline ar", "time/16: its best baseline fast"}
    one = make_plan(load(grid_file(models, "latency: true", "one")))
    assert "best_baseline" not in one.stages[one.cells[2].stages["time/16"]].spec


@pytest.mark.parametrize("family", ["ucg", "t2t"])
def test_the_baseline_decodes_as_the_cell_does(grid_file, family):
    path = grid_file("PLUGINS:Parrot, PLUGINS:Diffuser", DECODINGS)
    path.write_text(path.read_text().replace(":ucg]", f":{family}]"))
    plan = make_plan(load(path))
    timed = {planned.cell.name: (planned.cell, plan.stages[planned.stages["time/16"]].spec) for planned in plan.cells}
    assert {cell.decode.title for cell, _ in timed.values()} >= {"plain", "sample-t0.7", "sample-mbr3"}
    assert any(cell.decode.method == "beam" for cell, _ in timed.values()) == (family == "t2t")
    for cell, spec in timed.values():
        assert spec["baseline"] == "Parrot"
        assert spec["baseline_sampling"] == {**spec["sampling"], "steps": None}
        assert spec["candidates"] == cell.decode.candidates


def test_time_stages_are_booked_by_steps_and_requests(grid_file):
    def seconds(steps, latency, profile="quick"):
        path = grid_file("PLUGINS:Parrot, PLUGINS:Diffuser", f"steps: [{steps}]\nlatency: {latency}")
        path.write_text(path.read_text().replace("profile: test", f"profile: {profile}"))
        return make_plan(load(path)).estimate.seconds

    few, many = (seconds(steps, "true") - seconds(steps, "false") for steps in (10, 1000))
    assert few >= 2 * 2 * 10
    assert many > few + 64 * 990 * 1e-3
    assert seconds(10, "true", "publish") > seconds(10, "true", "smoke")


def test_models_that_only_count_are_booked_no_training(grid_file):
    def booked(models):
        found = make_plan(load(grid_file(models, 'metrics: ["PLUGINS:Judged"]'))).estimate
        return found.trainings, found.tokens

    trainings, tokens = booked("PLUGINS:Parrot")
    assert trainings == 2
    assert booked("PLUGINS:Parrot, unigram, trigram") == (trainings, tokens)


def test_a_key_is_the_digest_of_what_decides_the_result(grid_file):
    spec, inputs = {"seed": 0, "metric": "größe", "items": None}, {"select": "ab", "generate": "cd"}
    keys = {Stage.make("score", form, inputs).key for form in (spec, Spec(spec))}
    assert keys == {digest_of(SCHEMA, "score", spec, inputs)}
    stages = make_plan(load(grid_file("PLUGINS:Parrot, PLUGINS:Diffuser", "steps: [2, 4]"))).stages.values()
    assert all(stage.key == digest_of(SCHEMA, stage.kind, dict(stage.spec), dict(stage.inputs)) for stage in stages)


def test_without_a_gpu_there_is_no_largest(grid_file):
    text = "latency: {batches: [1, 16, largest]}"
    with pytest.raises(GridError, match="the batch 'largest' is what a GPU's memory holds"):
        batches(load(grid_file("PLUGINS:Parrot", text)), profile("quick"))
    able = load(grid_file("PLUGINS:Parrot", text + "\nresources: {time: {gpus: 1}}"))
    assert batches(able, profile("quick")) == (16, "largest")
