# make demo    set up .venv and run the whole path: train, evaluate, index, search, one HTML page (demo-output/)
# make test    set up .venv and run the tests
# make lint    ruff, mypy, clang-format
# make bench   pytest-benchmark over benchmarks/, then everything that bench-tables makes
# make bench-tables  remake every table and picture of benchmarks/results
# make sanitize  native code, file readers and argument checks under the address, undefined and thread sanitizers
# make test-gpu  build with the current python and run what needs a CUDA device, also under compute-sanitizer

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= demo-output
NATIVE := setup.py pyproject.toml constraints.txt $(shell find csrc -type f 2>/dev/null)
CXX_FILES := $(shell find csrc -name '*.cpp' -o -name '*.h' -o -name '*.inl' -o -name '*.cu' -o -name '*.cuh')

.PHONY: demo test lint bench bench-tables sanitize test-gpu build clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --upgrade pip

$(VENV)/.installed-%: $(NATIVE) | $(BIN)/python
	$(BIN)/python -m pip install -qq --constraint constraints.txt --editable ".[$*]"
	@touch $@

demo: $(VENV)/.installed-demo
	$(BIN)/fasthash demo --out $(OUT)

# After `make lint` the environment has what tests need: no second build for a second set of extras.
HAS_TESTS := $(if $(wildcard $(VENV)/.installed-dev),dev,test)

# A file's tests share what is compiled and made for them, so files go to processes whole.
test: $(VENV)/.installed-$(HAS_TESTS)
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile $(PYTEST_ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(CXX_FILES)

bench: $(VENV)/.installed-bench
	$(BIN)/python -m pytest benchmarks -c benchmarks/pytest.ini
	$(BIN)/python benchmarks/remake.py

bench-tables: $(VENV)/.installed-bench
	$(BIN)/python benchmarks/remake.py

# Recompile csrc/ in place after an edit.
build: $(VENV)/.installed-dev
	$(BIN)/python setup.py build_ext --inplace

# Needs g++ with its sanitizer libraries; FASTHASH_FUZZ=n gives the fuzzers n times the examples of `make test`.
sanitize: $(VENV)/.installed-dev
	$(BIN)/python tests/sanitize/run.py $(PYTEST_ARGS)

# Uses $(PYTHON) as it is (its torch must see the device); needs pybind11, ninja, nvcc, pytest, hypothesis. Without the
# caching of torch the sanitizer sees where each tensor ends.
test-gpu:
	FASTHASH_CUDA=on $(PYTHON) -m pip install --no-build-isolation --no-deps --editable .
	FASTHASH_REQUIRE_GPU=1 $(PYTHON) -m pytest -m gpu -p no:cacheprovider
	FASTHASH_REQUIRE_GPU=1 PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --error-exitcode 1 \
		$(PYTHON) -m pytest -m gpu -p no:cacheprovider tests/native/test_cuda_topk.py tests/ops \
		tests/search/test_device.py tests/search/test_device_index.py tests/search/test_device_only.py

clean:
	rm -rf $(VENV) build dist *.egg-info fasthash/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis
