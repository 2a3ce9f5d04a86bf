import pytest

from harness.errors import GridError, UnknownName
from harness.grid import Grid, TaskEntry, load, shipped
from harness.grid.catalogue import Catalogue
from harness.grid.expansion import expand
from harness.grid.reading import SHIPPED
from harness.runner.plan import make_plan

PLUGIN = """
from harness.design import Design


class Model:
    fit = generate = likelihood = save = load = None


class Autoregressive(Model):
    design = Design(name="ar", kind="autoregressive", families=("ucg", "t2t"))


class Diffusion(Model):
    design = Design(name="diff", kind="diffusion", families=("ucg",), schedule="sqrt@2000", grains=("sequence",))

    @classmethod
    def design_for(cls, *, kernel="absorbing"):
        if kernel not in ("absorbing", "uniform"):
            raise ValueError("kernel must be absorbing or uniform")
        return cls.design


class Position(Model):
    design = Design(name="pos", kind="diffusion", families=("ucg",), schedule="sqrt@2000", grains=("position",))


class Continuous(Model):
    design = Design(name="flow", kind="diffusion", families=("ucg",), schedule="sqrt", grains=("sequence",), closed_form=True)


class Unigram(Model):
    design = Design(name="unigram", kind="floor", families=("ucg",), predicts="token")


class Copy(Model):
    design = Design(name="copy", kind="floor", families=("t2t",), predicts="nothing")


class Broken:
    design = Design(name="floor", kind="floor", families=("ucg",))


class Task:
    name, version, families = "task", 1, ("ucg", "t2t")

    def __init__(self, *, size="small"):
        self.size = size

    def fingerprint(self, family):
        return "0"

    def check(self):
        pass

    load = metrics = fingerprint
"""


@pytest.fixture
def read(tmp_path):
    (tmp_path / "own.py").write_text(PLUGIN)

    def read(text: str) -> Grid:
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return load(path)

    return read


SMALL = """
models: ["own.py:Autoregressive", {name: "own.py:Diffusion", kernel: uniform}]
tasks: ["own.py:Task"]
budget: {tokens: 1000}
"""


