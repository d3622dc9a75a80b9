# make demo | test | docs | bench | export: each makes or reuses .venv and installs what it needs.
# Another Python: make test PYTHON=python3.12. The newest releases instead of the tested set: make test CONSTRAINTS=
PYTHON      ?= python3
CONSTRAINTS ?= -c constraints.txt
BIN   := .venv/bin
PIP   := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS)
FACTS := settings.ini setup.py pyproject.toml constraints.txt
DEMO  ?= ItalyPowerDemand --arch InceptionTime --epochs 150 --lr 1e-3 --bs 16 --seed 0 --out runs/demo --overwrite

# series are small: a few threads are faster than many, and two thread pools on the same cores slow each other down
CORES := $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1); [ $$n -gt 4 ] && n=4; echo $$n)
OMP_NUM_THREADS   ?= $(CORES)
NUMBA_NUM_THREADS ?= $(OMP_NUM_THREADS)
MPLBACKEND        := Agg
export OMP_NUM_THREADS NUMBA_NUM_THREADS MPLBACKEND

.PHONY: demo test docs bench export clean
.DEFAULT_GOAL := test

# one thread: the same bits whatever the number of cores, and no threads that wait for each other where tests start processes of their own
demo test: OMP_NUM_THREADS := 1
demo: .venv/.run
	$(BIN)/tsfast train $(DEMO)

test: .venv/.dev
	$(BIN)/python scripts/check_sync.py
	$(BIN)/python -m pytest nbs tests

docs: .venv/.docs
	$(BIN)/python docs/build.py

bench: .venv/.dev
	$(BIN)/python -m benchmarks

export: .venv/.dev
	$(BIN)/nbdev-export
	$(BIN)/nbdev-clean

clean:
	rm -rf .venv build dist runs _docs _proc .pytest_cache .hypothesis *.egg-info

# a stamp for each set of requirements: a .venv that is up to date costs nothing
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
