# Everything runs in .venv, which the first call makes. A CPU-only torch is smaller than the default:
#   make demo PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
PYTHON ?= python3
PIP_ARGS ?=
OUT ?= runs/demo
DATA ?=

VENV := .venv
ENGINE := $(wildcard src/tinybert/engine/*.cpp src/tinybert/engine/*.inc)
BIN := $(VENV)/bin
DEV := $(VENV)/.dev
# The development environment holds all that the demonstration needs.
READY := $(if $(wildcard $(DEV)),$(DEV),$(VENV)/.demo)

.DELETE_ON_ERROR:
.PHONY: help demo test check fix fuzz arm bench docs

help:
	@echo "make demo   distil a student on embedded data and open its report (OUT=$(OUT))"
	@echo "make test   run the tests"
	@echo "make check  ruff, format, mypy"
	@echo "make fix    let ruff mend what it can"
	@echo "make fuzz   damaged files and wild ids for the engine, under AddressSanitizer"
	@echo "make arm    the engine built for 64-bit ARM, emulated, against this processor's answers"
	@echo "make bench  measure start-up and quality (DATA=DIR adds SST-2), refresh the tables"
	@echo "make docs   refresh the tables of the READMEs and the reference"

demo: $(READY)
	$(BIN)/tinybert demo --out $(OUT)

test: $(DEV)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

check: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fix: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

fuzz: $(DEV)
	$(BIN)/python tests/fuzz_engine.py --rounds 3000

arm: $(DEV)
	$(BIN)/pip install --quiet $(PIP_ARGS) -r requirements/arm.txt
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 0 -m slow tests/runtime/test_engine.py -k arm

bench: $(DEV)
	$(BIN)/python bench/quality.py --sets helpdesk $(if $(DATA),sst2-sentences sst2 --data $(DATA))
	test -d $(OUT)/artifact || $(BIN)/tinybert demo --out $(OUT) --no-open
	$(BIN)/python bench/demo.py
	$(BIN)/python bench/cold.py --run $(OUT)
	$(BIN)/python bench/tables.py

docs: $(DEV)
	$(BIN)/python bench/tables.py
	$(BIN)/python docs/make_reference.py

$(VENV)/bin/pip:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is wanted")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: requirements/demo.txt requirements/train.txt requirements/base.txt pyproject.toml $(ENGINE) | $(VENV)/bin/pip
	$(BIN)/pip install --quiet $(PIP_ARGS) -r requirements/demo.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): $(wildcard requirements/*.txt) pyproject.toml $(ENGINE) | $(VENV)/bin/pip
	$(BIN)/pip install --quiet $(PIP_ARGS) -r requirements/dev.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
