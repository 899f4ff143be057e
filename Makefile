# Needs python3 (3.11 or newer) and make. `make demo` and `make test` set everything up by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SETUP := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest
PARALLEL := OMP_NUM_THREADS=1 $(PYTEST) -n auto --maxprocesses 8

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-data test-browser test-compiler test-learning lint doctest docs check bench results results-run clean

help:
	@echo "make demo          compare the ways of continuing, on data that ships with scikit-learn (4 to 10 minutes)"
	@echo "make test          the tests"
	@echo "make test-slow     the long ones; also test-data (HARE_TORTOISE_DATA), test-browser (Chromium), test-compiler (C++),"
	@echo "                   test-learning (agents that learn: half an hour)"
	@echo "make check         ruff, mypy, the examples in docstrings, the documentation"
	@echo "make docs          the documentation, into site/"
	@echo "make bench         the benchmarks, into docs/benchmarks.md"
	@echo "make results       docs/results from the metrics that are kept (a minute); results-run trains what is missing (hours)"
	@echo "make clean         remove what the others made (the demo's results too)"

setup: $(SETUP)

$(SETUP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "python 3.11 or newer is needed; name it with: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt hatchling editables
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $@

demo: $(SETUP)
	$(BIN)/hare-tortoise compare demo-warm-start demo-growing --out demo

# As many processes as cores, of one thread each; the tests of a file stay together, as many share what one has set up.
test: $(SETUP)
	$(PARALLEL) --dist loadfile

# A few long ones among many: whoever is idle takes from the others.
test-slow: $(SETUP)
	$(PARALLEL) --dist worksteal -m slow

test-data: $(SETUP)
	$(PYTEST) -m data

test-browser: $(SETUP)
	$(PYTEST) -m browser

test-compiler: $(SETUP)
	$(PYTEST) -m compiler

test-learning: $(SETUP)
	$(PARALLEL) --dist worksteal -m learning

lint: $(SETUP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

doctest: $(SETUP)
	$(PYTEST) --doctest-modules src -o doctest_optionflags=ELLIPSIS

docs: $(SETUP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

check: lint doctest docs

bench: $(SETUP)
	$(BIN)/python -m benchmarks

# Tables and pictures of docs/results from the metrics that are kept there; nothing is trained.
results: $(SETUP)
	$(BIN)/python -m evidence

# What is missing of them, found by recipe alone; LINE="digits mnist" runs these alone. Hours.
results-run: $(SETUP)
	OMP_NUM_THREADS=1 $(BIN)/python -m evidence run $(LINE)

clean:
	rm -rf $(VENV) site dist demo runs evidence-runs .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests benchmarks evidence -name __pycache__ -type d -prune -exec rm -rf {} +
