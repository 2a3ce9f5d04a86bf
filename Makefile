PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
export RAY_USAGE_STATS_ENABLED := 0
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true

.PHONY: setup quickstart test lint test-fast test-slow test-gpu bench

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	command -v $(PYTHON) >/dev/null || { echo "No $(PYTHON) found. Install Python 3.11 or say: make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

quickstart: setup
	$(BIN)/harness run quickstart
	$(BIN)/harness table quickstart

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test-fast: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow and not gpu and not bench" -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: setup
	$(MAKE) --jobs=2 lint test-fast

test-slow: setup
	$(BIN)/python -m pytest -m "slow and not gpu" --timeout=0

test-gpu: setup
	$(BIN)/python -m pytest tests/gpu -m gpu

bench: setup
	$(BIN)/python -m pytest tests/benchmarks -m bench --timeout=0 -s -o addopts='-q --strict-markers --import-mode=importlib'
