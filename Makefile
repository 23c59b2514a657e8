# Every target makes or updates .venv itself; it is current while .venv/.NAME is newer than
# pyproject.toml. Needs make and Python 3.11 or newer (another one: make PYTHON=python3.12 …); uv is
# used where there is one.

PYTHON ?= python3
WORKERS ?= 2
BIN := .venv/bin
CORE := .venv/.core
DEV := .venv/.dev

ifneq ($(shell command -v uv),)
MAKE_VENV = uv venv --quiet --python $(PYTHON) .venv
INSTALL = uv pip install --quiet --python $(BIN)/python
else
MAKE_VENV = $(PYTHON) -m venv .venv
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
endif

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test test-exhaustive lint docs docs-check notebook wheel clean

help:
	@echo 'make quickstart  install, then search a network for handwritten digits on this CPU'
	@echo 'make setup       install for development'
	@echo 'make test        the tests (WORKERS=2 processes)'
	@echo 'make test-exhaustive  more cases of what those check'
	@echo 'make lint        style, types, layers'
	@echo 'make docs        write docs/cli.md and the JSON schema of the experiment file'
	@echo 'make notebook    make and run experiments/results.ipynb'
	@echo 'make wheel       build the wheel into dist/'
	@echo 'make clean       remove .venv and everything built'

setup: $(DEV)

# A second time it goes on with the same run, or shows its front.
quickstart: $(CORE)
	$(BIN)/nas run experiments/quickstart.yaml \
	  $(if $(wildcard runs/quickstart/config.resolved.yaml),--resume)

test: $(DEV)
	$(BIN)/pytest -n $(WORKERS) --dist worksteal -m 'not exhaustive'

test-exhaustive: $(DEV)
	$(BIN)/pytest -n $(WORKERS) --dist worksteal -m exhaustive

lint: $(DEV)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/basedpyright
	$(BIN)/lint-imports

docs: $(DEV)
	$(BIN)/python -m nas.config.json_schema
	mkdir -p docs
	$(BIN)/python -m typer nas.cli.app utils docs --name nas --title 'Commands' --output docs/cli.md

docs-check: $(DEV)
	$(BIN)/python -m nas.config.json_schema --check
	mkdir -p build
	$(BIN)/python -m typer nas.cli.app utils docs --name nas --title 'Commands' --output build/cli.md
	diff docs/cli.md build/cli.md || { echo 'docs/cli.md is not current; run: make docs' >&2; exit 1; }

# Opens the run that HWNAS_RUN names, or that of the quickstart.
notebook: $(DEV)
	$(BIN)/jupytext --quiet --to ipynb --set-kernel python3 experiments/results.py
	HWNAS_RUN=$${HWNAS_RUN:-$(CURDIR)/runs/quickstart} \
	  $(BIN)/jupyter-execute --inplace experiments/results.ipynb

wheel: $(DEV)
	rm -rf dist
	$(BIN)/python -m build --wheel --outdir dist

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo '$(PYTHON) is not Python 3.11 or newer; give another: make PYTHON=python3.12 …' >&2; exit 1; }
	$(MAKE_VENV)

$(CORE): pyproject.toml | $(BIN)/python
	$(INSTALL) --editable .
	@touch $@

# The core is part of it.
$(DEV): pyproject.toml | $(BIN)/python
	$(INSTALL) --editable '.[dev]'
	@touch $(CORE) $@
