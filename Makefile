# Says what each target does: make help. All set up what they need in .venv/ and leave nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Its bars where there is a terminal: what training needs takes minutes.
QUIET := $(shell [ -t 2 ] || echo --quiet)
# What is needed is named in pyproject.toml, the versions are those of requirements.txt.
PIP := $(BIN)/python -m pip install $(QUIET) --disable-pip-version-check --constraint requirements.txt
# A worker a core; what one has left when the other is through is shared.
SIDE_BY_SIDE := --numprocesses logical --dist worksteal

LOG := $(VENV)/quarto-cli.log
QUARTO = $$(command -v quarto || echo $(BIN)/quarto)
NEEDS_QUARTO = command -v $(QUARTO) >/dev/null || { \
  echo "make $@ needs Quarto and found none on the path: install it from https://quarto.org" >&2; exit 2; }
# 0: the book is of what is here now; 2: no render can succeed, and Quarto removes the book first.
CHECK = $(BIN)/python chapters/fresh.py check
export QUARTO_PYTHON := $(abspath $(BIN)/python)
# As Quarto does: the line of _environment.local, unless the variable is set.
LOCAL_CACHE := $(shell sed -n 's/^CIFAR_STUDY_CACHE=//p' _environment.local 2>/dev/null | tr -d "'\"")
ifneq ($(LOCAL_CACHE),)
export CIFAR_STUDY_CACHE ?= $(LOCAL_CACHE)
endif

.PHONY: help report plain preview pdf train asked test test-long browser lint bench clean
.DEFAULT_GOAL := report

help:
	@echo "make report     the report in _book/, by Quarto; where there is none, as make plain"
	@echo "make plain      the report as one file to hand in, report.html, without Quarto"
	@echo "make preview    the report in a browser; what is saved shows at once"
	@echo "make pdf        the report as report.pdf"
	@echo 'make train      a stage: make train STAGE=4, or STAGES="4 5", ARGS="--epochs 3 --cache mine"'
	@echo "make test       the tests; make test-long those that take long and seldom break"
	@echo "make lint       style, and which folder imports which"
	@echo "make bench      how long an epoch takes here, and in two other loops"
	@echo "make clean      removes what renders leave"

# The package quarto-cli downloads Quarto from a code host while it installs, so it is tried once.
GET_QUARTO = [ ! -e $(LOG) ] && echo "no quarto on the path: trying the package quarto-cli" \
  && { $(PIP) --requirement requirements-quarto.txt >$(LOG).part 2>&1 && rm $(LOG).part \
  || { mv $(LOG).part $(LOG); false; }; }

report: $(VENV)/.report
	@$(CHECK); found=$$?; [ $$found -lt 2 ] || exit 2; \
	if [ $$found = 0 ]; then echo "_book is up to date"; \
	elif command -v quarto >/dev/null || [ -x $(BIN)/quarto ] || { $(GET_QUARTO); }; \
	then $(QUARTO) render; \
	else \
	  echo "No Quarto on the path, and its download failed (see $(LOG); remove it to try again):" \
	    "making the plain edition, report.html"; \
	  $(BIN)/python -m plain; \
	fi

plain: $(VENV)/.report
	@$(BIN)/python -m plain

preview: $(VENV)/.report
	@$(NEEDS_QUARTO)
	@$(CHECK); [ $$? -lt 2 ] || exit 2
	@$(QUARTO) preview

# Typst comes with Quarto. When it fails it leaves its source behind.
pdf: $(VENV)/.report
	@$(NEEDS_QUARTO)
	@$(CHECK); [ $$? -lt 2 ] || exit 2
	@trap 'rm -rf _pdf index.typ index_files chapters/*_files' EXIT; trap 'exit 130' INT TERM; \
	  $(QUARTO) render --profile pdf --to typst && mv _pdf/report.pdf report.pdf && echo "wrote report.pdf"

STAGES ?= $(STAGE)
train: asked $(VENV)/.train
	@$(BIN)/python -m cifar_study.train --stage $(STAGES) $(ARGS)

asked:
	@[ -n "$(strip $(STAGES))" ] || { \
	  echo 'say which: make train STAGE=4, or STAGES="4 5", or STAGES=all' >&2; exit 2; }

test: $(VENV)/.all browser
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not long"

test-long: $(VENV)/.all browser
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m long

# A Chromium on the path, else Playwright's own download, else the distribution's package.
browser: $(VENV)/.all
	@for name in chromium chromium-browser google-chrome; do \
	  command -v $$name >/dev/null && exit 0; done; \
	$(BIN)/playwright install chromium >$(VENV)/browser.log 2>&1 && exit 0; \
	[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && (apt-get update && apt-get install --yes chromium) >>$(VENV)/browser.log 2>&1 && exit 0; \
	echo "No Chromium on the path, and none could be installed (see $(VENV)/browser.log):" \
	  "the tests in a browser are skipped"

lint: $(VENV)/.all
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports --no-cache

# Fills cache/epoch-times.json; an hour on one core with nothing beside it.
BENCH := .venv-bench
bench: $(VENV)/.all $(BENCH)/.all
	@$(BIN)/python -m benchmarks.epochs
	@$(BIN)/python -m benchmarks.compare

$(BENCH)/.all: benchmarks/requirements.txt
	@echo "setting up $(BENCH) with Keras on TensorFlow, for make bench alone"
	@$(PYTHON) -m venv $(BENCH)
	@$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

clean:
	rm -rf _book _pdf report.html report.pdf .quarto _freeze site_libs index_files chapters/*_files
	rm -f $(patsubst %.qmd,%.html,$(wildcard *.qmd chapters/*.qmd)) *.quarto_ipynb* chapters/*.quarto_ipynb*

RECENT = import sys; sys.exit(sys.version_info < (3, 11))
OLD = echo "make needs Python 3.11 or newer, and $(1) is none: make $(or $(MAKECMDGOALS),report)" \
  "PYTHON=python3.11 (or a newer one)" >&2; exit 2

# The stamp comes last: an environment that a kill or a missing package left half made is made again.
$(VENV)/.works:
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	  $(PYTHON) -c "$(RECENT)" 2>/dev/null || { $(call OLD,$(PYTHON)); }; \
	  rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); }
	@$(BIN)/python -c "$(RECENT)" || { $(call OLD,the Python of $(VENV)/ (remove it)); }
	@touch $@

NEEDS := requirements.txt pyproject.toml
$(VENV)/.report: $(NEEDS) | $(VENV)/.works
	@echo "setting up $(VENV) for rendering"
	@$(PIP) --editable .
	@touch $@

$(VENV)/.train: $(NEEDS) | $(VENV)/.works
	@echo "setting up $(VENV) for training (several gigabytes: torch)"
	@$(PIP) --editable ".[train]"
	@touch $(VENV)/.report $@

$(VENV)/.all: $(NEEDS) | $(VENV)/.works
	@echo "setting up $(VENV) with everything (several gigabytes: torch)"
	@$(PIP) --editable ".[train,cluster,test]"
	@touch $(VENV)/.report $(VENV)/.train $@
