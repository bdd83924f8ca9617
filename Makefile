# Countermark: `make run` needs Python 3.11 or later, make and a package registry; everything else it fetches and starts itself.

PYTHON ?= python3
DATA ?=
API_PORT ?=
UI_PORT ?=
PYTEST_ARGS ?=

# What tests run beside Python, as program:package of Debian; what is absent is installed by `make system`, as root.
SYSTEM := chromium:chromium

BIN := .venv/bin
INPUTS := requirements.lock requirements-setup.lock requirements-assets.lock pyproject.toml client/pyproject.toml deploy/environment.py
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	--no-annotate --no-emit-package countermark --no-emit-package countermark-server

CHECK_PYTHON := $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "countermark: needs \
	Python 3.11 or later, and '$(PYTHON)' is not: name another with PYTHON=/path/to/python3.11" >&2; exit 1; }

export UV_PYTHON_DOWNLOADS := never
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup run test lint e2e bench lock system

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: .venv/stamp-run ## make the environment that `make run` uses

run: .venv/stamp-run ## start everything (DATA=./data API_PORT=3141 UI_PORT=3142)
	@exec $(BIN)/countermark-server up --end-with-parent $(if $(DATA),--data "$(DATA)") \
		$(if $(API_PORT),--api-port "$(API_PORT)") $(if $(UI_PORT),--ui-port "$(UI_PORT)")

test: .venv/stamp-dev ## run every suite: unit, property, contract, integration, e2e
	@$(BIN)/python -m pytest tests $(PYTEST_ARGS)

e2e: .venv/stamp-dev ## run the end-to-end suite alone, with the matrix of real clients
	@$(BIN)/python -m pytest tests/e2e $(PYTEST_ARGS)

lint: .venv/stamp-dev ## check style, types, imports and locks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m deploy.locks

system: ## install the system's programs that tests use (Debian, as root; elsewhere it says what is absent)
	@missing=$$(for pair in $(SYSTEM); do command -v "$${pair%%:*}" >/dev/null || echo "$${pair##*:}"; done); \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "countermark: installing" $$missing >&2; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	else echo "countermark: absent, so tests that need them are skipped:" $$missing >&2; fi

bench: .venv/stamp-dev ## measure speed and memory
	@$(BIN)/python -m bench

lock: .venv/stamp-dev ## compile the lock files again from what the two pyproject.toml ask for
	$(COMPILE) pyproject.toml client/pyproject.toml -o requirements.lock
	$(COMPILE) --group setup -o requirements-setup.lock
	$(COMPILE) --no-deps --group assets -o requirements-assets.lock
	$(COMPILE) --group dev -c requirements.lock -o requirements-dev.lock
	$(COMPILE) bench/requirements.in -o requirements-bench.lock
	$(COMPILE) tests/e2e/requirements.in -o requirements-e2e.lock

# A warm start looks at these stamps alone.
.venv/stamp-run: $(INPUTS)
	@$(CHECK_PYTHON)
	@$(PYTHON) -I deploy/environment.py run

.venv/stamp-dev: $(INPUTS) requirements-dev.lock
	@$(CHECK_PYTHON)
	@$(PYTHON) -I deploy/environment.py dev
	@touch .venv/stamp-run
