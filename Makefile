# `make demo` and `make test` work in a fresh clone with Python 3.11 or newer; both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Processes that share the tests: `make test PROCESSES=4`; 0 runs them in one, for a debugger.
PROCESSES ?= 2
PYTEST := $(BIN)/python -m pytest -n $(PROCESSES)
# Reading all tests takes longer than running some: files in which a mark does not stand are not read for it.
MARKED = $$(grep -rlw --include='test_*.py' 'pytest.mark.$(1)' tests)
DEMO_FLAGS := $(if $(filter once,$(DEMO)),--once)

# Dagster and its tools read their telemetry switch from an instance: never run them without one.
export DAGSTER_HOME := $(CURDIR)/.loosh/dagster_check

.PHONY: help setup demo up devnet test test-slow test-scale faults check docs docs-serve reference format env-example golden sample-bundle wheel clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(STAMP) ## create .venv and install everything, once

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(f"Python 3.11 to 3.13 is needed, this is {v.major}.{v.minor}; run make PYTHON=python3.12" if not (3, 11) <= v[:2] <= (3, 13) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

$(DAGSTER_HOME)/dagster.yaml: dagster.yaml
	@mkdir -p $(DAGSTER_HOME) && cp dagster.yaml $@

demo: setup ## a whole subnet and a validator on this machine; DEMO=once ends by itself
	$(BIN)/loosh demo $(DEMO_FLAGS)

up: setup ## run the validator that the environment and .env describe
	$(BIN)/loosh up

devnet: setup ## serve a subnet on this machine: chain, miners, Challenge API
	$(BIN)/loosh devnet

test: setup $(DAGSTER_HOME)/dagster.yaml ## the quick tests; about ten minutes on two cores
	$(PYTEST) -m "not slow and not scale"

test-slow: setup $(DAGSTER_HOME)/dagster.yaml ## tests that take seconds each, and the end-to-end ones
	$(PYTEST) -m "slow and not scale" $(call MARKED,slow)

test-scale: setup $(DAGSTER_HOME)/dagster.yaml ## tests of large amounts
	$(BIN)/python -m pytest -m scale $(call MARKED,scale)

faults: setup $(DAGSTER_HOME)/dagster.yaml ## kill, fill and confuse a validator; one line of JSON a fault (docs/reliability.md)
	@$(BIN)/python -m tests.faults

check: setup $(DAGSTER_HOME)/dagster.yaml ## lint, types, and whether Dagster loads everything
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/dagster definitions validate -w workspace.yaml
	$(BIN)/dg check toml

docs: setup ## build the site over docs/ into site/; a broken link fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: setup ## show that site on port 8008, made anew with each change
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --dev-addr 127.0.0.1:8008

reference: setup $(DAGSTER_HOME)/dagster.yaml ## write docs/reference anew, from settings, commands and the ingress
	$(BIN)/python -m tests.docs.reference

format: setup ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

env-example: setup ## write env.example anew, from the settings
	$(BIN)/loosh config example > env.example

golden: setup $(DAGSTER_HOME)/dagster.yaml ## write tests/golden/weights.md anew: what scoring pays for a frozen day
	$(BIN)/python -m tests.golden.history --write

sample-bundle: setup $(DAGSTER_HOME)/dagster.yaml ## make docs/sample.loosh-audit anew: a subnet and a validator run for it
	$(BIN)/python -m loosh_pipeline.sample_bundle docs/sample.loosh-audit

wheel: setup ## build dist/*.whl, which holds everything that is needed to run
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

clean: ## remove what was installed or built and what demos and checks left; a validator's own data stays
	rm -rf $(VENV) .loosh/demo .loosh/dagster_check site dist build
