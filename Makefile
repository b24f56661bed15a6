# `make help` lists the targets.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# The tests start Python some thousand times: each compiles the package anew if none keeps it.
unexport PYTHONDONTWRITEBYTECODE
export DAGSTER_HOME ?= $(CURDIR)/.polycopy/dagster

.DEFAULT_GOAL := help
.PHONY: help install install-tests demo dev test test-exhaustive test-crash test-postgres test-ephemeral test-dev browser-test first-hour pictures container container-twice test-cloud lint types imports check ci bench bench-quick bench-smoke bench-record bench-scattered bench-reconcile bench-scaling lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	$(PYTHON) -m venv .venv

.venv/.installed: pyproject.toml requirements.lock | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[google,charts]'
	@touch $@

.venv/.installed-dev: pyproject.toml requirements.lock | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[dev]'
	$(BIN)/python -m polycopy_assets_tests.fakes.machine_code
	@touch $@ .venv/.installed

# BigQuery's emulator needs its own environment: it requires other versions of the same libraries.
.venv-bqemulator/.installed: polycopy_assets_tests/fakes/bqemulator.lock
	$(PYTHON) -m venv .venv-bqemulator
	.venv-bqemulator/bin/python -m pip install --quiet --requirement $<
	@touch $@

demo: .venv/.installed ## install, and run the whole pipeline on the built-in sample API
	$(BIN)/polycopy demo

install: .venv/.installed ## install or upgrade, and run nothing

install-tests: .venv/.installed-dev .venv-bqemulator/.installed ## the same with what the tests need

dev: .venv/.installed ## open Dagster's UI on the same instance, store and table
	$(BIN)/polycopy dev

test: .venv/.installed-dev .venv-bqemulator/.installed ## the tests, apart from those of the targets below
	$(BIN)/python -m pytest -n 4 -m "not exhaustive and not bench and not crash and not browser and not dev and not cloud and not container and not first_hour"

test-exhaustive: .venv/.installed-dev .venv-bqemulator/.installed ## faults and damage at every call, object and moment
	$(BIN)/python -m pytest -n 4 -m exhaustive polycopy_assets_tests/cloud polycopy_assets_tests/dagster

test-crash: .venv/.installed-dev ## processes that are killed, frozen, interrupted, or run at the same time
	$(BIN)/python -m pytest -m "not dev" polycopy_assets_tests/crash

test-postgres: .venv/.installed-dev ## the tests of processes and of Dagster, with the instance in Postgres
	POLYCOPY_TEST_INSTANCE=postgres $(BIN)/python -m pytest -m "not browser and not dev and not cloud and not container" \
	  --ignore-glob='*without_a_database.py' --ignore=polycopy_assets_tests/crash/test_kill_ephemeral.py \
	  polycopy_assets_tests/crash polycopy_assets_tests/dagster

test-ephemeral: .venv/.installed-dev ## the tests of kills, with an instance for each command (no database)
	POLYCOPY_TEST_INSTANCE=ephemeral $(BIN)/python -m pytest -m "not browser and not dev and not cloud and not container" \
	  polycopy_assets_tests/crash/test_kill.py \
	  polycopy_assets_tests/crash/test_kill_batch.py \
	  polycopy_assets_tests/crash/test_kill_compaction.py \
	  polycopy_assets_tests/crash/test_kill_reconcile.py \
	  polycopy_assets_tests/crash/test_kill_refetch.py \
	  polycopy_assets_tests/crash/test_kill_wanted.py::test_a_purge_that_is_killed_anywhere_is_said_and_goes_on \
	  polycopy_assets_tests/crash/test_kill_purge_without_a_database.py \
	  polycopy_assets_tests/crash/test_kill_without_a_database.py \
	  polycopy_assets_tests/cloud/test_killed_without_a_database.py

test-dev: .venv/.installed-dev ## runs that die under `dagster dev`; says how long each took to recover
	$(BIN)/python -m pytest -n 0 -s -m dev polycopy_assets_tests/crash polycopy_assets_tests/dagster

bench-smoke: .venv/.installed-dev ## every bench, with a handful of trades; judges no time
	$(BIN)/python -m pytest -m bench polycopy_assets_tests/unit/test_benchmarks.py

