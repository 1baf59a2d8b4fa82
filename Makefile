# Commands of the project. The first one creates .venv. Works with GNU make from 3.81 on (Debian, macOS).
#
#   make PYTHON=python3.12 demo        another Python, at least 3.11
#   make demo CONFIG=cpu               use this file of accelerate_configs/, not the one chosen for this machine

PYTHON ?= python3
NAME ?= starter
CONFIG ?=
BIN := .venv/bin

# Otherwise DeepSpeed compiles CUDA kernels when it is installed.
export DS_BUILD_OPS := 0

# Otherwise the launcher may give a CPU process fewer threads than there are, and prints a hint.
OMP_NUM_THREADS ?= $(shell getconf _NPROCESSORS_ONLN)
export OMP_NUM_THREADS

LAUNCH = $(BIN)/accelerate launch
PICK = $(BIN)/python -c "from utils.runtime.devices import pick_accelerate_config as pick; print(pick())"
# $(call if_recipe,STAGE,COMMAND): run COMMAND on recipes/NAME.STAGE.yaml if that file exists.
if_recipe = $(if $(wildcard recipes/$(NAME).$(1).yaml),$(2) recipes/$(NAME).$(1).yaml)

# One worker per core, up to four, with one thread each: threads of several processes would slow each other down.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist worksteal

.PHONY: help install demo recipe test test-slow style format bench

help: ## show this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## */\1|/' | awk -F'|' '{printf "  make %-10s %s\n", $$1, $$2}'

install: .venv/.installed ## only create the environment, in .venv

demo: ## fine-tune Whisper base on Italian telephone prompts, compare it with the base (runs/demo/report)
	@$(MAKE) --no-print-directory recipe NAME=starter

# Each script but the last ends with the command to run next; here the next one runs by itself.
recipe: export NEXT_IS_AUTOMATIC := $(if $(wildcard recipes/$(NAME).evaluate.yaml),1)
recipe: .venv/.installed ## prepare, train and evaluate recipes/NAME.yaml: make recipe NAME=starter
	@test -f recipes/$(NAME).yaml || { \
	  echo "error: recipes/$(NAME).yaml: no such recipe. recipes/README.md lists them." >&2; exit 2; }
	$(call if_recipe,preprocess,$(BIN)/python preprocess.py --config)
	$(LAUNCH) --config_file accelerate_configs/$(or $(CONFIG),$(shell $(PICK))).yaml train.py --config recipes/$(NAME).yaml
	$(call if_recipe,evaluate,$(BIN)/python evaluate.py --config)

test: .venv/.installed-dev ## run all quick tests
	$(PYTEST) --cpu_times this -m "not slow and not hub"

test-slow: .venv/.installed-dev ## run slow tests: kills, clusters, browsers, complete recipes
	$(PYTEST) --cpu_times both -m "slow and not hub"

style: .venv/.installed-dev ## check formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/.installed-dev ## format, and let ruff repair what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: demo .venv/.installed-dev ## compare speed and memory with the usual tools, and show it in docs/performance.md
	$(BIN)/python benchmarks/bench.py --small --publish

.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: $(PYTHON) is missing or older than Python 3.11." \
	    "Install a newer one and name it: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "error: $(PYTHON) cannot create a virtual environment: its venv module is incomplete." \
	    "On Debian and Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv

.venv/.installed: requirements.txt | .venv/bin/pip
	@echo "Installing into .venv; this takes a minute or more."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/.installed-dev: requirements-dev.txt requirements-export.txt requirements-app.txt .venv/.installed
	@echo "Installing what the tests need into .venv; this takes a minute or more."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@
