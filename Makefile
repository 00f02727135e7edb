# `make help` lists what there is. Everything happens in .venv; nothing needs root.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin

# The demo and the tests start the same programs many times; without bytecode each start compiles all of its imports.
unexport PYTHONDONTWRITEBYTECODE

LOCK := $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links

.PHONY: help install demo test check lint format bench deep fuzz demo-model sbom lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo 'Options go in ARGS, as in: make demo ARGS="--transactions 20000". Another Python: make PYTHON=python3.12 …'

install: .venv/.dev ## everything for development into .venv; other targets do it by themselves

demo: .venv/.runtime ## the whole system on this machine, with simulated payments
	@$(BIN)/vedette demo $(ARGS)

# Kernels are compiled once, before several processes of pytest would each do it.
# What failed in an earlier run is forgotten, so that scripts/test-again knows the failures of this one.
test: .venv/.dev ## format, lint, types, import contracts and all tests
	@rm -f .pytest_cache/v/cache/lastfailed
	@$(MAKE) --no-print-directory lint
	@echo '== feature kernels'
	@$(BIN)/vedette features compile
	@echo '== pytest'
	@$(BIN)/pytest --numprocesses auto --dist loadfile --durations 20 --durations-min 1 $(ARGS)

check: .venv/.dev ## the daily loop: all checks, and the tests that need no server and take no time
	@$(MAKE) --no-print-directory lint
	@echo '== pytest, without servers'
	@$(BIN)/pytest -q --numprocesses logical --dist loadfile -m 'not servers and not slow and not kafka' $(ARGS)

lint: .venv/.dev ## all checks but the tests
	@echo '== ruff format'
	@$(BIN)/ruff format --check .
	@echo '== ruff check'
	@$(BIN)/ruff check .
	@echo '== mypy'
	@$(BIN)/mypy
	@echo '== lint-imports'
	@$(BIN)/lint-imports
	@echo '== rooms'
	@$(BIN)/python -m scripts.rooms
	@echo '== deptry'
	@$(BIN)/deptry .

format: .venv/.dev ## put the code in order
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: .venv/.dev ## measure throughput, with its references
	@$(BIN)/vedette bench throughput $(ARGS)

deep: .venv/.deep ## install Keras on JAX, test the deep models and compare them once on simulated payments
	@$(BIN)/pytest -q tests/models/zoo/test_deep.py
	@$(BIN)/vedette simulate --customers 300 --days 30 --output var/deep.parquet
	@$(BIN)/vedette compare --protocol models/compare/deep.toml --transactions var/deep.parquet --deep $(ARGS)

fuzz: .venv/.fuzz ## ten minutes of libFuzzer on the decoders and the state codec
	@$(BIN)/python scripts/fuzz.py $(ARGS)

demo-model: .venv/.runtime ## train the models that ship, from simulated payments
	@$(BIN)/vedette train --simulate --name demo --output models/demo $(ARGS)
	@$(BIN)/vedette train --simulate --features settled --name settled --output models/settled $(ARGS)

sbom: .venv/.dev ## what the image contains, in CycloneDX's form: var/sbom.cdx.json, as the image has it in /opt/vedette/share
	@mkdir -p var
	@$(BIN)/python scripts/image-requirements archive iso postgres | $(BIN)/uv pip compile --quiet --python-version 3.11 \
		--constraint requirements/dev.txt --no-header --no-annotate - > var/image.txt
	@$(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --output-file var/sbom.cdx.json \
		var/image.txt
	@rm var/image.txt
	@echo var/sbom.cdx.json

lock: .venv/.python ## update the pins; ARGS=--upgrade takes the newest versions
	@$(BIN)/pip install --quiet uv
	@$(LOCK) --extra stack --extra dev --output-file requirements/dev.txt $(ARGS)
	@$(LOCK) --extra stack --constraint requirements/dev.txt --output-file requirements/runtime.txt
	@$(LOCK) --extra dev --extra deep --constraint requirements/dev.txt --output-file requirements/deep.txt $(ARGS)
	@$(LOCK) --extra dev --extra fuzz --constraint requirements/dev.txt --output-file requirements/fuzz.txt $(ARGS)

clean: ## remove .venv, build output and caches
	@rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: what is installed is renewed when the pins or the project's metadata change, and only then.
.venv/.python:
	@command -v "$(PYTHON)" >/dev/null || { echo 'There is no $(PYTHON); name one: make PYTHON=python3.12 …' >&2; exit 2; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Vedette needs Python 3.11 or newer, $(PYTHON) is $$("$(PYTHON)" -V); name another: make PYTHON=python3.12 …" >&2; \
		exit 2; }
	@echo '== creating .venv'
	@"$(PYTHON)" -m venv .venv || { echo 'Cannot create .venv; on Debian and Ubuntu: apt install python3-venv' >&2; exit 2; }
	@touch $@

.venv/.runtime: requirements/runtime.txt pyproject.toml | .venv/.python
.venv/.dev: requirements/dev.txt pyproject.toml | .venv/.python
.venv/.deep: requirements/deep.txt pyproject.toml | .venv/.python
.venv/.fuzz: requirements/fuzz.txt pyproject.toml | .venv/.python

# uv installs in seconds what takes pip minutes. It does not read pip's settings, so it is given the index that pip has;
# where there is no uv for the platform, or it fails, pip does the same.
.venv/.runtime .venv/.dev .venv/.deep .venv/.fuzz:
	@echo '== installing $<'
	@index="$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$($(BIN)/pip config get global.index-url 2>/dev/null || true)}}"; \
	{ $(BIN)/pip install --quiet --disable-pip-version-check uv && \
		$(BIN)/uv pip install --quiet --python $(BIN)/python $${index:+--default-index "$$index"} \
			--no-deps -r $< -e . ; } || \
	{ echo '== uv cannot do it, so pip does' && \
		$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r $< -e . ; }
	@touch $@
