# Everything runs in .venv, made on first use with the exact versions of constraints.txt.
# Another PyTorch build: make demo TORCH='torch==2.13.0 --index-url INDEX', with the index of PyTorch's install page.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
TORCH ?= torch==2.13.0

.PHONY: demo test check format bench verify clean

demo: $(VENV)/installed
	$(BIN)/fedescc-simulate run --out out/demo

test: check
	$(BIN)/pytest -n 2 --durations=15

check: $(VENV)/installed .types/fedescc
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/installed
	$(BIN)/python tests/bench/in_process_engine.py
	$(BIN)/python tests/bench/aggregation.py
	$(BIN)/python tests/bench/local_training.py
	$(BIN)/python tests/bench/explanation.py
	$(BIN)/python tests/bench/preprocessing.py
	$(BIN)/python tests/bench/index.py

verify: $(VENV)/installed
	$(BIN)/python tests/verify/learning.py
	$(BIN)/python tests/verify/evaluation.py
	$(BIN)/python tests/verify/demo_learning.py
	$(BIN)/python tests/verify/heart_strategies.py
	$(BIN)/python tests/verify/propagation.py
	$(BIN)/python tests/verify/fuzz_headers.py

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt $(TORCH)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# mypy finds the packages through links, because their folders are not called fedescc.
.types/fedescc:
	mkdir -p $@
	for role in common client server simulations configs; do ln -sfn ../../$$role $@/$$role; done

clean:
	rm -rf $(VENV) .types out build dist *.egg-info
