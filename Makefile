# make report    the report in _book/, by Quarto where it is, else as the plain edition
# make preview   the report in a browser; what is saved shows at once
# make pdf       the report as report.pdf
# make train     trains a stage: make train STAGE=4, or STAGES="4 5", ARGS="--epochs 3 --limit 5000"
# make test      every test
# All set up what they need in .venv/ and leave nothing else behind.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Its bars where there is a terminal: what training needs takes minutes.
QUIET := $(shell [ -t 2 ] || echo --quiet)
PIP := $(BIN)/python -m pip install $(QUIET) --disable-pip-version-check
# What rendering needs; versions are those of requirements.txt.
REPORT := numpy scipy safetensors matplotlib pandas tabulate pyarrow pillow \
  ipykernel ipython nbclient nbformat PyYAML pypandoc_binary
# What training needs on top, its pictures included.
TRAIN := torch torchvision timm filelock tqdm huggingface_hub scikit-image

# A worker a core; the tests of a file stay together, as they share what is costly.
SIDE_BY_SIDE := --numprocesses logical --dist loadfile --no-loadscope-reorder

LOG := $(VENV)/quarto-cli.log
QUARTO = $$(command -v quarto || echo $(BIN)/quarto)
NEEDS_QUARTO = command -v $(QUARTO) >/dev/null || { \
  echo "make $@ needs Quarto and found none on the path: install it from https://quarto.org" >&2; exit 2; }
# 0: the book is of what is here now; 2: no render can succeed, and Quarto removes the book first.
CHECK = $(BIN)/python chapters/fresh.py check
export QUARTO_PYTHON := $(abspath $(BIN)/python)

# By another name, as `make -n` runs what names MAKE itself.
AGAIN = $(MAKE) --no-print-directory

.PHONY: report plain preview pdf train asked test browser test-fast lint bench clean
.DEFAULT_GOAL := report

GET_QUARTO = [ ! -e $(LOG) ] && echo "no quarto on the path: trying the package quarto-cli" \
  && { $(PIP) --constraint requirements.txt quarto-cli >$(LOG).part 2>&1 && rm $(LOG).part \
  || { mv $(LOG).part $(LOG); false; }; }

# The package quarto-cli downloads Quarto from a code host while it installs, so it is tried once.
report: $(VENV)/.report
	@$(CHECK); found=$$?; [ $$found -lt 2 ] || exit 2; \
	if [ $$found = 0 ]; then echo "_book is up to date"; \
	elif command -v quarto >/dev/null || [ -x $(BIN)/quarto ] || { $(GET_QUARTO); }; \
	then $(QUARTO) render; \
	else \
	  echo "No Quarto on the path, and its download failed (see $(LOG); remove it to try again):" \
	    "making the plain edition"; \
	  $(AGAIN) plain; \
	fi

plain: $(VENV)/.report
	@$(BIN)/python -m plain
	@find _book -mindepth 1 -not -path _book/index.html -delete  # an earlier book of Quarto's

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
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE)

# A Chromium on the path, else Playwright's own download, else the distribution's package.
browser: $(VENV)/.all
	@for name in chromium chromium-browser google-chrome; do \
	  command -v $$name >/dev/null && exit 0; done; \
	$(BIN)/playwright install chromium >$(VENV)/browser.log 2>&1 && exit 0; \
	[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && (apt-get update && apt-get install --yes chromium) >>$(VENV)/browser.log 2>&1 && exit 0; \
	echo "No Chromium on the path, and none could be installed (see $(VENV)/browser.log):" \
	  "the tests in a browser are skipped"

test-fast: $(VENV)/.all
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not long and not browser"

lint: $(VENV)/.all
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports --no-cache

BENCH := .venv-bench

# Fills cache/speed-….json, named after the processor; half an hour on two cores.
bench: $(VENV)/.all $(BENCH)/.all
	@$(BIN)/python -m benchmarks.speed
	@$(BIN)/python -m benchmarks.speed --scaling

$(BENCH)/.all: benchmarks/requirements.txt
	@echo "setting up $(BENCH) with Keras on TensorFlow, for make bench alone"
	@$(PYTHON) -m venv $(BENCH)
	@$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

clean:
	rm -rf _book _pdf report.pdf .quarto _freeze site_libs index_files chapters/*_files
	rm -f $(patsubst %.qmd,%.html,$(wildcard *.qmd chapters/*.qmd)) *.quarto_ipynb chapters/*.quarto_ipynb

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

$(VENV)/.report: requirements.txt | $(VENV)/.works
	@echo "setting up $(VENV) for rendering"
	@$(PIP) --constraint requirements.txt $(REPORT)
	@touch $@

$(VENV)/.train: requirements.txt | $(VENV)/.works
	@echo "setting up $(VENV) for training (several gigabytes: torch)"
	@$(PIP) --constraint requirements.txt $(REPORT) $(TRAIN)
	@touch $(VENV)/.report $@

# quarto-cli fetches Quarto while it installs and is tried on its own.
$(VENV)/.all: requirements.txt requirements-cluster.txt | $(VENV)/.works
	@echo "setting up $(VENV) with everything (several gigabytes: torch)"
	@grep -v quarto-cli requirements.txt > $(VENV)/requirements.txt
	@$(PIP) --requirement $(VENV)/requirements.txt --requirement requirements-cluster.txt
	@touch $(VENV)/.report $(VENV)/.train $@
