PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
DEMO_RUN := runs/demo

.PHONY: demo test test-slow lint clean

demo: $(INSTALLED)
	rm -rf $(DEMO_RUN)
	$(BIN)/tfhub-ft train sentiment --output-dir $(DEMO_RUN)
	$(BIN)/tfhub-ft export $(DEMO_RUN) --output-dir saved_models/demo
	$(BIN)/tfhub-ft predict saved_models/demo \
		"An evening I will remember for years: sharp, tender and very funny." \
		"The battery died on day two and nobody answered my emails." \
		"Not what I expected, but I ended up loving every minute of it."

test: $(INSTALLED)
	$(BIN)/python -m pytest

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -m slow

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(INSTALLED): setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "tfhub_ft needs Python 3.10 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

clean:
	rm -rf .venv build *.egg-info runs
