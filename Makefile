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
ORDER = --profile '$(PROFILE)' --device '$(DEVICE)' --seed '$(SEED)' --jobs '$(JOBS)' --threads '$(THREADS)' $(if $(TIMEOUT),--timeout '$(TIMEOUT)')
.PHONY: help book course test check unit pages serve pdf bench lock address doctor course-tools clean distclean linkcheck

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 18
	@echo "  variables: PROFILE=quick|paper DEVICE=auto|cpu|cuda SEED=0 CHAPTERS=4,6 JOBS=2 THREADS=1 TIMEOUT=SECONDS PYTHON=python3"
	@echo "  addresses, where \`git remote\` does not say them: REPOSITORY=https://github.com/OWNER/NAME BOOK_URL=https://OWNER.github.io/NAME/"

# Made again when what it is made from has changed, and mended when it is not where it was made: an environment knows its path.
MOVED := $(shell cd '$(VENV)' 2>/dev/null && [ "$$(cat .installed 2>/dev/null)" = "$$(pwd -P)" ] || echo again)
.PHONY: again
$(STAMP): pyproject.toml tools/environment.py $(CONSTRAINTS) $(MOVED)
	@command -v '$(PYTHON)' >/dev/null || { echo "no $(PYTHON) here; set PYTHON=path of a Python 3.11 to 3.13"; exit 2; }
	@'$(PYTHON)' tools/environment.py '$(VENV)' --constraints '$(CONSTRAINTS)' $(if $(filter file,$(origin PYTHON)),,--exactly)

book: $(STAMP) ## Install, execute the chapters that are out of date, build the site
	@$(WAVEMEM) book build $(ORDER) --chapters '$(CHAPTERS)'

course: $(STAMP) ## Build the book of a course: the edition and the parts of course.toml
	@$(WAVEMEM) course site $(ORDER)

test: check unit pages ## Lint, types, unit tests, every chapter, the book with warnings as errors, its pages in a browser

check: $(STAMP) ## Lint, formatting, types, and the workflows of .github
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/jactionlint --shellcheck=

unit: $(STAMP) ## Unit and equation tests
	@OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal --ignore=tests/book tests

pages: book ## Build the book, then examine its pages in a browser
	@$(BIN)/python -m pytest -q tests/book

serve: ## Serve the built site on this machine
	@$(WAVEMEM) book serve --port $(PORT)

pdf: book ## Print the whole book as one PDF (needs Chromium)
	@$(WAVEMEM) book pdf

bench: $(STAMP) ## Measure what training costs, against loops over PyTorch's layers and against floors (DEVICE=cuda: on a GPU)
	@$(BIN)/python -m bench --device '$(if $(filter auto,$(DEVICE)),cpu,$(DEVICE))'

doctor: $(STAMP) ## Check versions, device, threads, disk and browser
	@$(WAVEMEM) doctor

linkcheck: book ## Ask every external link of the book whether it answers (needs a network)
	@$(WAVEMEM) book links

lock: ## Write constraints.txt and environment.yml anew from the newest versions that pyproject.toml allows
	@tools/lock '$(PYTHON)'

course-tools: $(STAMP) ## Install nbgrader, in an environment of its own, with the book's kernel
	@'$(PYTHON)' -m venv .venv-nbgrader
	@.venv-nbgrader/bin/pip install --quiet -r course/requirements.txt
	@$(BIN)/python -m ipykernel install --prefix .venv-nbgrader --name wavemem > /dev/null

address: $(STAMP) ## Write the address of this copy into pyproject.toml and CITATION.cff (once, in a fork)
	@$(BIN)/python tools/address

clean: ## Remove everything generated; the environment stays
	@rm -rf _build

distclean: clean ## Remove the environment too
	@rm -rf $(VENV) .venv-nbgrader .pytest_cache .mypy_cache .ruff_cache .hypothesis
