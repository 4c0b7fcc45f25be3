# make demo     a real language model, a table and a picture of where its positions stop carrying
# make test     every test: C++, Python, parity with transformers and torch, the kernels for AArch64 and WebAssembly
# make sanitize the tests once more under AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer, built anew (an hour)
# make build    build/ropewalk, with the page of `ropewalk explore` inside
# make tool     the same without emscripten, hence without that page where it was not made before
# make lab      the experiments of lab/ that are not made yet (an hour or two from nothing), their pictures and tables
# make javascript  build-wasm/javascript: the library as WebAssembly and the module that loads it
# make docs     the documentation as a site, build/site/index.html, which opens from a file
# make bench    the kernels against the memory of this machine and against what else is installed, into bench/results/
# make clean    what was built; .cache/ (the model) and .venv/ stay, `make distclean` takes them too
#
# Each of them sets up what it needs (Debian packages, and for `test` a Python environment in .venv), needs no other first,
# and can be run again. As root, work is done as the owner of this folder, so that no file here ends up root's.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

ROPEWALK_CACHE ?= $(CURDIR)/.cache
export ROPEWALK_CACHE
JOBS ?= $(shell nproc)

OWNER := $(shell stat -c %u .)
GROUP := $(shell stat -c %g .)
ifneq ($(shell id -u),0)
AS_OWNER :=
else ifeq ($(OWNER),0)
AS_OWNER :=
else
AS_OWNER := setpriv --reuid=$(OWNER) --regid=$(GROUP) --clear-groups env HOME=$(CURDIR)/.cache/home
endif

# On AArch64 the release build has the NEON target itself.
CROSS := $(filter-out aarch64 arm64,$(shell uname -m))

BIN := build/ropewalk
PYTHON := .venv/bin/python
DEMO := demo
# What a few minutes on two cores allow; scripts/demo.sh picks the lengths by the processor if none are given here.
# DEMO_ARGS="--windows 3" makes the figures steadier.
DEMO_LENGTHS ?=
DEMO_SCALINGS ?= none,linear:2,dynamic:2,yarn:4
DEMO_ARGS ?=
# asan or tsan alone
SANITIZERS ?=
# --quick, --full, --only REGEX, ...: docs/bench.md
BENCH_ARGS ?=
# --jobs N, --threads N
LAB_ARGS ?=

.PHONY: help
help:
	@sed -n '1,10p' Makefile | sed 's/^# //'

.PHONY: system
system:
	@scripts/setup.sh

# The explorer's page is made where build-wasm/javascript is there: always by `build` and `test`, and by the others if one
# of these ran before, so that a demo waits for no emscripten.
.PHONY: build
build: javascript tool

.PHONY: tool
tool: system
	@$(AS_OWNER) cmake --preset release >/dev/null
	@echo "building ropewalk ($(JOBS) jobs)"
	@$(AS_OWNER) cmake --build --preset release --parallel $(JOBS) --target ropewalk_tool
	@echo "built $(BIN)"

.PHONY: demo
demo: tool
	@$(AS_OWNER) scripts/demo.sh "$(BIN)" "$(DEMO)" "$(DEMO_LENGTHS)" "$(DEMO_SCALINGS)" $(DEMO_ARGS)

.PHONY: test
test: system
	@scripts/setup.sh --python $(if $(CROSS),--cross) --wasm --browser
	@$(AS_OWNER) cmake --preset wasm >/dev/null
	@$(AS_OWNER) cmake --build --preset wasm --parallel $(JOBS)
	@$(AS_OWNER) cmake --preset release-python >/dev/null
	@$(AS_OWNER) cmake --build --preset release-python --parallel $(JOBS)
	@$(if $(CROSS),$(AS_OWNER) cmake --preset aarch64 >/dev/null)
	@$(if $(CROSS),$(AS_OWNER) cmake --build --preset aarch64 --parallel $(JOBS))
	@$(AS_OWNER) scripts/test.sh

.PHONY: javascript
javascript: system
	@scripts/setup.sh --wasm
	@$(AS_OWNER) cmake --preset wasm >/dev/null
	@$(AS_OWNER) cmake --build --preset wasm --parallel $(JOBS) --target ropewalk_wasm
	@echo "built build-wasm/javascript"

.PHONY: sanitize
sanitize: javascript
	@scripts/setup.sh --python
	@$(AS_OWNER) env JOBS=$(JOBS) scripts/sanitize.sh $(SANITIZERS)

.PHONY: bench
bench: system
	@scripts/setup.sh --python
	@$(AS_OWNER) cmake --preset release >/dev/null
	@$(AS_OWNER) cmake --build --preset release --parallel $(JOBS) --target ropewalk_tool
	@$(AS_OWNER) $(BIN) bench --python $(PYTHON) --out bench/results $(BENCH_ARGS)

.PHONY: lab
lab: system
	@scripts/setup.sh --python
	@$(AS_OWNER) cmake --preset release-python >/dev/null
	@$(AS_OWNER) cmake --build --preset release-python --parallel $(JOBS) --target ropewalk_core
	@$(AS_OWNER) scripts/fetch_texts.sh bible >/dev/null
	@$(AS_OWNER) env PYTHONPATH=build/python $(PYTHON) lab/0002-encodings/run.py $(LAB_ARGS)
	@$(AS_OWNER) env PYTHONPATH=build/python $(PYTHON) lab/0003-vision/run.py $(LAB_ARGS)
	@$(AS_OWNER) $(PYTHON) lab/report.py

.PHONY: docs
docs: system
	@scripts/setup.sh --python
	@$(AS_OWNER) cmake --preset release-python >/dev/null
	@$(AS_OWNER) cmake --build --preset release-python --parallel $(JOBS) --target ropewalk_core_stub
	@$(AS_OWNER) env NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --quiet
	@$(AS_OWNER) $(PYTHON) scripts/site/check.py build/site
	@echo "built build/site/index.html"

.PHONY: format
format: system
	@git ls-files '*.cpp' '*.hpp' '*.c' '*.h' '*.cu' '*.cuh' | xargs clang-format-14 -i

.PHONY: clean
clean:
	rm -rf build build-asan build-tsan build-library build-aarch64 build-wasm $(DEMO)

.PHONY: distclean
distclean: clean
	rm -rf .venv .cache
