# Everything a fresh clone needs. The two commands: `make demo` and `make test`.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STUDY  ?= studies/two_step_demo.toml

# Python compiles what is imported when it first is, also where the environment says that it should keep nothing: else
# each process of the demo and of the tests would compile the libraries anew, for a quarter of a minute.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types contracts unit bench clean

help: ## say what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## /  make \1\t/' | expand -t 18

setup: $(VENV)/.installed ## make the virtual environment and install the pinned versions

# The constraints pin torch by its version alone: a machine with a GPU gets the CUDA build of the same release.
# Most of what the libraries bring is never imported; the rest is compiled once here, not by all tests at the same time.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -c 'import jobs.pipeline, jobs.report, mlflow'
	touch $@

demo: setup ## run the complete Two-Step study on the shipped model: record, MLflow, report
	$(BIN)/tdlens db upgrade
	$(BIN)/tdlens run $(STUDY)

# Types take one core half a minute, in which the first tests mostly wait.
test: setup ## style, types, import contracts and all tests
	$(MAKE) --jobs 2 lint types contracts unit

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

contracts: setup
	$(BIN)/lint-imports

# One thread a worker: with more they would only wait for one another. Three workers on two cores: many tests wait for
# a scheduler, a lease or another process.
unit: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

bench: setup ## measure what benchmarks/README.md reports
	$(BIN)/python benchmarks/capture.py
	$(BIN)/python benchmarks/sae_training.py
	$(BIN)/python benchmarks/sae_ranks.py
	$(BIN)/python benchmarks/sae_correlation.py
	PYTHONPATH=. $(BIN)/python benchmarks/ledger.py
	PYTHONPATH=. $(BIN)/python benchmarks/record_correlations.py

clean: ## remove the virtual environment and caches, never the record
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
