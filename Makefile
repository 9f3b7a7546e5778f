# Set-up, tests and checks. `make run`, `make test` and `make paper-demo` work on a fresh clone: they
# make .venv first. `make check` runs all.

PYTHON ?= $(shell for p in python3 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
FOLDERS := bench methods datasets studies reports

.PHONY: run test test-slow check format lint types paper-demo speed guard clean lock

run: $(VENV)/installed
	$(BIN)/python bench.py --method mart --dataset ekman6

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

# A small study of everything on the built-in sample, its report as a page and a PDF, and the check of every number.
# BENCH_DATA names an empty folder: real data that may lie elsewhere are left alone.
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

# What a rebuild must keep: old results, every method's scores, runs that are killed, and the speed of a step.
guard: $(VENV)/installed
	$(BIN)/python -m tests.guard

# Resolve the newest versions that pyproject.toml allows into requirements.lock (Linux x86-64, Python 3.11 and 3.12).
lock:
	rm -rf $(VENV)/lock && $(PYTHON) -m venv $(VENV)/lock
	$(VENV)/lock/bin/pip install --quiet ".[test]"
	$(VENV)/lock/bin/pip freeze --exclude mart-bench > requirements.lock
	rm -rf $(VENV)/lock

$(VENV)/installed: requirements.lock
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or 3.12 found; install one, or say make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@echo "installing the packages of requirements.lock: about 3 minutes and 6 GB the first time"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -r requirements.lock
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib >/dev/null || true  # on every core; pip itself takes one
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