def test_defaults_and_the_name_of_the_file(read):
    grid = read(SMALL)
    assert (grid.grid, grid.steps, grid.seeds, grid.profile) == ("mine", (32,), (0,), "quick")
    assert [model.title for model in grid.models] == ["Autoregressive", "Diffusion[kernel=uniform]"]
    assert grid.budget_of("Autoregressive").tokens == 1000


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("taskz: [world]", r"mine.yaml:5: unknown key 'taskz'. Did you mean 'tasks'"),
        ("steps: [8, 1e3]", r"mine.yaml:5: steps.1: .*integer; given: '1e3'. YAML reads this as text"),
        ("steps: [true]", r"mine.yaml:5: steps.0"),
        ("steps: []", r"mine.yaml:5: steps"),
        ("decode: [{method: sample, beems: 2}]", r"mine.yaml:5: unknown key 'beems'. Did you mean 'beams'"),
        ("decode: [{method: greedy, beams: 2}]", "no effect"),
        ("decode: [{method: greedy, temperature: 0.5}]", "temperature and top_p have no effect with method 'greedy'"),
        ("decode: [{method: beam, beams: 4, top_p: 0.5}]", "temperature and top_p have no effect with method 'beam'"),
        ("decode: [{candidates: 4}]", "belong together"),
        ("metrics: [bleau]", r"mine.yaml:5: unknown metric 'bleau'. Did you mean 'bleu'"),
        ("schedules: [cosin-squared]", r"mine.yaml:5: unknown schedule 'cosin-squared'. Did you mean .*cosine-squared"),
        ("schedules: [linear]", r"mine.yaml:5: schedule 'linear' says too little"),
        ("profile: smokey", r"mine.yaml:5: unknown profile 'smokey'. Did you mean 'smoke'"),
        ("baseline: gpt", r"mine.yaml:5: unknown model label 'gpt'"),
        ("best_baseline: gpt", r"mine.yaml:5: unknown model label 'gpt'"),
        ("resources: {fit: {gpu: 1}}", r"mine.yaml:5: unknown key 'gpu'. Did you mean 'gpus'"),
        ("resources: {fitt: {gpus: 1}}", r"mine.yaml:5: resources.fitt"),
        ("folder: /tmp", r"mine.yaml:5: unknown key 'folder'"),
        ("decode: [{temperature: .inf}]", r"mine.yaml:5: decode.0.temperature: .*finite"),
        ("limits: {fit: {seconds: .nan}}", r"mine.yaml:5: limits.fit.seconds: .*finite"),
        ("decode: [{name: a, temperature: 0.5}, {name: a}]", r"mine.yaml:5: two different decodings are called 'a'.*`name`"),
        ("judge: {name: judge, since: 2020-01-01}", r"mine.yaml:5: judge.since: datetime.date.* is none of text"),
        ("seeds: [0]\nprofile: test\nseeds: [1]", r"mine.yaml:7: key 'seeds' stands here twice"),
        ("limits: {fit: {seconds: 1, seconds: 2}}", r"mine.yaml:5: key 'seconds' stands here twice"),
        ("steps: 5", r"mine.yaml:5: steps: expected a list, such as \[5\]; given: 5\.$"),
        ("metrics: bleu", r"^\S*mine.yaml:5: metrics: expected a list, such as \[bleu\]; given: 'bleu'\.$"),
        ("metrics: [3]", r"^\S*mine.yaml:5: metrics.0: .*; given: 3\.$"),
        ("latency: 3", r"^\S*mine.yaml:5: latency: expected a map with keys such as batches; given: 3\.$"),
        ("latency: {batches: [1]}", r"^\S*mine.yaml:5: latency: batch 1 is timed beside a larger.*$"),
        ("latency: {batch: [1]}", r"^\S*mine.yaml:5: unknown key 'batch'. Did you mean 'batches'\? Known: batches\.$"),
        ("schedules: [{name: native, s: 3}]", r"mine.yaml:5: 'native' is .* takes no parameters: leave out s"),
        (f"steps: [1{'0' * 400}]", r"mine.yaml:5: steps.0: .*less than or equal .{,200}$"),
        (f"seeds: [1{'0' * 5000}]", "Exceeds the limit"),
        (f"grid: {'g' * 101}", r"mine.yaml:5: grid: a grid's name is a file's name"),
        ("grid: two words", r"mine.yaml:5: grid: a grid's name is a file's name"),
    ],
)
def test_one_clear_error_with_its_place(read, line, said):
    with pytest.raises(GridError, match=said):
        read(SMALL + line)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models: [gptt]\ntasks: [world]\nbudget: {tokens: 1}", "mine.yaml:1: unknown model 'gptt'. Did you mean 'gpt'"),
        ("models:\n  - gpt\ntasks:\n  - word\nbudget: {tokens: 1}", "mine.yaml:4: unknown task 'word'. Did you mean 'world'"),
        ("models: ['none.py:A']\ntasks: [world]\nbudget: {tokens: 1}", "mine.yaml:1: .*no file"),
        ("models: [gpt]\ntasks: [world]", r"mine.yaml:1: budget is missing; add `budget: {tokens: 3_000_000}`\.$"),
        ("tasks: [world]\nbudget: {tokens: 1}", r"mine.yaml:1: models is missing; add `models: \[NAME\]`; .*harness list models"),
        ("models: [gpt]\nbudget: {tokens: 1}", r"mine.yaml:1: tasks is missing; add `tasks: \[NAME\]`; .*harness list tasks"),
        (
            "models: [gpt]\ntasks: [world]\nbudget: {parameters: 5}",
            r"mine.yaml:3: budget.tokens is missing; add `tokens: 3_000_000`\.$",
        ),
        (
            "models: [gpt]\ntasks: [world]\nbudget:\n  default: {parameters: 5}",
            r"mine.yaml:4: budget.default.tokens is missing; add `tokens: 3_000_000`\.$",
        ),
        ("models: [gpt]\ntasks: [world]\nbudget: {tokens: -1}", r"mine.yaml:3: budget.tokens: .* greater than or equal to 0"),
        ("models: [{label: a}]\ntasks: [world]\nbudget: {tokens: 1}", r"mine.yaml:1: models.0.name is missing\.$"),
        ("models: [gpt]\ntasks: [world]\nbudget: {gpt2: {tokens: 1}}", "mine.yaml:3: unknown model label 'gpt2'"),
        ("models: [gpt, d3pm]\ntasks: [world]\nbudget: {gpt: {tokens: 1}}", "no budget for d3pm"),
        ("models: [gpt, gpt]\ntasks: [world]\nbudget: {tokens: 1}", "two models are called 'gpt'"),
        (
            "models: gpt\ntasks: [world]\nbudget: {tokens: 1}",
            r"mine.yaml:1: models: expected a list, such as \[gpt\]; given: 'gpt'",
        ),
        ("models: [gpt]\ntaskz: [world]\nbudget: {tokens: 1}", r"^\S*mine.yaml:2: unknown key 'taskz'.*$"),
        ("models: [gpt]\ntasks: [world]\nbudget: {token: 5}", r"^\S*mine.yaml:3: unknown key 'token'. Did you mean 'tokens'.*$"),
        ("models: [gpt]\ntasks: [world]\nbudget: {tokens: 3, gpt: {tokens: 1}}", "mine.yaml:3: budgets .* beside `default`"),
        ('models: [gpt]\ntasks: [{name: world, label: "\'\\""}]\nbudget: {tokens: 1}', "mine.yaml:2: .*both quotes"),
        ("- models", "is a mapping"),
        ("models: [", "not valid YAML"),
    ],
)
def test_what_is_missing_or_unknown(read, text, said):
    with pytest.raises(GridError, match=said):
        read(text)


