# Needs Python 3.10 or newer and git; everything else goes into .venv and build/.
#
#   make demo                       generate the abalone project in build/ and run its demo
#   make test FAST=1                in a minute: lint, and the tests without servers
#   make test PYTHON=python3.12     with a Python of your choice
#   make acceptance                 in half an hour: faults at every call, load, every case of a kind
#   make bench ONLY=help            ratios, measured side by side; without ONLY all of them
#   make lock UPGRADE=--upgrade     the lock files anew, with the newest versions
#   make dist                       both packages as sdist and wheel in build/dist, checked for an index

PYTHON ?= python3
BIN := .venv/bin
TEMPLATE := {{cookiecutter.project_slug}}
PACKAGES := packages/sagemaker-emulator packages/sagemaker-project
PIP := $(BIN)/python -m pip install --quiet
LOCKED := $(PIP) --no-compile --require-hashes

unexport PYTHONDONTWRITEBYTECODE
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test acceptance bench lint lock dist clean generate environment install test-environment test-install python

demo: generate
	$(MAKE) -C build/abalone demo

# One more at a time than there are CPUs: the tests wait a fourth of their time for servers.
# Files are given out in the order that conftest.py puts them in.
PYTEST = $(BIN)/pytest --numprocesses $$(($$(getconf _NPROCESSORS_ONLN) + 1)) --dist loadfile --no-loadscope-reorder

test: lint
	$(PYTEST) -m '$(if $(FAST),fast,not acceptance)'

acceptance: test-environment
	$(PYTEST) -m acceptance

bench: test-environment
	$(BIN)/python benchmarks/bench.py --only '$(ONLY)'

lint: test-environment
	$(BIN)/ruff check --no-cache
	$(BIN)/ruff format --check --no-cache
	$(BIN)/mypy

dist: test-environment
	rm -rf build/dist
	for package in $(PACKAGES); do $(BIN)/python -m build --no-isolation --outdir build/dist $$package || exit 1; done
	$(BIN)/twine check --strict build/dist/*

# In place of an earlier build/abalone, of which only .venv is kept.
generate: environment
	rm -rf build/new
	$(BIN)/cookiecutter . --default-config --no-input --output-dir build/new
	if [ -d build/abalone/.venv ]; then mv build/abalone/.venv build/new/abalone/.venv; fi
	rm -rf build/abalone
	mv build/new/abalone build/abalone

# Two layers: generating needs cookiecutter and little else, the tests need what a generated project needs as well.
# .venv remembers what each was made from, and is made anew when that changes.
MADE_FROM = { '$(PYTHON)' --version; cat requirements.lock; }
TEST_MADE_FROM = cat '$(TEMPLATE)/requirements.lock' $(PACKAGES:=/pyproject.toml)

environment:
	@$(MADE_FROM) | cmp -s - .venv/made-from || $(MAKE) --no-print-directory install

install: python
	@echo 'Installing what requirements.lock pins into .venv: once, and it takes a minute or two'
	'$(PYTHON)' -m venv --clear .venv
	$(LOCKED) --requirement requirements.lock
	@$(MADE_FROM) > .venv/made-from

test-environment: environment
	@$(TEST_MADE_FROM) | cmp -s - .venv/test-made-from || $(MAKE) --no-print-directory test-install

test-install:
	$(LOCKED) --requirement requirements.lock --requirement '$(TEMPLATE)/requirements.lock'
	$(PIP) --no-deps --no-build-isolation $(addprefix --editable ,$(PACKAGES))
	@$(TEST_MADE_FROM) > .venv/test-made-from

# The template's locks leave out the packages of this repository: their hashes come with each generation.
OTHERS = awk '/^[^ ]/ {skip = /^(--find-links|sagemaker-(emulator|project)==)/} !skip'

lock: generate
	$(MAKE) -C build/abalone lock UPGRADE='$(UPGRADE)'
	$(OTHERS) build/abalone/requirements.lock > '$(TEMPLATE)/requirements.lock'
	$(OTHERS) build/abalone/requirements-deploy.lock > '$(TEMPLATE)/requirements-deploy.lock'
	build/abalone/.venv/lock/bin/uv pip compile --group dev --constraint '$(TEMPLATE)/requirements.lock' \
		--output-file requirements.lock --universal --python-version 3.10 --generate-hashes \
		--no-annotate --no-header --quiet $(UPGRADE)

python:
	@'$(PYTHON)' -c 'import sys; sys.version_info >= (3, 10) or sys.exit("$(PYTHON) is Python %d.%d, too old:" \
		" 3.10 is the oldest that works, for example make PYTHON=python3.12" % sys.version_info[:2])'

clean:
	rm -rf .venv build .tox .pytest_cache .mypy_cache .ruff_cache .hypothesis packages/*/build packages/*/src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
