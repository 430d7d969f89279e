# Everything runs from .venv, which `make install` builds from requirements.lock.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
DEMO := runs/demo

.PHONY: install demo check test bench gpu-check lock clean

install: .venv/.installed

.venv/.installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Acclimate needs Python 3.11 or newer: make PYTHON=... install")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# Meta-trains MAML on 2-D navigation, evaluates it on the paper's held-out goals, draws the pictures.
demo: install
	rm -rf $(DEMO)
	$(BIN)/acclimate train point_nav_maml --out $(DEMO)
	$(BIN)/acclimate evaluate $(DEMO) --rounds 3

# Linting, types, unit tests.
check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/hadolint docker/Dockerfile
	$(BIN)/shellcheck docker/install.sh .ci/run
	$(BIN)/pytest tests/unit

# The whole ladder: what CI runs.
test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/hadolint docker/Dockerfile
	$(BIN)/shellcheck docker/install.sh .ci/run
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadgroup

# The figures of docs/results, measured again: see benchmarks/README.md.
bench: install
	$(BIN)/python benchmarks/sampling.py
	$(BIN)/python benchmarks/meta_update.py
	$(BIN)/python benchmarks/time_to_threshold.py

# Each agent's updates on the GPU beside the CPU's; a sentence where there is none.
gpu-check: install
	$(BIN)/python benchmarks/gpu.py gpu-check.json --quick

# Resolves the dependencies afresh and pins what came of it.
lock:
	rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet -c constraints.txt 'setuptools>=77' wheel
	.venv-lock/bin/python -m pip install --quiet -c constraints.txt --no-build-isolation -e '.[dev]'
	.venv-lock/bin/python -m pip freeze --all --exclude-editable --exclude pip | sed 's/+cpu$$//' > requirements.lock
	rm -rf .venv-lock

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