@pytest.mark.parametrize(
    "value", ["2020-01-01", "!!set {a, b}", "!!binary aGVsbG8=", ".nan", "[1, {a: .inf}]", "{1: 2}", "&a [*a]", r'"\uD800"']
)
def test_options_are_plain_finite_values(read, value):
    models = f"models:\n  - own.py:Autoregressive\n  - {{name: own.py:Diffusion, kernel: {value}}}\n"
    with pytest.raises(GridError, match=r"mine.yaml:3: "):
        read(models + "tasks: [own.py:Task]\nbudget: {tokens: 1}")


def test_plain_options_are_as_written(read):
    text = "{name: own.py:Diffusion, kernel: {a: [1, 1.5, true, null, x]}}"
    grid = read(SMALL.replace('{name: "own.py:Diffusion", kernel: uniform}', text))
    assert grid.models[1].options == {"kernel": {"a": [1, 1.5, True, None, "x"]}}


TWO_TASKS = """tasks:
  - {name: own.py:Task, label: w, size: a, families: [ucg]}
  - {name: own.py:Task, label: w, size: SIZE, families: [FAMILY]}"""


@pytest.mark.parametrize("family", ["ucg", "t2t"])
def test_two_tasks_of_one_label_are_refused_unless_they_are_one(read, family):
    text = SMALL.replace('tasks: ["own.py:Task"]', TWO_TASKS.replace("FAMILY", family))
    with pytest.raises(GridError, match=r"mine.yaml:5: two different tasks are called 'w'.*`label`"):
        read(text.replace("SIZE", "b"))
    assert len(read(text.replace("SIZE", "a")).tasks) == 2


def test_equal_decodings_are_one(read):
    grid = read(SMALL + "decode: [{name: a, temperature: 0.5}, {name: a, temperature: 0.5}]")
    assert len({cell.decode.title for cell in expand(grid)}) == 1


def test_names_that_run_together_stay_apart(read):
    text = SMALL.replace(
        SMALL.split("models: ")[1].split("\n")[0],
        '[{name: "own.py:Autoregressive", label: "a b"}, {name: "own.py:Autoregressive", label: a}]',
    )
    grid = read(
        text.replace('["own.py:Task"]', '[{name: "own.py:Task", label: c}, {name: "own.py:Task", label: "b c", size: x}]')
    )
    assert sum(cell.family == "ucg" for cell in expand(grid)) == 4


def test_options_that_print_alike_are_not_mixed_up():
    catalogue = Catalogue(SHIPPED)
    tasks = [TaskEntry.model_validate({"name": "world", "label": "w", "size": size}) for size in ("tiny", "small")]
    assert len({catalogue.fingerprint(task, "ucg") for task in tasks}) == 2


def test_unknown_grid():
    with pytest.raises(UnknownName, match="Did you mean 'quickstart'"):
        load("quikstart")


@pytest.mark.parametrize("name", shipped())
def test_shipped_grids_are_valid(name):
    assert load(name).grid == name


def test_curves_over_steps_are_of_the_trainings_that_are_compared():
    """Labels that two grids share are one training in the store."""
    learn, steps = (load(name) for name in ("discrete-learn", "discrete-steps"))
    compared = {entry.title: entry for entry in learn.models}
    for entry in steps.models:
        assert (entry.name, entry.options) == (compared[entry.title].name, compared[entry.title].options)
        assert steps.budget_of(entry.title) == learn.budget_of(entry.title)


