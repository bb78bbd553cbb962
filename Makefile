# `make lab` runs the exercise end to end; `make test` runs the whole test suite. Both set everything up first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: lab test lint setup runtime packages clean
lab: setup
	$(BIN)/cloister lab --report lab-report.html

test: setup packages lint
	$(BIN)/pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

setup: $(VENV)/.installed runtime

runtime:
	$(MAKE) -s -C runtime

$(VENV)/.installed: pyproject.toml runtime/hatch_build.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist
	$(MAKE) -C runtime clean
