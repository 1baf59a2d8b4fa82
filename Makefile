# Commands of the project. The first one creates .venv. Works with GNU make from 3.81 on (Debian, macOS).
#
#   make PYTHON=python3.12 demo        another Python, at least 3.11
#   make demo CONFIG=cpu               use this file of accelerate_configs/, not the one chosen for this machine
#   make demo VENV=/envs/whisper       use this environment; without VENV the active one, or .venv if none is active
#   make recipe NAME=X INPUT=corpus    also DATA, LANGUAGE, STEPS, SMALL=1, AS_ORIGINAL=1, PUSH: see recipes/README.md

PYTHON ?= python3
NAME ?= starter
# Conda's base environment does not count as chosen: it is active in every shell.
CONDA := $(if $(filter-out base,$(CONDA_DEFAULT_ENV)),$(CONDA_PREFIX))
VENV := $(or $(VENV),$(VIRTUAL_ENV),$(CONDA),.venv)
BIN := $(VENV)/bin

# Otherwise DeepSpeed compiles CUDA kernels when it is installed.
export DS_BUILD_OPS := 0

# Otherwise the launcher may give a CPU process fewer threads than there are, and prints a hint.
OMP_NUM_THREADS ?= $(shell getconf _NPROCESSORS_ONLN)
export OMP_NUM_THREADS

# $(call flag,--input,INPUT): --input "corpus" if INPUT=corpus stands in the command, not only in the environment.
flag = $(if $(filter command,$(origin $(2))),$(1) "$($(2))")
RECIPE = --name $(NAME) $(call flag,--input,INPUT) $(call flag,--data,DATA) $(call flag,--language,LANGUAGE) \
  $(call flag,--steps,STEPS) $(if $(SMALL),--small) $(call flag,--small_model,SMALL_MODEL) \
  $(if $(AS_ORIGINAL),--as_original) $(call flag,--push,PUSH) $(call flag,--accelerate,CONFIG)

# One worker per core, up to four, with one thread each: threads of several processes would slow each other down.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist worksteal

SWEEP_DIR ?= runs/$(NAME)-sweep
# Flags of train.py, given in upper case: make sweep LEARNING_RATE='1e-5 2e-5'
OURS = NAME INPUT CONFIG PYTHON VENV SWEEP_DIR
GIVEN = $(foreach name,$(sort $(.VARIABLES)),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
GRID = $(foreach flag,$(filter-out $(OURS),$(GIVEN)),'$(flag)=$($(flag))')

.PHONY: help install demo recipe sweep test test-slow style format bench

help: ## show this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## */\1|/' | awk -F'|' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(VENV)/.installed ## only create the environment, in .venv, or complete the active one

demo: ## fine-tune Whisper base on Italian telephone prompts, compare it with the base (runs/demo/report)
	@$(MAKE) --no-print-directory recipe NAME=starter

recipe: $(VENV)/.installed ## prepare, train and evaluate recipes/NAME.yaml: make recipe NAME=starter
	@export PATH="$(abspath $(BIN)):$$PATH" && plan=$$(python recipes/plan.py $(RECIPE)) && exec sh -exc "$$plan"

sweep: export NEXT_IS_AUTOMATIC := 1
sweep: $(VENV)/.installed ## compare values of flags of train.py: make sweep NAME=starter LEARNING_RATE='1e-5 2e-5'
	$(if $(GRID),,$(error Give flags of train.py in upper case, with values: make sweep LEARNING_RATE='1e-5 2e-5'))
	$(if $(wildcard recipes/$(NAME).preprocess.yaml),$(BIN)/python preprocess.py \
	  --config recipes/$(NAME).preprocess.yaml $(call flag,--input,INPUT))
	$(BIN)/python sweep.py --recipe recipes/$(NAME).yaml --grid $(GRID) \
	  $(if $(CONFIG),--accelerate_config $(CONFIG)) --output_dir $(SWEEP_DIR)

test: $(VENV)/.installed-dev ## run all quick tests
	$(PYTEST) --cpu_times this -m "not slow and not hub"

test-slow: $(VENV)/.installed-dev ## run slow tests: kills, clusters, browsers, complete recipes
	$(PYTEST) --cpu_times both -m "slow and not hub"

style: $(VENV)/.installed-dev ## check formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev ## format, and let ruff repair what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: demo $(VENV)/.installed-dev ## compare speed and memory with the usual tools, and show it in docs/performance.md
	$(BIN)/python benchmarks/bench.py --small --publish

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: $(PYTHON) is missing or older than Python 3.11." \
	    "Install a newer one and name it: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "error: $(PYTHON) cannot create a virtual environment: its venv module is incomplete." \
	    "On Debian and Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# A torch that is there before the first installation is the machine's own: it is kept, at its version.
define install
@echo "Installing into $(VENV); this takes a minute or more."
@torch=$$([ ! -e $(VENV)/.own-torch ] || $(BIN)/python -c 'import torch; print(f"torch=={torch.__version__}")') && \
  sed -E -e '/^-r /d' -e "s/^torch==.*/$${torch:-&}/" $(1) >$(VENV)/requirements.txt
@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $(VENV)/requirements.txt
@touch $@
endef

$(VENV)/.installed: requirements.txt | $(BIN)/python
	@[ -e $@ ] || ! $(BIN)/python -c 'import torch' 2>/dev/null || touch $(VENV)/.own-torch
	$(call install,requirements.txt)

$(VENV)/.installed-dev: requirements-dev.txt requirements-export.txt requirements-app.txt $(VENV)/.installed
	$(call install,requirements-dev.txt requirements-export.txt requirements-app.txt)
