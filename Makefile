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
# Processes of tests: one more than the cores that this is meant for, since a third of their time is waiting for an
# engine or a server to start. Files that load the model come first, then other long ones.
JOBS ?= 3
# Byte code is kept, whatever the image says, since rewriting the assertions of all tests takes ten seconds a process.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

.PHONY: install quickstart check test lint format reference bench-quick golden clean
.DELETE_ON_ERROR:

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@# Byte code by all cores, where pip would use one; without it, where PYTHONDONTWRITEBYTECODE is set, as in many
	@# images, each process would compile all that it imports. Not what hardly any process imports: a quarter of all.
	$(BIN)/pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e '.[$(EXTRA),dev]'
	@# Text models never need torchvision, and a build that doesn't match torch breaks every model class.
	@$(BIN)/python -c 'import torchvision' 2>/dev/null || \
		$(BIN)/pip uninstall --quiet --yes torchvision torchaudio torchcodec 2>/dev/null
	@$(BIN)/python -m compileall -q -j 0 -x '/tests/|transformers/models/' $(VENV)/lib data filters flows generators >/dev/null 2>&1 || true  # some files are for Python 2
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
