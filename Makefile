# Installation, tests and checks. Every target works on a fresh clone: it installs .venv first.
# `make check` runs all checks and tests.

PYTHON ?= $(shell for p in python3 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
FOLDERS := bench methods datasets studies reports

.PHONY: run test test-slow check format lint types paper-demo speed guard clean lock

run: $(VENV)/installed
	$(BIN)/python bench.py --method mart --dataset ekman6
	@echo "for other commands: source $(BIN)/activate"

test: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

test-slow: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m slow

check: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(FOLDERS)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lint: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/installed
	$(BIN)/mypy $(FOLDERS)

# Run all studies on the built-in sample, write the report as a page and a PDF, and recompute every number.
# BENCH_DATA is an empty folder, so that real data on this machine are not used.
DEMO := results/paper-demo
paper-demo: export BENCH_DATA := $(DEMO)/no-data
paper-demo: $(VENV)/installed
	@mkdir -p $(BENCH_DATA)
	$(BIN)/python bench.py study paper --datasets ekman6 --seeds 2 --trials 2 --workers 2 \
		--set epochs=2 --set pretrain_epochs=2 --results $(DEMO)
	$(BIN)/python bench.py report paper --pdf --results $(DEMO) --out $(DEMO)/report
	$(BIN)/python bench.py report paper --check --results $(DEMO) --out $(DEMO)/report

speed: $(VENV)/installed
	$(BIN)/python -m tests.speed

# Regression checks: old results, every method's scores, resuming killed runs, and the time of a training step.
guard: $(VENV)/installed
	$(BIN)/python -m tests.guard

# Write the newest versions that pyproject.toml allows to requirements.lock (Linux x86-64, Python 3.11 and 3.12).
lock:
	rm -rf $(VENV)/lock && $(PYTHON) -m venv $(VENV)/lock
	$(VENV)/lock/bin/pip install --quiet ".[test]"
	$(VENV)/lock/bin/pip freeze --exclude mart-bench > requirements.lock
	rm -rf $(VENV)/lock

$(VENV)/installed: requirements.lock
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or 3.12 found; install one, or run: make PYTHON=/path/to/python3.12 $@"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@echo "installing the packages of requirements.lock (6 GB, about 3 minutes)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -r requirements.lock
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib >/dev/null || true  # uses every core; pip would use one
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