browser-test: .venv/.installed-dev ## Dagster's UI in headless Chromium; pictures in .browser/
	@command -v chromium chromium-browser >/dev/null || \
	  { echo "chromium is not installed: apt-get install chromium" >&2; exit 2; }
	$(BIN)/python -m pytest -n 0 -s -m browser polycopy_assets_tests/browser

first-hour: .venv/.installed-dev ## the first hour of a new user; pictures in .first-hour/
	@command -v chromium chromium-browser >/dev/null || \
	  { echo "chromium is not installed: apt-get install chromium" >&2; exit 2; }
	$(BIN)/python -m pytest -n 0 -s -m first_hour polycopy_assets_tests/first_hour

pictures: ## make docs/pictures from what browser-test and first-hour left
	$(BIN)/python -m polycopy_assets_tests.browser.pictures

container: .venv/.installed-dev ## build the container image, and run the demo in it
	@for program in buildah mmdebstrap; do command -v $$program >/dev/null || { \
	  echo "$$program is not installed: apt-get install --no-install-recommends $$program" >&2; exit 2; }; done
	$(BIN)/python -m pytest -n 0 -s -m container polycopy_assets_tests/container/test_container.py

container-twice: .venv/.installed-dev ## the same, a second build, and podman with a limit of memory
	@for program in buildah podman runc mmdebstrap; do command -v $$program >/dev/null || { \
	  echo "$$program is not installed: apt-get install --no-install-recommends $$program" >&2; exit 2; }; done
	$(BIN)/python -m pytest -n 0 -s -m container polycopy_assets_tests/container

test-cloud: .venv/.installed-dev ## what only a real project can show; name it: POLYCOPY_TEST_PROJECT
	@test -n "$(POLYCOPY_TEST_PROJECT)" || \
	  { echo "POLYCOPY_TEST_PROJECT is not set: name a project to test on" >&2; exit 2; }
	$(BIN)/python -m pytest -n 0 -m cloud polycopy_assets_tests/cloud

lint: .venv/.installed-dev ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.installed-dev ## pyright
	$(BIN)/pyright

imports: .venv/.installed-dev ## the import rule of docs/architecture.md
	$(BIN)/lint-imports

check: lint types imports ## lint, types and import rule

ci: check test test-exhaustive test-crash test-dev bench-smoke browser-test first-hour container ## everything that must pass before a change lands

# What the benches compare with has an environment of its own.
.venv-bench/.installed: benchmarks/requirements.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --requirement $<
	@touch $@

bench: .venv/.installed-dev .venv-bench/.installed ## all figures of docs/performance.md, in at most an hour
	$(BIN)/python -m benchmarks.run --size full

bench-quick: .venv/.installed-dev .venv-bench/.installed ## the same with little data, in about five minutes
	$(BIN)/python -m benchmarks.run --size quick

bench-record: .venv/.installed-dev ## records written one by one, and in batches
	PYTHONPATH=. $(BIN)/python benchmarks/record_events.py

bench-scattered: .venv/.installed-dev ## scattered wallets, in the ways that the UI offers
	$(BIN)/python -m benchmarks.scattered

bench-reconcile: .venv/.installed-dev ## taking over old files, and rebuilding the record
	$(BIN)/python -m benchmarks.reconcile --size full

bench-scaling: .venv/.installed-dev ## 100,000 wallets, with the record in Postgres; docs/scaling.md
	$(BIN)/python -m benchmarks.scaling --size full

lock: .venv/.installed-dev ## update requirements.lock, and that of the container image
	$(BIN)/python -m pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --upgrade --extra dev --strip-extras --no-header \
	  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	  --annotation-style line --output-file requirements.lock pyproject.toml
	$(BIN)/python deploy/lock.py
	printf "bqemulator==1.4.0\nnumpy\n" | $(BIN)/pip-compile --quiet --upgrade --strip-extras --no-header \
	  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	  --annotation-style line --output-file polycopy_assets_tests/fakes/bqemulator.lock -

clean: ## remove the virtual environment and caches; data in .polycopy stays
	rm -rf .venv .venv-bench .venv-bqemulator build *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache .browser .first-hour .container
