# The house's doors. `make up` and `make test` are all a newcomer needs; each sets up what it needs, nothing global.
UV_VERSION := 0.13.9
PYTHON := $(shell for p in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' && echo $$p && break; done)
UV := .uv/bin/uv
BIN := .venv/bin
STAMP := .venv/stamp

.PHONY: help up test check bench soak setup lock clean

help:
	@echo "make up     start a cloud and two sites, and watch them decide"
	@echo "make test   the whole suite"
	@echo "make check  lint, types, contracts, unit tests"
	@echo "make bench  what a decision costs, beside peers (about six minutes)"
	@echo "make soak   the tide under faults for MINUTES=10: a hundred sites, then ever new seeds"
	@echo "make setup  make .venv and nothing else"
	@echo "make lock   resolve the dependencies anew"

setup: $(STAMP)

$(UV):
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it and try again."; exit 1; }
	$(PYTHON) -m venv .uv
	.uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(BIN)/python: | $(UV)
	$(UV) venv --quiet --python $(PYTHON) .venv

$(STAMP): locks/dev.txt pyproject.toml | $(BIN)/python
	$(UV) pip sync --quiet --python $(BIN)/python --require-hashes locks/dev.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	$(BIN)/python -m edge_nodes.warm
	@touch $@

up: setup
	@$(BIN)/tidegate up

# Two processes: the tests that may start Ray or a site, and all others; shared in tests/conftest.py.
test: setup
	$(BIN)/python -m pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder

check: setup
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --quiet --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest -q tests/unit tests/tidy

bench: setup
	$(BIN)/python -m tests.bench.features_kernel
	$(BIN)/python -m tests.bench.rules_kernel
	$(BIN)/python -m tests.bench.gate

MINUTES := 10
soak: setup
	$(BIN)/python -m tests.soak --minutes $(MINUTES)

lock: | $(UV)
	$(UV) lock --quiet
	for group in edge cloud kafka redis serve training client dev bentoml; do \
		$(UV) export --quiet --frozen --no-emit-project --no-header --no-annotate --format requirements-txt \
			--no-default-groups --group $$group --output-file locks/$$group.txt >/dev/null || exit 1; done
	rm uv.lock

clean:
	rm -rf .venv .uv var build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
