PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
# With what the tests need; EXTRA=test-core is without tf-models-official, which needs TensorFlow 2.20.
EXTRA ?= test
TEST_INSTALLED := .venv/installed-$(EXTRA)
DEMO_RUN := runs/demo

.PHONY: demo test test-rest test-all test-slow lint docs dist clean

demo: $(INSTALLED)
	rm -rf $(DEMO_RUN)
	$(BIN)/tfhub-ft train sentiment --min-steps 60 --output-dir $(DEMO_RUN)
	$(BIN)/tfhub-ft export $(DEMO_RUN) --output-dir saved_models/demo
	$(BIN)/tfhub-ft predict saved_models/demo \
		"An evening I will remember for years: sharp, tender and very funny." \
		"The battery died on day two and nobody answered my emails." \
		"Not what I expected, but I ended up loving every minute of it."

test: $(TEST_INSTALLED)
	$(BIN)/python -m pytest -m "not slow and (sample or not integration)"

# What `make test` leaves out of `make test-all`.
test-rest: $(TEST_INSTALLED)
	$(BIN)/python -m pytest -m "not slow and integration and not sample"

test-all: $(TEST_INSTALLED)
	$(BIN)/python -m pytest

test-slow: $(TEST_INSTALLED)
	$(BIN)/python -m pytest -m slow

lint: $(TEST_INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright
	$(BIN)/typos
	$(BIN)/python tools/check_prose.py

docs: $(TEST_INSTALLED)
	$(BIN)/mkdocs build --strict --site-dir site

# A source archive and a wheel in dist/.
dist: $(BIN)/python
	$(BIN)/python -m pip install --quiet build
	$(BIN)/python -m build

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "tfhub_ft needs Python 3.10 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv

# pip would compile on one core, and the tests of each package, too.
COMPILE = $(BIN)/python -m compileall -q -j 0 -x '/tests?/|/pip/|/setuptools/|/tf_keras/' .venv/lib > /dev/null 2>&1 || true

$(INSTALLED): setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --no-compile --editable .
	$(COMPILE)
	touch $@

$(TEST_INSTALLED): setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[$(EXTRA)]'
	$(COMPILE)
	touch $@ $(INSTALLED)

clean:
	rm -rf .venv build dist site *.egg-info runs
