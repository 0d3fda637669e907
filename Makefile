# make run                       the whole job on a sample catalog and an S3 server on loopback
# make run INPUT=… OUTPUT=…      the same on your bucket or folder (OPTIONS="--max_side 800" …)
# make test                      the tests
# make test-flink                the same job on a Flink cluster of its own (Java 17 or newer, Maven)
# make lint                      linter, formatter and type checker
# make bench                     pipeline against bare network (IMAGES=folder, OPTIONS="--rounds 1" …)
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Exported, so that the shell reads them as they are: a folder's name may hold blanks.
export INPUT ?=
export OUTPUT ?=
OPTIONS ?=
IMAGES ?=

.PHONY: run test test-flink lint bench clean

$(READY): requirements.txt requirements-train.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11 to 3.13 is needed, this is %d.%d: make PYTHON=python3.11 ..." % sys.version_info[:2])'
	@echo "installs packages into $(VENV), 4 GB: takes some minutes, and says nothing"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $(READY)

run: $(READY)
ifeq ($(strip $(INPUT)),)
	$(BIN)/python -m pipeline.demo $(OPTIONS)
else ifeq ($(strip $(OUTPUT)),)
	@echo "make run INPUT=… needs OUTPUT=… too: an s3:// prefix or a folder" >&2; exit 2
else
	$(BIN)/python run_pipeline.py --input "$$INPUT" --output "$$OUTPUT" $(OPTIONS)
endif

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-flink: $(READY)
	$(BIN)/python -m pytest -m flink -rs

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python -m benchmarks.pipeline_vs_network $(IMAGES) $(OPTIONS)

clean:
	rm -rf $(VENV) demo-output build *.egg-info
