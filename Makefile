# make demo   a camera, the node and an observer over real DDS, in about a minute
# make test   lint, types, the arrow rules and all tests
# make docs   the documentation site, in site/
# Each target first installs what it needs into .venv; only python3 (with venv) and make have to be there.

PYTHON ?= python3
SOURCE ?=
MODEL ?=
ARGS ?=
VIEWER ?=
VENV_PYTHON := .venv/bin/python

# Variables with which a sourced ROS installation, or another Python environment, would leak into .venv.
unexport PYTHONPATH PYTHONHOME LD_LIBRARY_PATH AMENT_PREFIX_PATH _ROS_WHEELS_BOOTSTRAP_COMPLETE

.PHONY: help demo docs test lint format clean setup-demo setup-docs setup-test
.DEFAULT_GOAL := help

help:
	@echo "make demo [SOURCE=folder] [MODEL=name or file]   see it work (installs under 1 GB, no torch)"
	@echo "make demo VIEWER=rerun   the same with a live view in the browser (installs 0.7 GB more)"
	@echo "make test      lint, types, arrow rules, tests (installs torch: 8 GB)"
	@echo "make docs      the documentation site, in site/ (installs under 1 GB, no torch)"
	@echo "make lint      the first three of these"
	@echo "make format    put the sources into the form that lint asks for"
	@echo "make clean     remove .venv and everything that was built"

demo: setup-demo
	@$(VENV_PYTHON) -m lcr_seg_ros demo $(if $(SOURCE),--source "$(SOURCE)") $(if $(MODEL),--model "$(MODEL)") \
		$(if $(VIEWER),--viewer "$(VIEWER)") $(ARGS)

docs: setup-docs
	@NO_MKDOCS_2_WARNING=1 $(VENV_PYTHON) -m mkdocs build --strict $(ARGS)

test: setup-test
	@$(MAKE) --no-print-directory lint
	$(VENV_PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: setup-test
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .
	$(VENV_PYTHON) -m mypy
	.venv/bin/lint-imports --no-logo

format: setup-test
	$(VENV_PYTHON) -m ruff check --fix .
	$(VENV_PYTHON) -m ruff format .

clean:
	rm -rf .venv build install log site demo_output lcr_seg_ros.egg-info \
		.mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

setup-demo: EXTRAS := ros $(filter rerun,$(VIEWER))
setup-docs: EXTRAS := ros docs
setup-test: EXTRAS := ros train dev docs rerun
setup-demo setup-docs setup-test:
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
		echo "setup: there is no $(PYTHON) here: install Python 3.10 or newer with its venv module," \
			"or name one with PYTHON=" >&2; exit 1; }
	@$(PYTHON) tools/setup_venv.py $(EXTRAS)
