# Each target makes its own .venv from the pinned constraints when it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXTRAS := canon,stage,learn,evaluate,preview,runtime,export,dev

.PHONY: demo test quick lint types bench constraints clean help

help:  ## Show this list.
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[$(EXTRAS)]"
	@touch $(STAMP)

demo: $(STAMP)  ## Walk the instrument on the simulated rig; leaves everything in ./demo.
	$(BIN)/rig demo --out demo

test: $(STAMP)  ## Run every test.
	$(BIN)/python -m pytest --numprocesses 2

quick: $(STAMP)  ## Run the tests that take seconds.
	$(BIN)/python -m pytest --numprocesses 2 -m "not slow"

lint: $(STAMP)  ## Style, types and layers.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)  ## Repeat the measurements behind every stated figure (slow).
	for one in benchmarks/[a-z]*.py; do $(BIN)/python $$one || exit 1; done

constraints:  ## Resolve the pinned versions again (UV_FIND_LINKS: a folder with the CPU build of torch).
	echo "torch==2.13.0" | uv pip compile pyproject.toml - --all-extras --python-version 3.11 \
		--quiet --no-header --no-annotate | sed 's/+cpu$$//' > constraints.txt

clean:  ## Remove the environment and caches.
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