@pytest.mark.parametrize(
    ("model", "family", "schedule"),
    [
        ("d3pm, chain: 50", "ucg", "native"), ("diffusion-bert, chain: 50, plm: null", "ucg", "native"),
        ("multinomial, chain: 50", "ucg", "cosine-plain"), ("diffusion-nat, chain: 50, plm: null", "t2t", "native"),
        ("diffusion-lm, chain: 50", "ucg", "sqrt"), ("diffuseq, chain: 50", "t2t", "sqrt"),
    ],
)  # fmt: skip
def test_steps_beyond_a_chain_are_skipped_on_schedules_that_bring_none(read, model, family, schedule):
    models = SMALL.split("models: ")[1].split("\n")[0]
    text = SMALL.replace(models, f"[{{name: {model}}}]") + f"steps: [50, 51]\nschedules: [{schedule}]"
    found = {cell.steps: cell.reason for cell in expand(read(text)) if cell.family == family}
    assert (found[50], found[51]) == (None, "51 steps on a chain of 50")


def test_models_without_a_schedule_collapse(read):
    cells = expand(read(SMALL + "schedules: [native, cosine-squared]\nsteps: [2, 4]\nseeds: [0, 1]"))
    shown = [(cell.model.title, cell.family, str(cell.schedule), cell.steps, cell.seed) for cell in cells if cell.reason is None]
    assert len(shown) == len(set(shown)) == 2 * 2 + 2 * 2 * 2
    assert ("Autoregressive", "ucg", "None", None, 1) in shown
    assert ("Diffusion[kernel=uniform]", "ucg", "sqrt@2000", 4, 0) in shown


def test_native_and_its_own_name_are_one_cell(read):
    cells = expand(read(SMALL + "schedules: [native, sqrt@2000, {name: sqrt@2000, s: 1.0e-4}]"))
    assert sum(cell.design.kind == "diffusion" and cell.reason is None for cell in cells) == 1


def reasons(grid):
    return {(cell.model.title, cell.family): cell.reason for cell in expand(grid) if cell.reason is not None}


def test_combinations_that_cannot_be_are_skipped_with_the_reason(read):
    grid = read(SMALL.replace("kernel: uniform}", 'kernel: uniform}, "own.py:Position"').replace("Task", "Task:ucg"))
    assert reasons(grid) == {("Position", "ucg"): "pos bears schedules of grain position; sqrt@2000 has grain sequence"}
    assert reasons(read(SMALL))["Diffusion[kernel=uniform]", "t2t"] == "Diffusion[kernel=uniform] does ucg, not t2t"
    assert "no family 'a2t'" in reasons(read(SMALL.replace("Task", "Task:a2t")))["Autoregressive", "a2t"]
    assert "only sample" in reasons(read(SMALL + "decode: [{method: beam, beams: 4}]"))["Diffusion[kernel=uniform]", "ucg"]
    assert "same text" in reasons(read(SMALL + "decode: [{method: greedy}]"))["Autoregressive", "ucg"]
    assert "3000 steps on a chain of 2000" in reasons(read(SMALL + "steps: [3000]"))["Diffusion[kernel=uniform]", "ucg"]
    assert "discrete kernel" in reasons(read(SMALL + "schedules: [mutual-information]"))["Diffusion[kernel=uniform]", "ucg"]


def test_a_design_may_need_a_schedule_without_steps(read):
    text = SMALL.replace('"own.py:Autoregressive", ', "").replace("own.py:Diffusion", "own.py:Continuous")
    text = text.replace(", kernel: uniform", "").replace("Task", "Task:ucg")
    schedules = "schedules: [native, log-linear, sqrt@50, 'between(of=sqrt@50,low=0.001)', 'linear-beta-fixed@1000']"
    found = {str(cell.schedule): cell.reason for cell in expand(read(text + schedules))}
    assert [found.pop(name) for name in ("sqrt", "log-linear")] == [None, None]
    assert set(found.values()) == {f"flow needs a schedule in closed form; {name} has steps" for name in found}
    assert len(found) == 3


def test_steps_that_blocks_cannot_share_are_skipped(read):
    models = SMALL.split("models: ")[1].split("\n")[0]
    text = SMALL.replace(models, "[{name: llada, blocks: 4, label: blocks}]") + "steps: [6, 8]"
    found = {cell.steps: cell.reason for cell in expand(read(text)) if cell.family == "ucg"}
    assert found == {6: "blocks writes 4 blocks with equally many steps; 6 steps are no multiple of 4", 8: None}


