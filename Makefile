# `make` lists the targets. Everything is installed into $(VENV), at the versions of constraints.txt.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint sanitize clean

VENV ?= .venv
BACKENDS ?= jax tensorflow torch
PYTEST_FLAGS ?= -q
# Torch's idle threads spin by default: beside our loader's threads they make a small step ten times slower.
export OMP_WAIT_POLICY ?= PASSIVE

python := $(VENV)/bin/python
pip := $(python) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
comma := ,
empty :=
joined = $(subst $(empty) $(empty),+,$(sort $(1)))

built_from := pyproject.toml constraints.txt CMakeLists.txt $(wildcard src/onewarp/native/*)
package := $(shell find src/onewarp -name '*.py' 2>/dev/null)

# What has to be there before anything can be installed; each check is made only when it is needed.
new_enough = import sys; sys.exit(sys.version_info < (3, 11))
find_python = $(firstword $(shell for name in $(PYTHON) python3 python3.11 python3.12 python3.13 python3.14; do \
    if "$$name" -c '$(new_enough)' >/dev/null 2>&1; then echo "$$name"; fi; done))
has_venv = $(shell "$(1)" -c 'import ensurepip, venv' >/dev/null 2>&1 && echo yes)
find_compiler = $(firstword $(shell for name in "$${CXX:-c++}" c++ g++ clang++; do \
    if echo 'int main() {}' | "$$name" -std=c++17 -x c++ -fsyntax-only - >/dev/null 2>&1; then echo "$$name"; fi; done))
need_python = $(if $(find_python),,$(error No Python 3.11 or newer was found: install one, or name it with PYTHON=/path/to/python3))
need_venv = $(if $(call has_venv,$(find_python)),,$(error $(find_python) has no venv module: install it, for example with "apt install python3-venv"))
need_compiler = $(if $(find_compiler),,$(error No C++17 compiler was found: install one, for example with "apt install g++", or name it with CXX=))

help:  ## list the targets
	@grep -hE '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):[^#]*## /  make \1\t/' | expand -t 18

demo: $(VENV)/.installed-jax  ## train a small model on handwritten digits, on JAX
	KERAS_BACKEND=jax $(VENV)/bin/onewarp train digits

test: $(VENV)/.installed-$(call joined,test $(BACKENDS))  ## run the tests; BACKENDS="jax tensorflow torch"
	KERAS_BACKEND=$(firstword $(BACKENDS)) $(python) -m pytest $(PYTEST_FLAGS) --ignore=tests/backends
	@for isa in $$($(python) -c 'from onewarp import _native; print(*_native.isas()[1:])'); do \
	    echo "ONEWARP_ISA=$$isa $(python) -m pytest $(PYTEST_FLAGS) tests/test_native*.py"; \
	    ONEWARP_ISA=$$isa $(python) -m pytest $(PYTEST_FLAGS) tests/test_native*.py; \
	done
	@for backend in $(BACKENDS); do \
	    if [ -d tests/backends ]; then \
	        echo "KERAS_BACKEND=$$backend $(python) -m pytest $(PYTEST_FLAGS) tests/backends"; \
	        KERAS_BACKEND=$$backend $(python) -m pytest $(PYTEST_FLAGS) tests/backends; \
	    fi; \
	done

lint: $(VENV)/.installed-test  ## check style, format and types
	$(python) -m ruff check .
	$(python) -m ruff format --check .
	$(python) -m mypy

# Python runs without `site`, so that the sanitized copy and not the editable installation is imported. NumPy's buffers
# come from malloc at their exact size, so that reading past the end of one is seen; --capture=sys lets the report out.
sanitize: build/sanitize/.built  ## run the tests of the native module under address and undefined-behaviour sanitizers
	@compiler="$(find_compiler)"; preload=; \
	for name in libasan.so libubsan.so libstdc++.so; do \
	    file=$$("$$compiler" -print-file-name=$$name); \
	    case "$$file" in /*) preload="$$preload$${preload:+:}$$file" ;; \
	        *) echo "$$compiler has no $$name: install GCC and its sanitizer libraries" >&2; exit 1 ;; esac; \
	done; \
	site=$$($(python) -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
	LD_PRELOAD="$$preload" ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
	    PYTHONMALLOC=malloc PYTHONPATH="build/sanitize/site:$$site" \
	    $(python) -S -m pytest $(PYTEST_FLAGS) -p no:cacheprovider --capture=sys tests/test_native*.py

build/sanitize/.built: $(VENV)/.installed-test $(built_from) $(package)
	$(need_compiler)$(pip) --no-deps --no-build-isolation --upgrade --target build/sanitize/site \
	    --config-settings=cmake.define.ONEWARP_SANITIZE=ON --config-settings=cmake.build-type=Debug \
	    --config-settings=build-dir=build/sanitize/cmake --config-settings=install.strip=false .
	touch $@

clean:  ## remove what was built and the caches; the virtual environment stays
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(python):
	$(need_python)$(need_venv)$(find_python) -m venv $(VENV)

# .installed-a+b: the package, editable, with the extras a and b. torchvision without its dependencies, because no build
# of it asks for the CPU build of torch; the tests that use it stub what is missing.
$(VENV)/.installed-%: $(built_from) | $(python)
	$(need_compiler)$(pip) scikit-build-core nanobind cmake ninja
	$(pip) --no-build-isolation --editable '.[$(subst +,$(comma),$*)]'
	$(if $(findstring torch,$*),$(pip) --no-deps torchvision)
	touch $@
