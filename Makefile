# Every target does its own set-up: a virtualenv in the checkout with pinned dependencies.
#
#   make demo    the whole path on invented streets: no key, no account, no internet after installing
#   make test    lint, types, import rules and every test; make test-long: the same with many more random examples
#   make test-faults   kills, full disks, several processes at once, weeks of lying sources: a table, the verdict last
#   make test-scale    two machines with a real Postgres, Redis and S3, killed while they embed and publish
#   make test-image    the image of deploy/Dockerfile, built and run by Buildah, without Docker
#   make bench   what the platform costs, all in one table (OLD=bench.json beside older figures);
#                make bench-embed: fetching and embedding images only, beside img2dataset;
#                make bench-publish: publishing to Cloudflare only, beside a bare client;
#                make bench-merge: merging, and looking after an index, with 1, 5 and 10 million captures;
#                make bench-refresh: a quarter of weekly refreshes of every cell and source, on a simulated clock;
#                make bench-ui: the UI's pages with that much history, in Chromium;
#                make bench-scale: 1 to 39 million captures, metadata only: an hour or two, 35 GB
#   make ui      the Dagster UI on http://127.0.0.1:3000, over the same data
#
# PyTorch: the pinned version as the package index offers it. For a CUDA (or a CPU-only) build say
#   make demo TORCH_PIP_ARGS='--index-url <the PyTorch wheel index for your hardware>'

PYTHON ?= python3
TORCH_PIP_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
IMG2DATASET := .geopin/bench/img2dataset
# Libraries that keep threads and freed memory for a server's sake would take 2 GB a process.
LEAN := OMP_NUM_THREADS=1 POLARS_MAX_THREADS=1 TORCHINDUCTOR_COMPILE_THREADS=1 MALLOC_ARENA_MAX=2 \
  ARROW_DEFAULT_MEMORY_POOL=system ONEDNN_PRIMITIVE_CACHE_CAPACITY=8 _RJEM_MALLOC_CONF=dirty_decay_ms:500,muzzy_decay_ms:0
# Thousands of small files and databases that are synced: a disk in memory takes them without waiting, where it has room.
IN_MEMORY := $(shell [ -w /dev/shm ] && df -Pk /dev/shm | awk 'NR == 2 && $$4 > 6000000 { print "TMPDIR=/dev/shm" }')
PYTHON_LEAN := $(LEAN) $(IN_MEMORY) $(BIN)/python
PYTEST := $(PYTHON_LEAN) -m pytest -q
# The suite in parts, each a process, some at once; make tests-cli: one of them.
PARTS := $(PYTHON_LEAN) -m geopin_assets_tests.parts
# A module in one of the workers.
IN_WORKERS := -n $(shell getconf _NPROCESSORS_ONLN) --maxprocesses 8 --dist loadfile --no-loadscope-reorder
SEED ?= $(shell date +%s)
CHECKS := check-format check-lint check-imports check-types
export DAGSTER_HOME := $(CURDIR)
# Modules are compiled once and kept, whatever the environment says: the demo starts four interpreters, the tests 300.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test test-long test-faults test-scale test-image tests $(CHECKS) bench bench-embed bench-publish bench-merge bench-refresh bench-ui bench-scale ui check lock clean

demo: $(VENV)/.installed
	GEOPIN_PROFILE=sandbox $(BIN)/geopin demo

# What checks need fits into the pauses of the tests.
test: $(VENV)/.installed
	@$(MAKE) --no-print-directory -k -j 2 tests check

tests: $(VENV)/.installed
	$(PARTS) -q

tests-%: $(VENV)/.installed
	$(PARTS) $* -q

test-long: $(VENV)/.installed check
	@GEOPIN_TEST_DEPTH=long GEOPIN_TEST_SEED=$(SEED) $(PARTS) -q --hypothesis-seed=$(SEED) --timeout 3600

