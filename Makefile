# SPDX-License-Identifier: Apache-2.0
# The verbs of this repository; `make help` lists them. Meson and Ninja do the building, each kind of
# build in a directory of its own: build (release), build-asan, build-tsan, build-fuzz, build-analyze.

PREFIX     ?= /usr/local
DESTDIR    ?=
SYSCONFDIR ?= /etc
ROUNDS     ?= 10000
SECONDS    ?= 60
SEEDS      ?= 2000
MINUTES    ?= 60
SEED       ?=
JOBS       ?= $(shell nproc)
ARGS       ?=
SUITES     ?=
T          ?=
B          ?=

MESON  = meson setup
NINJA  = ninja -j$(JOBS)
PYTHON = build/venv/bin/python

.DEFAULT_GOAL := all
.PHONY: all run test test-build test-thread tests-ready check fuzz bench soak soak-hour sim conformance analyze \
        install packages clean help

all: build/build.ninja ## build the release program: build/headrace (the default)
	@$(NINJA) -C build headrace

run: ## build, start a server on an empty directory and show the demo load live (ARGS=... for options)
	@tools/install_packages build
	@$(MAKE) --no-print-directory all
	@build/headrace demo $(ARGS)

test: ## every test: unit, corpus, thread, wire, clients, crash, bad input, disk (SUITES="wire crash" for some)
	@tools/install_packages build test
	@$(MAKE) --no-print-directory test-build tests-ready
	@$(PYTHON) tests/run.py $(SUITES)

test-build: build-asan/build.ninja build-tsan/build.ninja build/build.ninja
	@$(NINJA) -C build-asan all meson-test-prereq
	@$(NINJA) -C build tests/hotpath/headrace-hotpath
	@$(PYTHON3) tests/run.py --build-thread-tests build-tsan

test-thread: ## only the unit tests of the threaded rooms, under the thread sanitizer
	@tools/install_packages build
	@$(MAKE) --no-print-directory build-tsan/build.ninja
	@$(PYTHON3) tests/run.py --build-thread-tests build-tsan
	@$(PYTHON3) tests/run.py thread

tests-ready: build/venv/ready build/venv-s3/ready build/clients/node/ready

check: ## layers, format, banned calls, licences, lengths, dialogues, cppcheck
	@tools/install_packages build check
	@$(PYTHON3) tools/check.py

fuzz: ## drive one fuzz target with libFuzzer: make fuzz T=json SECONDS=60 (without T: list them)
	@tools/install_packages build fuzz
	@tools/fuzz "$(T)" "$(SECONDS)"

bench: ## measure against other systems, in pairs, in the same minutes: make bench B="B1 B3" (without B: everything)
	@tools/install_packages build
	@tools/install_packages bench || echo "Peers that could not be installed are left out."
	@$(MAKE) --no-print-directory all
	@$(PYTHON3) bench/run.py $(B) $(ARGS)

soak: ## an object of 5 GiB, then the crash loop for a long time, on the release program: make soak ROUNDS=10000
	@tools/install_packages build
	@$(MAKE) --no-print-directory all
	@$(PYTHON3) tests/s3_large.py --program build/headrace
	@$(PYTHON3) tests/crash.py --program build/headrace --rounds $(ROUNDS) $(ARGS)

soak-hour: ## an hour at 80 % load with retention, sealing and kills turning over, drawn: make soak-hour MINUTES=60
	@tools/install_packages build
	@$(MAKE) --no-print-directory all
	@$(PYTHON3) bench/soak.py --program build/headrace --minutes $(MINUTES) $(ARGS)

sim: ## the store on a simulated disk with faults: make sim SEEDS=10000, make sim SEED=7 ARGS=--loud
	@tools/install_packages build
	@$(MAKE) --no-print-directory build/build.ninja
	@$(NINJA) -C build src/store/sim/headrace-sim
	@build/src/store/sim/headrace-sim --jobs $(JOBS) $(if $(SEED),--seed $(SEED),--seeds $(SEEDS)) $(ARGS)

conformance: ## write docs/conformance anew, from contracts, dialogues and what unmodified clients call
	@tools/install_packages build test
	@$(MAKE) --no-print-directory all tests-ready
	@$(PYTHON) tools/conformance.py --record build/headrace

analyze: ## gcc's static analyzer over the whole source (slow, and it cries wolf)
	@tools/install_packages build
	@test -e build-analyze/build.ninja || $(MESON) build-analyze -Dc_args=-fanalyzer -Dwerror=false
	@$(NINJA) -C build-analyze

install: all ## install below DESTDIR and PREFIX: program, manual, completion, unit, configuration
	@DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" SYSCONFDIR="$(SYSCONFDIR)" tools/install_files

packages: ## install the Debian packages that building, testing and checking need
	@tools/install_packages build test check

clean: ## remove everything that was built
	@rm -rf build build-asan build-tsan build-fuzz build-analyze

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ---- What the verbs stand on.

PYTHON3 ?= python3

# Meson looks which rooms exist, so a new meson.build anywhere means looking again.
DESCRIPTION := meson.build meson_options.txt $(wildcard src/meson.build src/*/meson.build src/*/*/meson.build)
RECONFIGURE  = $(if $(wildcard $(@D)/meson-private/coredata.dat),--reconfigure)

build/build.ninja: $(DESCRIPTION)
	@$(MESON) $(RECONFIGURE) build -Dbuildtype=release -Ddebug=true -Dwerror=false
	@touch $@

build-asan/build.ninja: $(DESCRIPTION)
	@$(MESON) $(RECONFIGURE) build-asan -Db_sanitize=address,undefined
	@touch $@

build-tsan/build.ninja: $(DESCRIPTION)
	@$(MESON) $(RECONFIGURE) build-tsan -Db_sanitize=thread
	@touch $@

build/venv/ready: tests/requirements.txt
	@echo "Installing the Python clients of the tests into build/venv"
	@mkdir -p build && $(PYTHON3) -m venv build/venv
	@build/venv/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@touch $@

build/venv-s3/ready: tests/requirements-s3.txt
	@echo "Installing s3fs, DuckDB and Arrow for the tests into build/venv-s3"
	@mkdir -p build && $(PYTHON3) -m venv build/venv-s3
	@build/venv-s3/bin/pip install --quiet --disable-pip-version-check -r tests/requirements-s3.txt
	@touch $@

build/clients/node/ready: tests/clients/node/package.json tests/clients/node/package-lock.json
	@echo "Installing the JavaScript client of the tests into build/clients/node"
	@mkdir -p build/clients/node && cp $^ build/clients/node/
	@cd build/clients/node && npm ci --no-audit --no-fund --silent
	@touch $@
