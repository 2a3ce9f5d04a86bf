import pytest

from harness.errors import GridError, UnknownName
from harness.grid import Grid, load, shipped
from harness.grid.expansion import expand

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
        ("decode: [{candidates: 4}]", "belong together"),
        ("metrics: [bleau]", r"mine.yaml:5: unknown metric 'bleau'. Did you mean 'bleu'"),
        ("schedules: [cosin-squared]", r"mine.yaml:5: unknown schedule 'cosin-squared'. Did you mean .*cosine-squared"),
        ("schedules: [linear]", r"mine.yaml:5: schedule 'linear' says too little"),
        ("profile: smokey", r"mine.yaml:5: unknown profile 'smokey'. Did you mean 'smoke'"),
        ("baseline: gpt", r"mine.yaml:5: unknown model label 'gpt'"),
        ("resources: {fit: {gpu: 1}}", r"mine.yaml:5: unknown key 'gpu'. Did you mean 'gpus'"),
        ("resources: {fitt: {gpus: 1}}", r"mine.yaml:5: resources.fitt"),
        ("folder: /tmp", r"mine.yaml:5: unknown key 'folder'"),
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
        ("models: [gpt]\ntasks: [world]", "budget is missing"),
        ("models: [gpt]\ntasks: [world]\nbudget: {gpt2: {tokens: 1}}", "mine.yaml:3: unknown model label 'gpt2'"),
        ("models: [gpt, d3pm]\ntasks: [world]\nbudget: {gpt: {tokens: 1}}", "no budget for d3pm"),
        ("models: [gpt, gpt]\ntasks: [world]\nbudget: {tokens: 1}", "two models are called 'gpt'"),
        ("- models", "is a mapping"),
        ("models: [", "not valid YAML"),
    ],
)
def test_what_is_missing_or_unknown(read, text, said):
    with pytest.raises(GridError, match=said):
        read(text)


def test_unknown_grid():
    with pytest.raises(UnknownName, match="Did you mean 'quickstart'"):
        load("quikstart")


@pytest.mark.parametrize("name", shipped())
def test_shipped_grids_are_valid(name):
    assert load(name).grid == name


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
    assert "3000 steps on a schedule of 2000" in reasons(read(SMALL + "steps: [3000]"))["Diffusion[kernel=uniform]", "ucg"]
    assert "discrete kernel" in reasons(read(SMALL + "schedules: [mutual-information]"))["Diffusion[kernel=uniform]", "ucg"]


def test_the_judge_is_no_contestant(read):
    grid = read(SMALL + 'judge: {name: "own.py:Autoregressive"}')
    assert "cannot be a contestant" in reasons(grid)["Autoregressive", "ucg"]


def test_refused_options_name_the_model(read):
    with pytest.raises(GridError, match=r"model 'Diffusion\[kernel=none\]' refuses .* absorbing or uniform"):
        expand(read(SMALL.replace("uniform", "none")))
    with pytest.raises(GridError, match="refuses its options"):
        expand(read(SMALL.replace('"own.py:Task"', '{name: "own.py:Task", sizes: 3}')))


def test_a_class_that_breaks_its_contract_is_named(read):
    with pytest.raises(GridError, match=r"own\.py:Broken is registered under models but lacks fit, generate"):
        expand(read(SMALL.replace("own.py:Autoregressive", "own.py:Broken")))
