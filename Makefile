# Every target creates .venv and installs the requirements first.
#
# make demo         trains small encoders on scikit-learn's photographs, fits a regressor and scores images: five minutes;
#                   make demo CLIVE=FOLDER takes photographs and opinions of LIVE In the Wild, unpacked there
# make test         runs all tests
# make test-fast    leaves out the tests that start processes or take seconds: a minute and a half
# make test-faults  kills a training 20 times, replaces nodes, and compares the end with an undisturbed run: 12 minutes
# make test-slurm   runs the sbatch script of docs/training.md on a SLURM cluster that it starts on this machine
# make lint         checks style (ruff) and types (mypy)
# make format       applies ruff's fixes and formatting
# make fuzz         reads 30,000 mutated images, 5,000 tables, 500 checkpoints and 500 regressors
# make bench        prints the speed of this machine: nine minutes
# make clean        removes .venv and the folder of the demo
#
# PYTHON=python3.12 make ... selects the interpreter.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
# Several workers, each with whole files, since the tests of a file share its trainings; files that start processes first.
PARALLEL := --numprocesses auto --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-fast test-faults test-slurm lint format fuzz bench clean

# Runs once, and again when the requirements change.
$(VENV)/installed: requirements.txt requirements-dev.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or later is needed; PYTHON=python3.12 make ... selects an interpreter")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@

demo: $(VENV)/installed
	PATH="$(CURDIR)/$(BIN):$$PATH" bash demo.sh $(DEMO) "$(CLIVE)"

# The tests start Python again and again: without compiled files, each start would compile the same modules.
test test-fast: export PYTHONDONTWRITEBYTECODE :=

test: $(VENV)/installed
	$(BIN)/python -m pytest $(PARALLEL)

test-fast: $(VENV)/installed
	$(BIN)/python -m pytest $(PARALLEL) -m 'not processes and not slow'

test-faults: $(VENV)/installed
	timeout 1800 $(BIN)/python -m tests.faults --kills 20
	$(BIN)/python -m pytest -m elastic -rs tests/test_elastic.py

test-slurm: $(VENV)/installed
	$(BIN)/python -m pytest -m slurm -rs tests/test_slurm.py

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

fuzz: $(VENV)/installed
	$(BIN)/python -m tests.fuzz

bench: $(VENV)/installed
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) $(DEMO)
