# make demo    set up what running needs, then serve the chat example
# make test    set up everything, then every check and every test
# make coverage    every pure file is fully covered by its own test file
# make docs    set up the same, then build the site into site/, with every link checked
# make venv    .venv with the package (editable) and the development tools
# make changelog VERSION=0.1.0    fold changes/ into CHANGELOG.md; without VERSION, show what it would be
# make clean   remove what the above made

PORT ?= 7777
# Absolute, because the scripts read it too.
VENV := $(abspath $(or $(VENV),.venv))
export VENV

.PHONY: demo test coverage docs venv changelog system-packages clean

demo: $(VENV)/.runtime
	@exec $(VENV)/bin/holdfast serve examples/chat/app.py:app --host 127.0.0.1 --port $(PORT) --workers 2

test: system-packages venv tests/node/node_modules/.installed
	scripts/check
	scripts/test

coverage: venv
	scripts/coverage

# NO_MKDOCS_2_WARNING: Material otherwise begins each build with a notice about the future of MkDocs.
docs: venv
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet
	@echo "file://$(CURDIR)/site/index.html"

changelog: venv
	$(VENV)/bin/towncrier build $(if $(VERSION),--version $(VERSION) --yes,--version Unreleased --draft)

venv: $(VENV)/.dev

# Two stamps: running the demo must not install linters. Both are redone only when pyproject.toml
# changes; sources are installed editable.
$(VENV)/.runtime: pyproject.toml | $(VENV)/bin/pip
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev,docs]'
	@touch $@

# A fresh Debian has python3, but neither venv nor ensurepip: those are in python3-venv.
$(VENV)/bin/pip:
	@set -eu; python=; \
	for candidate in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11); do \
	    if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	    then python="$$candidate"; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	    echo "holdfast needs Python 3.11 or newer, and $(or $(PYTHON),python3) here is: $$($(or $(PYTHON),python3) --version 2>&1 || true)" >&2; \
	    echo "Install one (Debian 12 and newer: apt-get install python3 python3-venv), or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; \
	    exit 1; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing python3-venv" >&2; \
	    { apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends python3-venv; } >&2 || true; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
	    echo "$$python cannot make virtual environments: it lacks venv or ensurepip." >&2; \
	    echo "On Debian and Ubuntu: apt-get install python3-venv (as root), then run make again." >&2; \
	    exit 1; \
	fi; \
	"$$python" -m venv --clear $(VENV)

# `node_modules` is optional on a developer's machine, as Node is: tests that need it are skipped.
tests/node/node_modules/.installed: tests/node/package.json | system-packages
	@if command -v npm >/dev/null; then \
	    cd tests/node && npm install --no-package-lock --no-audit --no-fund --silent && touch node_modules/.installed \
	        || { echo "npm install failed in tests/node; run it there without --silent to see why" >&2; exit 1; }; \
	else echo "no npm: tests with the ws client will be skipped" >&2; fi

system-packages:
	@scripts/system-packages

clean:
	rm -rf $(VENV) tests/node/node_modules build dist site htmlcov .coverage .coverage.* \
	    .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests examples benchmarks compliance fuzzing -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