def test_a_design_may_know_temperature_without_a_nucleus(read):
    models = SMALL.split("models: ")[1].split("\n")[0]
    text = (
        SMALL.replace(models, "[d3pm]") + "decode: [{name: sharp, temperature: 0.7}, {name: both, temperature: 0.7, top_p: 0.9}]"
    )
    found = {cell.decode.title: cell.reason for cell in expand(read(text)) if cell.family == "ucg"}
    assert found["sharp"] is None
    assert found["both"].startswith("d3pm takes a temperature and no top_p")


def test_a_model_that_is_told_how_to_decode_says_where_that_stands(read):
    models = SMALL.split("models: ")[1].split("\n")[0]
    with pytest.raises(GridError, match=r"unknown key 'temperature'.*beside the models: `decode: \[\{temperature: 0.5\}\]`"):
        expand(read(SMALL.replace(models, "[{name: mdlm, temperature: 0.5}]")))


@pytest.mark.parametrize("setting", ["temperature: 0.7", "top_p: 0.9"])
def test_only_autoregressive_models_know_temperature_and_nucleus(read, setting):
    models = '["own.py:Autoregressive", "own.py:Diffusion", "own.py:Unigram", "own.py:Copy"]'
    text = SMALL.replace(SMALL.split("models: ")[1].split("\n")[0], models)
    cells = expand(read(text + f"decode: [{{name: plain}}, {{name: sharp, {setting}}}]"))
    sharp = [cell for cell in cells if cell.decode.title == "sharp"]
    assert {(cell.model.title, cell.family) for cell in sharp if cell.reason is None} == {
        ("Autoregressive", "ucg"), ("Autoregressive", "t2t"),
    }  # fmt: skip
    skipped = {cell.model.title: cell.reason for cell in sharp if cell.reason is not None}
    assert set(skipped) == {"Diffusion", "Unigram", "Copy"}
    assert all("takes no temperature or top_p" in reason for reason in skipped.values())


def test_a_model_without_a_law_has_no_candidates(read):
    text = SMALL.replace("own.py:Autoregressive", "own.py:Copy").replace("Task", "Task:t2t")
    grid = read(text + "decode: [{name: one}, {candidates: 4, select: mbr}]")
    assert "writes the same text every time" in reasons(grid)["Copy", "t2t"]
    assert sum(cell.reason is None for cell in expand(grid)) == 1


def again(grid):
    """Model, family and numerics of the cells that are sampled once more, and why they are not."""
    cells = [cell for cell in expand(grid) if cell.numerics is not None]
    return {(cell.model.title, cell.family, cell.numerics.title): cell.reason for cell in cells}


NUMERICS = "numerics: [{micro_batch: 2}, {dtype: float64}]"


def test_numerics_are_those_of_the_first_trained_model(read):
    models = '["own.py:Unigram", "own.py:Diffusion", "own.py:Copy", "own.py:Autoregressive"]'
    text = SMALL.replace(SMALL.split("models: ")[1].split("\n")[0], models)
    places = (("Diffusion", "ucg"), ("Autoregressive", "t2t"))
    assert again(read(text + NUMERICS)) == {
        (*place, title): None for place in places for title in ("micro_batch=2", "dtype=float64")
    }


def test_without_a_trained_model_another_number_format_is_skipped_with_the_reason(read):
    text = SMALL.replace(SMALL.split("models: ")[1].split("\n")[0], '["own.py:Unigram"]').replace("Task", "Task:ucg")
    assert again(read(text + NUMERICS)) == {
        ("Unigram", "ucg", "micro_batch=2"): None,
        ("Unigram", "ucg", "dtype=float64"): "only a network can be sampled in float64; Task:ucg has no trained model",
    }


def test_the_judge_is_no_contestant(read):
    grid = read(SMALL + 'judge: {name: "own.py:Autoregressive"}')
    assert "cannot be a contestant" in reasons(grid)["Autoregressive", "ucg"]


