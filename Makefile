# Everything runs in a virtual environment of its own, .venv, made by the first target that needs it.

PYTHON ?= python3
IMAGES ?= ./images
OUT ?= ./gray
OPTIONS ?=
SECONDS ?= 60
TARGETS ?=

BIN := .venv/bin
BENCH_BIN := .venv-bench/bin
BENCH ?= throughput thumbnails png_output formats kernel startup checkpoint_cost resume_cost notice_latency scaling memory dispatch large stores joined
BENCH_IMAGES = $(if $(filter ./images,$(IMAGES)),./photos,$(IMAGES))

.DEFAULT_GOAL := help
.PHONY: help run test test-ray check coverage lint soak soak-join photos fuzz bench bench-ray bench-report docs dist clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | sort | expand -t 15
	@echo
	@echo "IMAGES=$(IMAGES) OUT=$(OUT) PYTHON=$(PYTHON); more for batchgray in OPTIONS=, such as OPTIONS='--workers 1'"

run: .venv/installed $(if $(filter ./images,$(IMAGES)),./images)  ## convert IMAGES to grayscale under OUT
	@$(BIN)/batchgray run "$(IMAGES)" --out "$(OUT)" $(OPTIONS)

test: .venv/tested lint  ## install with the test extras, lint, run the tests
	@tests/support/packages.sh
	$(BIN)/python -m pytest -n 3 --dist loadfile $(PYTEST)
	@$(MAKE) --no-print-directory test-ray

test-ray: .venv/rayed  ## the tests on a Ray cluster, in a network of their own
	@tests/ray/run.sh $(BIN)/python -m pytest -q -W default tests/ray $(PYTEST)

check: .venv/tested lint  ## lint, and the tests that start no process: a minute or two
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not processes" $(PYTEST)

coverage: .venv/tested  ## which lines of batchgray the tests reach, in every process: a report, no verdict
	@tests/support/packages.sh
	@rm -rf .coverage && mkdir .coverage
	-$(BIN)/coverage run -m pytest -n 2 --dist loadfile $(PYTEST)
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage html -q
	@$(BIN)/coverage report
	@echo "Line by line: .coverage/html/index.html"

soak: .venv/tested  ## ROUNDS=200 kills at random moments, RESUMES=200 power cuts, every fault of the disk, installations; an hour
	$(BIN)/python -m pytest -s --timeout 0 --rounds $(or $(ROUNDS),200) --seed $(or $(SEED),$(shell date +%s)) \
		$(if $(filter-out ./images,$(IMAGES)),--images "$(IMAGES)") \
		tests/promises/test_resumed_tree_equals_uninterrupted_tree.py -k random_moments
	TEST_BATCHGRAY_RESUMES=$(or $(RESUMES),200) TEST_BATCHGRAY_FAULTS=all $(BIN)/python -m pytest -s --timeout 0 \
		tests/promises/test_a_power_cut_breaks_no_promise.py tests/promises/test_faults_on_the_disk.py
	TEST_BATCHGRAY_EVENTS=$(or $(ROUNDS),200) TEST_BATCHGRAY_SEED=$(or $(SEED),$(shell date +%s)) $(BIN)/python -m pytest -s \
		--timeout 3600 tests/promises/test_a_job_survives_whatever_comes.py
	TEST_BATCHGRAY_INSTALL=1 $(BIN)/python -m pytest --timeout 0 tests/project/test_packaging.py

soak-join: .venv/tested  ## EVENTS=120 stops, kills, notices and lost answers of 4 machines that join, over JOINED=2000 photographs
	@test -d "$(BENCH_IMAGES)" || $(MAKE) photos
	TEST_BATCHGRAY_JOIN_EVENTS=$(or $(EVENTS),120) TEST_BATCHGRAY_JOIN_IMAGES=$(or $(JOINED),2000) \
		$(BIN)/python -m pytest -s --timeout 0 --seed $(or $(SEED),$(shell date +%s)) --images "$(BENCH_IMAGES)" \
		tests/promises/test_machines_that_die_and_sleep_end_in_one_tree.py

lint: .venv/tested  ## ruff, mypy, codespell, and the layers of the architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --config setup.cfg
	$(BIN)/codespell

