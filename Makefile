# `make train` and `make test` need Python 3.10 or newer, and nothing else.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup train study report test test-quick test-long test-gpu check bench sbom audit clean
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

setup: .venv/installed ## create .venv with all that a run needs

train: .venv/installed ## train LeNet with Adam (ARGS="lr=0.001" for other settings)
	$(BIN)/python -m src.train model=lenet optimizer=adam $(ARGS)

study: .venv/installed ## the 18 runs of the assignment (ARGS="seed=0,1,2"); again, and it goes on where it was
	$(BIN)/python -m src.train +study=assignment $(ARGS)

report: .venv/installed ## tables, figures and a page of all runs (ARGS="+study=assignment")
	$(BIN)/python -m src.report $(ARGS)

test: .venv/tested ## run the tests (ARGS="-k resume" for some of them)
	$(BIN)/python -m pytest $(ARGS)

test-quick: .venv/tested ## the tests that start no process, in a minute
	$(BIN)/python -m pytest -m "not slow" $(ARGS)

test-long: .venv/tested ## all tests, and those that take longer
	RAVINE_TEST_LONG=1 $(BIN)/python -m pytest $(ARGS)

test-gpu: .venv/tested ## the tests that need a GPU
	RAVINE_TEST_GPU=1 $(BIN)/python -m pytest -n0 tests/gpu $(ARGS)

check: .venv/tested ## format, lint and types, as CI does
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: .venv/tested ## tables of speed, in outputs/bench/ (QUICK=1 for some of them)
	for part in operators steps probe fused studies growth start frame $(if $(QUICK),,launchers); do \
	  QUICK=$(QUICK) $(BIN)/python -m tests.benchmarks.$$part || exit 1; done

sbom: .venv/installed ## what .venv holds, as outputs/sbom.json in CycloneDX's format
	@mkdir -p outputs
	$(TOOL) cyclonedx-bom cyclonedx-py environment --output-format JSON --output-file outputs/sbom.json $(BIN)/python

audit: .venv/installed ## known vulnerabilities of the pinned versions, by the Python Packaging Advisory Database
	$(TOOL) pip-audit pip-audit --requirement constraints.txt --no-deps --disable-pip

clean: ## remove the environment and caches; outputs/ stays
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests -name __pycache__ -prune -exec rm -rf {} +

# uv installs in half a minute what takes pip minutes. Bytecode now, or each start would pay for it where it cannot be written.
# RESOLUTION=lowest-direct installs the lowest versions that pyproject.toml allows, instead of constraints.txt.
VERSIONS = $(if $(filter-out pinned,$(RESOLUTION)),--resolution $(RESOLUTION),--constraints constraints.txt)
INSTALL = $(BIN)/python -m uv pip install --quiet --python $(BIN)/python --compile-bytecode $(VERSIONS)

# Tools that nothing else needs, in an environment of their own.
TOOL = $(BIN)/python -m uv tool run --quiet --constraints constraints.txt --from

.venv/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "Ravine needs Python 3.10 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || \
	  { rm -rf .venv; echo "this Python has no venv; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	@touch $@

.venv/installed: .venv/python pyproject.toml constraints.txt
	@echo "installing into .venv (some 2.5 GB are downloaded the first time)" >&2
	@$(INSTALL) --editable .
	@touch $@

.venv/tested: .venv/python pyproject.toml constraints.txt
	@echo "installing into .venv, with what the tests need" >&2
	@$(INSTALL) --editable '.[test]'
	@touch $@ .venv/installed
