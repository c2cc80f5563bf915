# Each target does its own set-up in .venv, and is quick the second time.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin

.PHONY: demo test test-slow test-oldest lint notebooks docs results lock wheel smoke clean

demo: .venv/run
	$(BIN)/python launch.py --config=configs/polydigits.py --workdir=runs/polydigits

test: .venv/dev
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile  # compiling uses one core at a time

test-slow: .venv/dev
	$(BIN)/python -m pytest -m slow

test-oldest: .venv/dev  # the oldest JAX that the samplers are said to run under
	$(BIN)/uv venv --quiet --clear .venv/oldest
	$(BIN)/uv pip install --quiet --python .venv/oldest/bin/python jax==0.4.38 "numpy>=2.0"
	PYTHONPATH=. .venv/oldest/bin/python tests/oldest_jax.py

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

notebooks: .venv/dev
	$(BIN)/python docs/execute_notebooks.py

docs: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "open site/index.html"

results: .venv/run
	$(BIN)/python -m benchmarks.page

wheel: .venv/dev .venv/docs
	rm -rf dist
	$(BIN)/python -m build --installer=uv
	$(BIN)/twine check --strict dist/*

smoke: wheel
	$(BIN)/python -m pytest -m slow tests/test_commands.py -k "wheel or jax_alone"

lock: .venv/dev
	$(BIN)/uv pip compile -q --universal --no-header --no-annotate --python-version 3.11 \
	  --extra train --extra app pyproject.toml -o requirements.lock --upgrade
	$(BIN)/uv pip compile -q --universal --no-header --no-annotate --python-version 3.11 \
	  --extra dev --extra train -c requirements.lock pyproject.toml -o requirements-dev.lock --upgrade
	$(BIN)/uv pip compile -q --universal --no-header --no-annotate --python-version 3.11 \
	  --extra docs -c requirements-dev.lock pyproject.toml -o requirements-docs.lock --upgrade

.venv/bin/uv:
	@test -n "$(PYTHON)" || { echo "sbmae_jax needs Python 3.11 or newer: install it, or call make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv

.venv/run: pyproject.toml requirements.lock | .venv/bin/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

.venv/dev: pyproject.toml requirements-dev.lock | .venv/bin/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements-dev.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@ .venv/run

.venv/docs: pyproject.toml requirements-docs.lock | .venv/bin/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements-docs.lock
	@touch $@

clean:
	rm -rf .venv build dist site
