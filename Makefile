# Every target works on a fresh clone: it makes .venv and installs pinned versions first.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
export OMP_NUM_THREADS ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test lint javascript check coverage docs bench proofs clean
demo: $(STAMP)
	$(BIN)/sightline localization --out runs/demo

test: $(STAMP)
	sh tests/services.sh
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -q

# The formatter, the linter and the types of the Python code.
CODE := src tests examples benchmarks docs/_build
lint: $(STAMP)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy

# The browser code is checked by Node.js, if there is one. It is not built.
javascript:
	@if ! command -v npm > /dev/null; then \
	  echo "SKIPPED: npm is not installed, so the JavaScript was neither linted nor type-checked"; \
	elif ! $(MAKE) --silent node_modules/.package-lock.json; then \
	  echo "SKIPPED: npm could not install its packages, so the JavaScript was neither linted nor type-checked"; \
	else npm run --silent check; fi

node_modules/.package-lock.json: package.json package-lock.json
	npm ci --silent --no-audit --no-fund
	touch $@

check: lint javascript test

coverage: $(STAMP)
	sh tests/services.sh
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -q --cov --cov-report=term --cov-report=html

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=src $(BIN)/mkdocs build --quiet

bench: $(STAMP)
	PYTHON=$(BIN)/python sh benchmarks/run.sh

proofs: $(STAMP)
	$(BIN)/python benchmarks/proofs.py
	$(BIN)/python benchmarks/coverage.py
	$(BIN)/python benchmarks/recipe.py
	OMP_NUM_THREADS=1 SIGHTLINE_HYPOTHESIS=explore $(BIN)/python -m pytest -n 2 --dist loadfile -q tests

# torch first and alone, so that nothing pulls another build of it; torchvision without its pinned CUDA torch.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip setuptools
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch numpy
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps torchvision timm captum
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,check,text,dicom,postgres,mlflow,docs]' huggingface_hub safetensors pyyaml tqdm
	touch $(STAMP)

clean:
	rm -rf .venv node_modules runs build dist site htmlcov .coverage
