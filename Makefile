# Countermark: `make run` needs Python 3.11 or later, make and a package registry; everything else it fetches and starts itself.

PYTHON ?= python3
DATA ?=
API_PORT ?=
UI_PORT ?=
COMPAT ?=
SET ?=
REAL ?=
PYTEST_ARGS ?=
CHAOS_ARGS ?=
BENCH_ARGS ?=

BIN := .venv/bin
INPUTS := requirements.lock requirements-setup.lock requirements-assets.lock pyproject.toml client/pyproject.toml deploy/environment.py
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	--no-annotate --no-emit-package countermark --no-emit-package countermark-server

CHECK_PYTHON := $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "countermark: needs \
	Python 3.11 or later, and '$(PYTHON)' is not: name another with PYTHON=/path/to/python3.11" >&2; exit 1; }

export UV_PYTHON_DOWNLOADS := never
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup run stack system test lint e2e e2e-real chaos show bench lock

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: .venv/stamp-run ## make the environment that `make run` uses

run: .venv/stamp-run ## start everything (DATA=./data API_PORT=3141 UI_PORT=3142 COMPAT=devpi-open)
	@exec $(BIN)/countermark-server up --end-with-parent $(if $(DATA),--data "$(DATA)") \
		$(if $(API_PORT),--api-port "$(API_PORT)") $(if $(UI_PORT),--ui-port "$(UI_PORT)") $(if $(COMPAT),--compat "$(COMPAT)")

stack: .venv/stamp-run ## start the real profile: Postgres, Redis, S3, nginx, two of each process (DATA=./data-stack SET="key=value ...")
	@exec $(BIN)/python -m deploy.stack --end-with-parent $(if $(DATA),--data "$(DATA)") \
		$(if $(API_PORT),--api-port "$(API_PORT)") $(if $(UI_PORT),--ui-port "$(UI_PORT)") $(foreach pair,$(SET),--set "$(pair)")

test: .venv/stamp-dev system ## run every suite, two processes side by side (REAL=true: e2e on the real profile as well)
	@$(BIN)/python -m tests.support.runs $(if $(filter-out 0 no false,$(REAL)),--real) $(PYTEST_ARGS)

e2e: .venv/stamp-dev system ## run the end-to-end suite alone, with the matrix of real clients
	@$(BIN)/python -m pytest tests/e2e $(PYTEST_ARGS)

e2e-real: .venv/stamp-dev system ## run the end-to-end suite on the real profile
	@$(BIN)/python -m pytest tests/e2e --deployment=stack --timeout=300 $(PYTEST_ARGS)

chaos: .venv/stamp-dev system ## break the real profile part by part under load, and print what was noticed
	@$(BIN)/python -m tests.chaos $(CHAOS_ARGS)

show: .venv/stamp-dev ## show provenance from a commit to proven bytes, and what ends where somebody tampers with it
	@$(BIN)/python -m tests.support.provenance

lint: .venv/stamp-dev ## check style, types, imports and locks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m deploy.locks

system: .venv/stamp-dev ## install what tests run beside Python (Debian, as root; elsewhere it says what is absent)
	@$(BIN)/python -m tests.support.system

bench: .venv/stamp-dev ## measure speed and memory
	@$(BIN)/python -m bench $(BENCH_ARGS)

lock: .venv/stamp-dev ## compile the lock files again from what the two pyproject.toml ask for
	$(COMPILE) pyproject.toml client/pyproject.toml -o requirements.lock
	$(COMPILE) --group setup -o requirements-setup.lock
	$(COMPILE) --no-deps --group assets -o requirements-assets.lock
	$(COMPILE) --group dev -c requirements.lock -o requirements-dev.lock
	$(COMPILE) bench/requirements.in -o requirements-bench.lock
	$(COMPILE) tests/e2e/requirements.in -o requirements-e2e.lock
	$(COMPILE) tests/e2e/devpi-server.in -o requirements-devpi.lock

# A warm start looks at these stamps alone.
.venv/stamp-run: $(INPUTS)
	@$(CHECK_PYTHON)
	@$(PYTHON) -I deploy/environment.py run

.venv/stamp-dev: $(INPUTS) requirements-dev.lock
	@$(CHECK_PYTHON)
	@$(PYTHON) -I deploy/environment.py dev
	@touch .venv/stamp-run
