# Needs Python 3.11 or newer and make; everything else is installed into .venv from the lock files.
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet --no-deps --require-hashes
TEST_WORKERS ?= 2
UV ?= uv
COMPILE := $(UV) pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet

.DEFAULT_GOAL := help
.PHONY: help run test lint graphs bench eval clean locks

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.installed ## Install, load the sample organisation and serve it
	@trap : INT; $(BIN)/consilium serve --demo

test: $(VENV)/.installed-dev ## Install and run all tests
	@$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile $(ARGS)

lint: $(VENV)/.installed-dev ## Layers, style, types, stale pictures
	$(BIN)/lint-imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/consilium graph --check

graphs: $(VENV)/.installed ## Draw the compiled graphs into docs/graphs
	@$(BIN)/consilium graph

bench: $(VENV)/.installed-dev ## Measure against the targets
	@$(BIN)/python -m bench $(ARGS)

eval: $(VENV)/.installed-dev ## Measure the agents: routing, tools, citations, leaks (MODEL=provider/model)
	@$(BIN)/python -m evals $(ARGS)

clean: ## Remove .venv and caches; data in .consilium stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .langgraph_api
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

locks: ## Pin the dependencies of pyproject.toml again (needs uv)
	@$(COMPILE) --extra dev --output-file requirements-dev.lock $(ARGS)
	@$(COMPILE) --constraints requirements-dev.lock --output-file requirements.lock $(ARGS)
	@for lock in requirements.lock requirements-dev.lock; do \
		{ echo '# Pinned with hashes from pyproject.toml by `make locks`; do not edit by hand.'; cat $$lock; } > $$lock.new && mv $$lock.new $$lock; \
	done

# A stamp is written only after a complete installation, so that an interrupted one is taken up again.
$(VENV)/.installed: requirements.lock $(VENV)/.created
	@echo "Installing the packages of $< (a minute or two, only once) ..."
	@$(PIP) -r $<
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	@echo "Installing the packages of $< (only once) ..."
	@$(PIP) -r $<
	@touch $@

$(VENV)/.created: bin/consilium
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Consilium needs Python 3.11 or newer, but '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || echo missing)."; \
		echo "Install one, or name it: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; } >&2
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { \
		rm -rf $(VENV); \
		echo "'$(PYTHON) -m venv' failed: its venv module is not complete."; \
		echo "On Debian and Ubuntu: apt install python3-venv; then try again."; exit 1; } >&2
	@ln -sf ../../bin/consilium $(BIN)/consilium
	@touch $@
