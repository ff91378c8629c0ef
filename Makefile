# Every target starts from a bare clone: the stamp file below makes the virtual environment and installs striate.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: demo test test-all check bench zoo-table clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,ship,tune,track,heic]'
	touch $@

# These are oracles of the tests only. Their own requirements would pull CUDA builds of torch.
$(VENV)/.oracles: $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps torchvision timm captum grad-cam ttach
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt huggingface_hub
	touch $@

demo: $(STAMP)
	$(BIN)/python examples/demo.py

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: check $(VENV)/.oracles
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not gpu"

test-all: check $(VENV)/.oracles
	$(BIN)/python -m pytest -m "not gpu"

bench: $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/python benchmarks/train.py

zoo-table: $(STAMP)
	$(BIN)/python scripts/zoo_table.py

clean:
	rm -rf $(VENV) runs