# What holds whatever befalls it: the figures of every attempt make the table at the end.
FAULTS := $(BIN)/python -m geopin_assets_tests.faults
REPORT := .geopin/faults.jsonl
test-faults: $(VENV)/.installed
	rm -f $(REPORT) && mkdir -p .geopin
	-GEOPIN_TEST_FAULTS_REPORT=$(REPORT) $(PYTEST) $(IN_WORKERS) $$($(FAULTS) --files)
	-GEOPIN_TEST_FAULTS_REPORT=$(REPORT) GEOPIN_TEST_DEPTH=long GEOPIN_TEST_SEED=$(SEED) \
	  $(PYTEST) $(IN_WORKERS) --timeout 7200 $$($(FAULTS) --files long)
	@$(FAULTS) --table $(REPORT)

# Servers that are not there are installed; where they cannot be, tests are skipped with the reason.
SUMMARY := .geopin/scale.txt
test-scale: $(VENV)/.installed
	@mkdir -p .geopin && rm -f $(SUMMARY)
	GEOPIN_TEST_SCALE=$(SUMMARY) $(BIN)/python -m pytest -q -rs -n 0 geopin_assets_tests/scale; failed=$$?; \
	  cat $(SUMMARY) 2>/dev/null || echo "test-scale: no summary, as it was skipped or failed: see above"; exit $$failed

# Needs root, buildah and debootstrap; minutes and 10 GB.
test-image: $(VENV)/.installed
	GEOPIN_TEST_IMAGE=1 $(BIN)/python -m pytest -q -rs -n 0 geopin_assets_tests/deploy

check: $(CHECKS)

check-format: $(VENV)/.installed
	$(BIN)/ruff format --check .

check-lint: $(VENV)/.installed
	$(BIN)/ruff check .

check-imports: $(VENV)/.installed
	$(BIN)/lint-imports

check-types: $(VENV)/.installed
	$(BIN)/mypy

# All figures in one table, and in .geopin/bench.json; OLD=… says what became of those of another run.
BENCH := $(BIN)/python -m geopin_assets_tests.benchmarks $(if $(OLD),--compare $(OLD))
CAPTURES ?= 1e6 5e6 10e6 39e6
bench: $(VENV)/.installed $(IMG2DATASET)
	$(BENCH)

bench-embed: $(VENV)/.installed $(IMG2DATASET)
	$(BENCH) --embed

bench-publish: $(VENV)/.installed
	$(BENCH) publish

bench-merge: $(VENV)/.installed
	$(BENCH) merge
	$(BIN)/python -m geopin_assets_tests.benchmarks.index_upkeep --captures 1000000 5000000 10000000
	$(BIN)/python -m geopin_assets_tests.benchmarks.index_memory

bench-refresh: $(VENV)/.installed
	$(BIN)/python -m geopin_assets_tests.benchmarks.quarter --weeks 13

bench-ui: $(VENV)/.installed
	$(BENCH) pages

bench-scale: $(VENV)/.installed
	$(BIN)/python -m geopin_assets_tests.benchmarks.scale --captures $(CAPTURES)

# The baseline in an environment of its own: it wants other versions than we do. Where it cannot be had, the
# benchmark says so and goes on.
$(IMG2DATASET):
	$(PYTHON) -m venv $@
	$@/bin/python -m pip install -q img2dataset==1.47.0 || rm -r $@

ui: $(VENV)/.installed
	$(BIN)/geopin ui

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt --upgrade pip
	$(BIN)/python -m pip install -q -c constraints.txt $(TORCH_PIP_ARGS) torch
	$(BIN)/python -m pip install -q -c constraints.txt --group dev -e .
	touch $@

# Pins what is installed now, for everyone. The local part of a torch version (+cpu, +cu130) is left out.
lock: $(VENV)/.installed
	$(BIN)/python -m pip freeze --all --exclude-editable | sed 's/+[a-z0-9]*$$//' | grep -v '^nvidia-\|^triton' > constraints.txt

# Forgets the sandbox's data and this checkout's Dagster history; live data stays.
clean:
	rm -rf .geopin/sandbox history schedules storage logs .telemetry .nux .logs_queue
