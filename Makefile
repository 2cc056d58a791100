# Every target sets itself up: a virtual environment in .venv and the pinned requirements, once.

VENV := .venv
BIN := $(VENV)/bin
# The newest Python that is supported and installed; `make PYTHON=... app` takes another.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)

CONFORMANCE := .venv-conformance

.PHONY: app help test lint types bench fuzz conformance clean

app: $(VENV)/.app-ready ## open the dashboard; APP_FLAGS="--server.headless true" for a machine without a screen
	$(BIN)/python -m streamlit run app.py $(APP_FLAGS)

help: ## what make can do
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# One run for each framework, since the two must not share a process. With flags that select none of a run's
# tests, pytest's exit status 5 is no failure.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
NONE_IS_FINE := $(if $(TEST_FLAGS),|| [ $$? = 5 ])

test: $(VENV)/.dev-ready ## all tests; TEST_FLAGS="-k worker" for some
	$(BIN)/python -m explain_core.kernels
	$(PYTEST) -m "not tensorflow and not fuzz" $(TEST_FLAGS) $(NONE_IS_FINE)
	$(PYTEST) -m "tensorflow and not fuzz" $(TEST_FLAGS) $(NONE_IS_FINE)

lint: types ## style, form and annotations; .pre-commit-config.yaml runs the same before a commit
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.dev-ready ## the annotations of explain_core
	$(BIN)/pyrefly check

bench: $(VENV)/.dev-ready ## the measured tables of the README
	$(BIN)/python -m benchmarks $(BENCH_FLAGS)

fuzz: $(VENV)/.dev-ready ## the long sweeps that `make test` leaves out
	$(BIN)/python -m pytest -m "fuzz and not tensorflow" $(TEST_FLAGS) $(NONE_IS_FINE)
	$(BIN)/python -m pytest -m "fuzz and tensorflow" $(TEST_FLAGS) $(NONE_IS_FINE)

conformance: $(CONFORMANCE)/.ready ## models of public packages, explained; CONFORMANCE_FLAGS="darts LSTM" for some
	HF_HUB_OFFLINE=1 TF_CPP_MIN_LOG_LEVEL=3 OMP_NUM_THREADS=1 \
		$(CONFORMANCE)/bin/python -W ignore -m benchmarks.conformance.packages $(CONFORMANCE_FLAGS)

$(CONFORMANCE)/.ready: requirements-conformance.txt
	$(PYTHON) -m venv $(CONFORMANCE)
	$(CONFORMANCE)/bin/python -m pip install -r requirements-conformance.txt
	@touch $@

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "PairLift needs Python 3.11, 3.12 or 3.13, and none was found."; exit 1; }
	$(PYTHON) -m venv $(VENV)

# What the first visitor would wait for is done here: compiling the kernels, and explaining each demo's first sequence.
$(VENV)/.app-ready: requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install -r requirements.txt
	$(BIN)/python -m explain_core.kernels
	$(BIN)/python -m ui.first_demo
	@touch $@

$(VENV)/.dev-ready: requirements.txt requirements-dev.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install -r requirements-dev.txt
	@touch $@ $(VENV)/.app-ready

clean: ## remove the environments, caches and what was built
	rm -rf $(VENV) $(CONFORMANCE) .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
