# make demo    sets up, trains small encoders on the embedded images, fits a regressor and scores images
# make test    sets up and runs the tests
# make test-fast  sets up and runs the tests that start no processes: under two minutes
# make test-faults  sets up, kills a training 20 times and compares its end with an undisturbed one's: ten minutes
# make lint    sets up and checks the code's style
# make fuzz    sets up and reads 20,000 mutated images, and checkpoints and regressors
# make bench   sets up and prints the speed of this machine
# PYTHON=python3.12 make ... sets up with that interpreter.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo

.PHONY: demo test test-fast test-faults lint format fuzz bench clean

# Once, and again when the requirements change.
$(VENV)/installed: requirements.txt requirements-dev.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or later is needed; PYTHON=python3.12 make ... names one")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@

demo: $(VENV)/installed
	PATH="$(CURDIR)/$(BIN):$$PATH" bash demo.sh $(DEMO)

test: $(VENV)/installed
	$(BIN)/python -m pytest

test-fast: $(VENV)/installed
	$(BIN)/python -m pytest -m 'not processes'

test-faults: $(VENV)/installed
	timeout 1800 $(BIN)/python -m tests.faults --kills 20

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
