# make demo | test | docs | bench | export: each makes or reuses .venv and installs what it needs.
# With two threads: make test OMP_NUM_THREADS=2, or with that variable in the environment.
# Another Python: make test PYTHON=python3.12. The newest releases instead of the tested set: make test CONSTRAINTS=
PYTHON      ?= python3
CONSTRAINTS ?= -c constraints.txt
BIN   := .venv/bin
PIP   := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS)
FACTS := settings.ini setup.py pyproject.toml constraints.txt
DEMO  ?= ItalyPowerDemand --arch InceptionTime --epochs 150 --lr 1e-3 --bs 16 --seed 0 --out runs/demo --overwrite

# One thread: the same figures for any number of cores, and processes that run side by side do not slow each other down. Benchmarks use
# one thread per free core, at most 4. Idle threads sleep. The environment and the command line of make override these settings.
ifeq ($(origin OMP_NUM_THREADS),undefined)
bench: OMP_NUM_THREADS = $(shell $(PYTHON) tsfast/threads.py)
endif
OMP_NUM_THREADS   ?= 1
NUMBA_NUM_THREADS ?= $(OMP_NUM_THREADS)
MPLBACKEND        := Agg
export OMP_NUM_THREADS NUMBA_NUM_THREADS MPLBACKEND
ifeq ($(OMP_WAIT_POLICY)$(GOMP_SPINCOUNT)$(KMP_BLOCKTIME)$(KMP_LIBRARY),)
export OMP_WAIT_POLICY := PASSIVE
export KMP_BLOCKTIME := 0
endif

# Number of processes for the tests. WORKERS=0: all tests in one process
WORKERS ?= $(shell $(PYTHON) tsfast/threads.py)

.PHONY: demo test docs bench export clean
.DEFAULT_GOAL := test

demo: .venv/.run
	$(BIN)/tsfast train $(DEMO)

test: .venv/.dev
	$(BIN)/python scripts/check_sync.py
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal nbs tests

docs: .venv/.docs
	$(BIN)/python docs/build.py

bench: .venv/.dev
	$(BIN)/python -m benchmarks

export: .venv/.dev
	$(BIN)/nbdev-export
	$(BIN)/nbdev-clean

clean:
	rm -rf .venv build dist runs _docs _proc .pytest_cache .hypothesis *.egg-info

# a stamp for each set of requirements: an up-to-date .venv is not installed again
.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.run: $(FACTS) | .venv/bin/python
	$(PIP) -e .
	@touch $@

.venv/.dev: $(FACTS) | .venv/bin/python
	$(PIP) -e '.[dev]'
	@touch .venv/.run $@

.venv/.docs: $(FACTS) | .venv/bin/python
	$(PIP) -e '.[dev,docs]'
	@touch .venv/.run .venv/.dev $@
