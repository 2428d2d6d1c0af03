# Every target makes the environment that it needs. Options: make demo ARGS="--frameworks torch,flax --out DIR"

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
AT_ONCE := -n auto --maxprocesses 4 --dist loadgroup --no-loadscope-reorder

.PHONY: demo test test-all lint conformance bench clean

demo: .venv/.ready
	$(BIN)/python -m examples.demo $(ARGS)

test: lint
	$(BIN)/python -m pytest $(AT_ONCE) $(ARGS)
	$(BIN)/python -m regcore_conformance

test-all: lint
	$(BIN)/python -m pytest $(AT_ONCE) -m "long or not long" $(ARGS)
	$(BIN)/python -m regcore_conformance --full

lint: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

conformance: .venv/.ready
	$(BIN)/python -m regcore_conformance $(ARGS)

bench: .venv/.ready
	$(BIN)/python -m benchmarks $(ARGS)

# torch goes first and pinned: left to choose, pip takes a build with gigabytes of CUDA libraries.
.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than Python 3.11; name another one: make PYTHON=python3.12"; exit 1; }
	@echo "== 1/4 making .venv" && $(PYTHON) -m venv .venv
	@echo "== 2/4 pip" && $(BIN)/python -m pip install --disable-pip-version-check --upgrade pip
	@echo "== 3/4 PyTorch" && $(PIP) torch
	@echo "== 4/4 regcore, JAX, Flax, TensorFlow, Keras and the tools (about 2 GB)" && $(PIP) -e '.[conformance,plot]' --group dev
	@touch $@

clean:
	rm -rf .venv
