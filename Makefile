# Needs Python 3.10 or newer and git; everything else goes into .venv and build/.
#
#   make demo                       generate the abalone project in build/ and run its demo
#   make test PYTHON=python3.12     with a Python of your choice
#   make bench ONLY=help            ratios, measured side by side; without ONLY all of them
#   make lock UPGRADE=--upgrade     both requirements.lock anew, with the newest versions

PYTHON ?= python3
BIN := .venv/bin
TEMPLATE := {{cookiecutter.project_slug}}
PIP := $(BIN)/python -m pip install --quiet --no-compile --require-hashes

unexport PYTHONDONTWRITEBYTECODE
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test bench lint lock clean generate environment install test-environment test-install python

demo: generate
	$(MAKE) -C build/abalone demo

# One more at a time than there are CPUs: the tests wait a fourth of their time for servers.
test: lint test-environment
	$(BIN)/pytest --numprocesses $$(($$(getconf _NPROCESSORS_ONLN) + 1)) --dist loadfile

bench: test-environment
	$(BIN)/python benchmarks/bench.py --only '$(ONLY)'

lint: environment
	$(BIN)/ruff check --no-cache
	$(BIN)/ruff format --check --no-cache

# Over an earlier build/abalone, so that its .venv serves again.
generate: environment
	$(BIN)/cookiecutter . --default-config --no-input --overwrite-if-exists --output-dir build

# Two layers: generating needs cookiecutter and little else, the tests need what a generated project needs as well.
# .venv remembers what each was made from, and is made anew when that changes.
MADE_FROM = { '$(PYTHON)' --version; cat requirements.lock; }

environment:
	@$(MADE_FROM) | cmp -s - .venv/made-from || $(MAKE) --no-print-directory install

install: python
	@echo 'Installing what requirements.lock pins into .venv: once, and it takes a minute or two'
	'$(PYTHON)' -m venv --clear .venv
	$(PIP) --requirement requirements.lock
	@$(MADE_FROM) > .venv/made-from

test-environment: environment
	@cmp -s '$(TEMPLATE)/requirements.lock' .venv/test-made-from || $(MAKE) --no-print-directory test-install

test-install:
	$(PIP) --requirement requirements.lock --requirement '$(TEMPLATE)/requirements.lock'
	cp '$(TEMPLATE)/requirements.lock' .venv/test-made-from

lock: generate
	$(MAKE) -C build/abalone lock
	cp build/abalone/requirements.lock '$(TEMPLATE)/requirements.lock'
	build/abalone/.venv/bin/uv pip compile --group dev --constraint '$(TEMPLATE)/requirements.lock' \
		--output-file requirements.lock --universal --python-version 3.10 --generate-hashes \
		--no-annotate --no-header --quiet $(UPGRADE)

python:
	@'$(PYTHON)' -c 'import sys; sys.version_info >= (3, 10) or sys.exit("$(PYTHON) is Python %d.%d, too old:" \
		" 3.10 is the oldest that works, for example make PYTHON=python3.12" % sys.version_info[:2])'

clean:
	rm -rf .venv build .tox .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
