# make run     set up and start the server on loopback (stop it with Ctrl-C)
# make test    set up and run all tests
# make check   formatting, lint, types, layers
# make bench   measure
# make clean   remove what these made
#
# Needs Python 3.11 or later with venv; everything else is installed into .venv.
# Variables: PYTHON=python3.12, ARGS="-c my.toml" (run), ARGS="tests.pysip" (test).

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

# Installed again only when the metadata change.
RUN_STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev

PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input

# Mirrors that are configured but not there are no concern of ours.
QUIET := { grep -v 'is ignored: it is neither a file nor a directory' >&2 || true; }

HINT := Installing failed: pip has to reach a Python package index (see the message above).

.PHONY: run test check check-format check-lint check-types check-layers bench clean
.DELETE_ON_ERROR:

run: $(RUN_STAMP)
	@echo "Starting the presence server; stop it with Ctrl-C."
	@exec $(BIN)/twistd -n --pidfile= presence start $(ARGS)

test: $(DEV_STAMP)
	@$(BIN)/python tests/run.py $(ARGS)

# make -k check goes on after the first that fails
check: check-format check-lint check-types check-layers

check-format: $(DEV_STAMP)
	$(BIN)/ruff format --quiet --diff .

check-lint: $(DEV_STAMP)
	$(BIN)/ruff check --quiet .

check-types: $(DEV_STAMP)
	$(BIN)/mypy

check-layers: $(DEV_STAMP)
	$(BIN)/lint-imports --no-logo

bench: $(RUN_STAMP)
	@$(BIN)/python bench/run $(ARGS)

clean:
	rm -rf $(VENV) build *.egg-info _trial_temp* .mypy_cache .ruff_cache .hypothesis \
	    .import_linter_cache twisted/plugins/dropin.cache
	find pysip presence tests twisted -name __pycache__ -prune -exec rm -rf {} +

$(RUN_STAMP): setup.cfg pyproject.toml | $(BIN)/python
	@echo "Installing the server into $(VENV) ..."
	@$(PIP) install --editable . 2> >($(QUIET)) || { echo '$(HINT)' >&2; exit 1; }
	@touch $@

$(DEV_STAMP): setup.cfg pyproject.toml | $(BIN)/python
	@echo "Installing the server and what its tests need into $(VENV) ..."
	@$(PIP) install --editable '.[dev]' 2> >($(QUIET)) || { echo '$(HINT)' >&2; exit 1; }
	@touch $@ $(RUN_STAMP)

$(BIN)/python:
	@for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        found=$$python; break; \
	    fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "Python 3.11 or later is missing; on Debian: apt-get install python3 python3-venv" >&2; \
	    exit 1; \
	fi; \
	if ! "$$found" -c 'import venv, ensurepip' 2>/dev/null; then \
	    echo "Python's venv is missing; on Debian: apt-get install python3-venv" >&2; \
	    exit 1; \
	fi; \
	echo "Making a virtual environment in $(VENV) with $$found ..."; \
	rm -rf $(VENV) && "$$found" -m venv $(VENV)