photos: .venv/installed  ## fetch real photographs into ./photos (Debian, Ubuntu)
	$(BIN)/python scripts/fetch_photos.py ./photos

fuzz: .venv-fuzz/installed  ## fuzz every parser for SECONDS each (TARGETS="manifest images" for some)
	@tests/fuzz/run.sh .venv-fuzz/bin/python $(SECONDS) $(TARGETS)

bench: .venv-bench/installed  ## measure against peers, over the photographs or IMAGES; BENCH='throughput' for one
	@test -d "$(BENCH_IMAGES)" || $(MAKE) photos
	@for name in $(BENCH); do $(BENCH_BIN)/python benchmarks/$$name.py --images "$(BENCH_IMAGES)" --keep $(OPTIONS) || exit 1; done
	@rm -rf benchmarks/scratch

bench-ray: .venv-bench/rayed  ## what a Ray cluster of two nodes on this machine costs, beside two that join and one alone
	@test -d "$(BENCH_IMAGES)" || $(MAKE) photos
	@$(BENCH_BIN)/python benchmarks/joined.py --images "$(BENCH_IMAGES)" --ray --keep $(OPTIONS)
	@rm -rf benchmarks/scratch

bench-report: .venv-bench/installed  ## draw what was measured into docs/benchmarks
	@$(BENCH_BIN)/python benchmarks/report.py

docs: .venv/documented  ## the documentation site, as build/site/index.html
	@$(BIN)/python -m sphinx -q -W --keep-going -d build/doctrees docs build/site
	@echo "The site: build/site/index.html"

dist: .venv-dist/installed  ## the last commit as sdist and wheel in dist, the same bytes each time
	@.venv-dist/bin/python scripts/make_dist.py dist $(if $(TAG),--tag $(TAG))

clean:  ## remove the virtual environments and what tools left
	rm -rf .venv .venv-fuzz .venv-bench .venv-dist .coverage .fuzz benchmarks/scratch build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

./images: | .venv/installed
	@$(BIN)/python scripts/make_samples.py ./images

# Debian keeps ensurepip in a package of its own.
.venv/bin/python .venv-fuzz/bin/python .venv-bench/bin/python .venv-dist/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "batchgray needs Python 3.11 or later: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(@D)/.. || { rm -rf $(@D); apt-get update -q && apt-get install -y -q python3-venv && $(PYTHON) -m venv $(@D)/..; }

.venv-fuzz/installed: .venv-fuzz/bin/python setup.cfg pyproject.toml
	@echo "Installing batchgray and atheris into .venv-fuzz ..."
	@.venv-fuzz/bin/pip install -q --disable-pip-version-check --only-binary atheris -e '.[fuzz]' || { \
	    echo "no atheris for $$($(PYTHON) -V) here: its wheels are for CPython 3.11 to 3.14 on Linux; make fuzz PYTHON=..." >&2; exit 1; }
	@touch $@

.venv/installed: .venv/bin/python setup.cfg pyproject.toml
	@echo "Installing batchgray into .venv ..."
	@$(BIN)/pip install -q --disable-pip-version-check -e .
	@touch $@

# Installed as users install it: a link to the source costs each interpreter 0.04 s.
.venv-bench/rayed: .venv-bench/installed
	@$(BENCH_BIN)/pip install -q --disable-pip-version-check '.[ray]'
	@touch $@

.venv-bench/installed: .venv-bench/bin/python setup.cfg pyproject.toml $(shell find batchgray -name '*.py')
	@echo "Installing batchgray and its peers into .venv-bench ..."
	@rm -rf build
	@$(BENCH_BIN)/pip install -q --disable-pip-version-check --force-reinstall --no-deps .
	@$(BENCH_BIN)/pip install -q --disable-pip-version-check '.[bench]'
	@rm -rf build
	@touch $@

# One version: others may write the same files in other words.
.venv-dist/installed: .venv-dist/bin/python Makefile
	@.venv-dist/bin/pip install -q --disable-pip-version-check setuptools==84.2.1
	@touch $@

.venv/documented: .venv/installed
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[docs]'
	@touch $@

.venv/rayed: .venv/tested
	@echo "Installing Ray into .venv ..."
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[ray]'
	@touch $@

.venv/tested: .venv/installed
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[test]'
	@touch $@
