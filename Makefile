# Waves of Working Memory. `make help` lists what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
PROFILE ?= quick
DEVICE ?= auto
SEED ?= 0
CHAPTERS ?=
JOBS ?= 2
# Threads of each chapter: more than one can change the last digits of its numbers, so it is executed anew.
THREADS ?= 1
TIMEOUT ?=
PORT ?= 8000
# CONSTRAINTS= (empty) installs the newest versions that pyproject.toml allows.
CONSTRAINTS ?= constraints.txt

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WAVEMEM := $(BIN)/wavemem
# One number for everything that a chapter may be asked to do.
ORDER = --profile '$(PROFILE)' --device '$(DEVICE)' --seed '$(SEED)' --chapters '$(CHAPTERS)' --jobs '$(JOBS)' --threads '$(THREADS)' --timeout '$(TIMEOUT)'
TORCH = $(or $(shell sed -n 's/^\(torch==[^ ;+]*\).*/\1/p' $(CONSTRAINTS) /dev/null 2>/dev/null),torch)

.PHONY: help book test check unit pages serve bench lock doctor clean distclean linkcheck

help: ## List the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## /  make \1\t/' | expand -t 18
	@echo "  variables: PROFILE=quick|paper DEVICE=auto|cpu|cuda SEED=0 CHAPTERS=4,6 JOBS=2 THREADS=1 TIMEOUT=SECONDS PYTHON=python3"

# The environment is made again only when what it is made from has changed. PyTorch comes first and by its exact version:
# whatever provides that version, a CPU build included, then satisfies every later requirement.
$(STAMP): pyproject.toml $(CONSTRAINTS)
	@command -v '$(PYTHON)' >/dev/null || { echo "no $(PYTHON) here; set PYTHON=path of a Python 3.11 or newer"; exit 2; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is $$('$(PYTHON)' -V 2>&1); needed: Python 3.11 or newer (set PYTHON=path of one)"; exit 2; }
	@test -x $(BIN)/python || '$(PYTHON)' -m venv $(VENV) || \
	  { echo "$(PYTHON) cannot make a virtual environment; on Debian: apt-get install python3-venv"; exit 2; }
	@echo "installing into $(VENV) (once, and again when pyproject.toml or constraints.txt change)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(CONSTRAINTS),-c $(CONSTRAINTS)) '$(TORCH)'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(CONSTRAINTS),-c $(CONSTRAINTS)) -e '.[book,test]'
	@touch $@

book: $(STAMP) ## Install, execute the chapters that are out of date, build the site
	@$(WAVEMEM) book build $(ORDER)

test: check unit pages ## Lint, types, unit tests, every chapter, the book with warnings as errors, its pages in a browser

check: $(STAMP) ## Lint, formatting and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

unit: $(STAMP) ## Unit and equation tests
	@OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) --ignore=tests/book tests

pages: book ## Build the book, then examine its pages in a browser
	@$(BIN)/python -m pytest -q tests/book

serve: ## Serve the built site on this machine
	@$(WAVEMEM) book serve --port $(PORT)

bench: $(STAMP) ## Measure the speed of training against loops over torch.nn.RNN and torch.nn.Conv1d
	@$(WAVEMEM) bench

doctor: $(STAMP) ## Check versions, device, threads, disk and browser
	@$(WAVEMEM) doctor

linkcheck: book ## Ask every external link of the book whether it answers (needs a network)
	@$(WAVEMEM) book links

lock: ## Write constraints.txt and environment.yml anew from the newest versions that pyproject.toml allows
	@tools/lock '$(PYTHON)'

clean: ## Remove everything generated; the environment stays
	@rm -rf _build

distclean: clean ## Remove the environment too
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