def test_refused_options_name_the_model(read):
    with pytest.raises(GridError, match=r"mine.yaml:2: model 'Diffusion\[kernel=none\]' refuses .* absorbing or uniform"):
        expand(read(SMALL.replace("uniform", "none")))
    with pytest.raises(GridError, match=r"mine.yaml:3: task .* refuses its options"):
        expand(read(SMALL.replace('"own.py:Task"', '{name: "own.py:Task", sizes: 3}')))


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("{name: 'own.py:Task', sise: 3}", r"'Task\[sise=3\]' .*: unknown key 'sise'. Did you mean 'size'\? Known: size\.$"),
        ("{name: world, sise: tiny}", r"'world.*: unknown key 'sise'. Did you mean 'size' .*\? Known: .*, size, "),
        ("{name: 'own.py:Plain', size: 3}", r"'Plain\[size=3\]' .*: unknown key 'size'. Known: none\.$"),
    ],
)
def test_an_unknown_key_of_a_task_is_named(read, tmp_path, task, said):
    grid = read(SMALL.replace('"own.py:Task"', task))
    (tmp_path / "own.py").write_text(PLUGIN + "\n\nclass Plain(Task):\n    __init__ = object.__init__\n")
    with pytest.raises(GridError, match=rf"mine.yaml:3: task {said}"):
        expand(grid)


@pytest.mark.parametrize(
    ("right", "wrong", "place"), [("own.py:Autoregressive", "own.py:Autoregresive", 2), ("own.py:Task", "own.py:Tusk", 3)]
)
def test_a_class_that_a_file_has_not_is_answered_with_those_it_has(read, right, wrong, place):
    given, meant = wrong.partition(":")[2], right.partition(":")[2]
    said = rf"^\S*mine.yaml:{place}: \S*own.py: unknown class '{given}'. Did you mean '{meant}'"
    with pytest.raises(GridError, match=said) as error:
        expand(read(SMALL.replace(right, wrong)))
    known = "Autoregressive, Broken, Continuous, Copy, Diffusion, Model, Position, Task, Unigram"
    assert str(error.value).endswith(f"Known: {known}.")


def test_a_judge_that_a_file_has_not_is_named_with_its_place(read):
    with pytest.raises(GridError, match=r"^\S*mine.yaml:5: \S*own.py: unknown class 'Nobody'"):
        make_plan(read(SMALL + "judge: {name: 'own.py:Nobody'}\nmetrics: [judge-perplexity]\nprofile: test"), None)


@pytest.mark.parametrize("name", ["own.py", "own.py:"])
def test_a_file_without_the_name_of_a_class(read, name):
    with pytest.raises(GridError, match=rf"mine.yaml:2: '{name}' is a file; name the class in it: own.py:ClassName\.$"):
        read(SMALL.replace("own.py:Autoregressive", name))


def test_a_failing_import_is_no_refused_option(read, tmp_path):
    (tmp_path / "bad.py").write_text("import nowhere_at_all")
    with pytest.raises(GridError, match=r"bad.py:Task: importing .*bad.py failed: ModuleNotFoundError") as error:
        expand(read(SMALL.replace("own.py:Task", "bad.py:Task")))
    assert "refuses" not in str(error.value)


def test_a_class_that_breaks_its_contract_is_named(read):
    with pytest.raises(GridError, match=r"own\.py:Broken is registered under models but lacks fit, generate"):
        expand(read(SMALL.replace("own.py:Autoregressive", "own.py:Broken")))


@pytest.mark.parametrize("key", ["baseline", "best_baseline"])
def test_a_baseline_is_autoregressive(read, key):
    with pytest.raises(GridError, match=rf"mine.yaml:5: {key} 'Diffusion.*' is not autoregressive; .*: Autoregressive\."):
        expand(read(SMALL + f"{key}: 'Diffusion[kernel=uniform]'"))


@pytest.mark.parametrize("error", ["KeyError('kernel')", "ZeroDivisionError"])
def test_a_model_that_breaks_over_its_options_is_named(read, tmp_path, error):
    (tmp_path / "own.py").write_text(PLUGIN.replace("ValueError(", f"{error} or str("))
    with pytest.raises(GridError, match=rf"mine.yaml:2: model .* refuses its options .*: {error.partition('(')[0]}"):
        expand(read(SMALL.replace("uniform", "none")))


def test_a_file_whose_name_is_no_name_of_a_grid(tmp_path):
    path = tmp_path / "my grid.yaml"
    path.write_text("models: [gpt]\ntasks: [world]\nbudget: {tokens: 1}\n")
    with pytest.raises(GridError, match="rename the file, or write `grid: name`"):
        load(path)
    path.write_text(path.read_text() + "grid: mine\n")
    assert load(path).grid == "mine"


def test_a_file_that_is_no_text(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"models: [\xff]")
    with pytest.raises(GridError, match=r"mine.yaml: cannot be read as UTF-8"):
        load(path)
