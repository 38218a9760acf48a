# Synapse: `make run` to see it work, `make test` to check it. Each target sets up what it needs.
#
#   CARGO_TARGET_DIR   where Rust is built (default: target)
#   PYTHON             the interpreter of the virtual environment, 3.11 or later
#   TRACE, SPEED       make run: replay a trace (CSV), this many times faster
#   RELEASE=1          make run: optimised, which takes minutes longer to build
#   ROUNDS, ONLY       make bench-publish, bench-gateway: how many rounds; this part alone (contest, lone, memory or
#                      spool; deliveries, idle or storm). ROUNDS for bench-chain too
#   UPDATE=1           make bench-instructions: write the baseline anew
#   PROTOCOL, SUITE    make conformance-server: engine or socket; make conformance: the folder of a suite, checked out
#   TARGET, SECONDS    make fuzz: one of fuzz/fuzz_targets, and for how long (default: 60)
#   SYNAPSE_TEST_REDIS_SERVER
#                      the redis-server or valkey-server that tests and benchmarks start (default: redis-server)
#   SYNAPSE_TEST_OFFSETS
#                      the bytes at which tests/publishing cuts connections: all, or one number (default: some)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.SUFFIXES:
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules

ROOT := $(CURDIR)
TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
VENV := $(ROOT)/.venv
BIN := $(VENV)/bin
FREE_THREADED := $(ROOT)/.venv-free-threaded
PYTHON ?= $(firstword $(foreach p,python3.14 python3.13 python3.12 python3.11 python3,\
	$(shell $(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(p))))
NEED := .ci/need

# A trace of real requests beside the checkout, if there is one; the tests have a generator otherwise.
SYNAPSE_TRACE ?= $(wildcard ../shared/traces/azure-llm-inference-2023-code.csv)
export SYNAPSE_TRACE := $(abspath $(or $(TRACE),$(SYNAPSE_TRACE)))
# Where tests and the demo find the binaries that were built.
export SYNAPSE_BIN_DIR = $(TARGET_DIR)/debug
# One interpreter for every build, or each would rebuild what the other built.
export PYO3_PYTHON := $(BIN)/python
# pip reports what was there already, a screen full of it.
export PIP_QUIET := 1
# Nobody edits and builds again in CI.
ifdef CI
export CARGO_INCREMENTAL := 0
endif

PYTHON_FILES := python tests examples benches
TYPES := services/gateway/types/events.d.ts
# A workspace of its own, which only the benchmark builds.
SOCKETIOXIDE := benches/peers/socketioxide/Cargo.toml
BINARIES := --package synapse-cli --package synapse-gateway --package synapse-hub --package synapse-tasks \
	--package synapse-notifications --package synapse-analytics

##@ See it
run: $(if $(RELEASE),release module-release,binaries module) redis ## Starts the platform and a demo Cyrex (TRACE=file.csv SPEED=10 replays a trace)
	@SYNAPSE_BIN_DIR=$(TARGET_DIR)/$(if $(RELEASE),release,debug) PYTHONPATH=examples exec $(BIN)/python -m cyrex.platform \
		$(if $(TRACE),--trace $(TRACE)) $(if $(SPEED),--speed $(SPEED))

##@ Check it
test: test-rust test-loom test-python test-e2e ## Sets up what the tests need and runs all of them

lint: lint-rust lint-python lint-js ## Formatting, clippy, cargo-deny, ruff, mypy, stubtest

test-rust: tools redis postgres influxdb victoria-metrics ## Rust tests alone
	cargo test --workspace --locked

# Built apart: a flag for the whole build would otherwise have everything built anew each time.
test-loom: rust ## The hand-over to the publisher's writer in every order in which threads can run, alone
	CARGO_INCREMENTAL=0 RUSTFLAGS="--cfg loom_model" \
		cargo test --package synapse-rs --lib --locked --target-dir $(TARGET_DIR)/loom loom

test-python: module redis ## Tests of the Python module alone
	$(BIN)/pytest tests/python

# Not among `make test`: there are distributions without one, Debian among them.
test-free-threaded: rust redis ## Tests of the Python module in a CPython without the GIL (PYTHON=python3.14t)
	@$(PYTHON) -c 'import sysconfig, sys; sys.exit(not sysconfig.get_config_var("Py_GIL_DISABLED"))' || \
		{ echo "error: $(PYTHON) has a GIL; give one without by PYTHON=python3.14t, say"; exit 1; }
	test -x $(FREE_THREADED)/bin/python || $(PYTHON) -m venv $(FREE_THREADED)
	$(FREE_THREADED)/bin/python -m pip install --upgrade 'pip>=25.1'
	$(FREE_THREADED)/bin/python -m pip install --group test
	VIRTUAL_ENV=$(FREE_THREADED) PYO3_PYTHON=$(FREE_THREADED)/bin/python \
		$(FREE_THREADED)/bin/maturin develop --group test --locked --quiet --target-dir $(TARGET_DIR)/free-threaded
	$(FREE_THREADED)/bin/pytest tests/python

test-e2e: module test-binaries redis postgres influxdb victoria-metrics chromium node clients ## Real clients against real processes alone
	$(BIN)/pytest tests/e2e

conformance-server: rust ## What the protocols' own suites ask for, on port 3000 (PROTOCOL=engine|socket)
	cargo build --package conformance-server --locked
	PROTOCOL=$(or $(PROTOCOL),socket) exec $(TARGET_DIR)/debug/conformance-server

conformance: rust node ## Runs a suite that was checked out elsewhere (SUITE=folder with its test-suite)
	cargo build --package conformance-server --locked
	PROTOCOL=$(PROTOCOL) .ci/conformance $(TARGET_DIR)/debug/conformance-server '$(SUITE)'

# cargo-fuzz needs a nightly compiler.
fuzz: rust ## Fuzzes a parser (TARGET=decode|engineio|polling|socketio|websocket SECONDS=60)
	@cargo +nightly --version >/dev/null 2>&1 || { echo "error: no nightly compiler: rustup toolchain install nightly"; exit 1; }
	@command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked
	@test -f 'fuzz/fuzz_targets/$(TARGET).rs' || { echo "error: TARGET is one of:" $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs))); exit 1; }
	mkdir -p fuzz/corpus/$(TARGET)
	test ! -f fuzz/corpora/$(TARGET).tar.gz || tar -xzf fuzz/corpora/$(TARGET).tar.gz -C fuzz/corpus/$(TARGET)
	CARGO_TARGET_DIR=$(TARGET_DIR)/fuzz cargo +nightly fuzz run $(TARGET) fuzz/corpus/$(TARGET) fuzz/seeds/$(TARGET) -- \
		-max_total_time=$(or $(SECONDS),60) -dict=fuzz/$(TARGET).dict

lint-rust: tools
	cargo fmt --all --check
	cargo fmt --manifest-path $(SOCKETIOXIDE) --check
	cargo clippy --workspace --all-targets --locked -- --deny warnings
	cargo clippy --package synapse-rs --features python --all-targets --locked -- --deny warnings
	CARGO_TARGET_DIR=$(TARGET_DIR)/fuzz cargo check --manifest-path fuzz/Cargo.toml --locked
	$(BIN)/cargo-deny --log-level error --locked check bans licenses sources
	@if $(BIN)/cargo-deny --log-level off fetch db 2>/dev/null; \
	then $(BIN)/cargo-deny --log-level error --locked check --disable-fetch advisories; \
	else echo "note: the advisory database can't be reached from here; advisories are not checked"; fi

lint-python: module
	$(BIN)/ruff check $(PYTHON_FILES)
	$(BIN)/ruff format --check $(PYTHON_FILES)
	$(BIN)/mypy
	$(BIN)/stubtest synapse_rs --mypy-config-file pyproject.toml

lint-js: node
	git ls-files '*.mjs' | xargs --no-run-if-empty -n 1 node --check

##@ Build it
build: module binaries ## Binaries and the Python module, for development

wheel: tools ## The abi3 wheel, into dist/
	$(BIN)/maturin build --release --locked --out dist

# With the features that the tests turn on, so that nothing is built again after `cargo test --workspace`.
test-binaries: rust
	cargo build --workspace --all-targets --locked

binaries: rust
	cargo build $(BINARIES) --locked

release: rust
	cargo build $(BINARIES) --locked --release

module: tools
	$(BIN)/maturin develop --locked --quiet

module-release: tools
	$(BIN)/maturin develop --locked --quiet --release

types: rust ## Writes services/gateway/types/events.d.ts anew, from the schema of the events
	cargo run --package synapse-gateway --example types --locked --quiet > $(TYPES).new
	mv $(TYPES).new $(TYPES)

##@ Measure it
bench: bench-publish bench-consume bench-gateway bench-chain bench-tasks bench-notifications bench-analytics ## Publishing, consuming, delivering, making tasks, storing, each beside its peers in the same run

bench-publish: module-release rust redis ## Publishing alone
	cargo build --package spool-load --locked --release
	SYNAPSE_BIN_DIR=$(TARGET_DIR)/release PYTHONPATH=tests:benches $(BIN)/python benches/publish.py $(if $(ROUNDS),--rounds $(ROUNDS)) $(addprefix --only ,$(ONLY))

bench-instructions: module-release rust redis valgrind ## Instructions per event, beside the committed baseline
	cargo build --package hot-paths --locked --release
	SYNAPSE_BIN_DIR=$(TARGET_DIR)/release PYTHONPATH=tests $(BIN)/python benches/instructions.py $(if $(UPDATE),--update)

bench-consume: module-release rust redis node peers ## Consuming alone
	cargo build --package consume-load --locked --release
	SYNAPSE_BIN_DIR=$(TARGET_DIR)/release PYTHONPATH=tests $(BIN)/python benches/consume.py

bench-gateway: tools release redis node peers ## Delivering, idle connections, and a herd that comes back, alone
	cargo build --package gateway-load --locked --release
	cargo build --manifest-path $(SOCKETIOXIDE) --target-dir $(TARGET_DIR) --locked --release
	SYNAPSE_BIN_DIR=$(TARGET_DIR)/release PYTHONPATH=tests $(BIN)/python benches/gateway.py $(if $(ROUNDS),--rounds $(ROUNDS)) $(addprefix --only ,$(ONLY))

bench-chain: tools release redis ## From an HTTP request through hub, Redis and gateway to a client, alone
	cargo build --package gateway-load --locked --release
	SYNAPSE_BIN_DIR=$(TARGET_DIR)/release PYTHONPATH=tests $(BIN)/python benches/chain.py $(if $(ROUNDS),--rounds $(ROUNDS))

bench-tasks: tools release redis postgres ## Making tasks alone
	cargo build --package tasks-load --locked --release
	SYNAPSE_BIN_DIR=$(TARGET_DIR)/release PYTHONPATH=tests $(BIN)/python benches/tasks.py

bench-notifications: module-release release redis ## How long after its event a notification is with its user
	SYNAPSE_BIN_DIR=$(TARGET_DIR)/release PYTHONPATH=tests $(BIN)/python benches/notifications.py

bench-analytics: module-release release redis influxdb victoria-metrics ## Storing events alone
	SYNAPSE_BIN_DIR=$(TARGET_DIR)/release PYTHONPATH=tests $(BIN)/python benches/analytics.py

soak: module test-binaries redis influxdb victoria-metrics chromium node clients ## The long tests: hours of traffic and faults in minutes
	SYNAPSE_TEST_OFFSETS=all PROPTEST_CASES=1000 cargo test --package synapse-rs --test publishing --locked
	$(BIN)/pytest tests/e2e --soak

##@ Set it up
.PHONY: run test test-binaries test-rust test-loom test-python test-free-threaded test-e2e conformance-server conformance fuzz lint lint-rust lint-python lint-js build wheel binaries release \
	module module-release bench bench-publish bench-instructions bench-consume bench-gateway bench-chain bench-tasks bench-notifications bench-analytics soak tools rust redis postgres influxdb victoria-metrics chromium valgrind node clients peers types clean help

tools: rust $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or later is not installed: sudo apt-get install python3-venv"; exit 1; }
	@$(NEED) "$(PYTHON) -c 'import ensurepip'" python3-venv
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --group dev
	touch $@

rust:
	@command -v cargo >/dev/null || { echo "error: Rust is not installed: see https://rustup.rs"; exit 1; }
	@$(NEED) 'command -v cc' build-essential

redis:
	@$(NEED) 'command -v redis-server && command -v redis-cli' redis-server redis-tools

postgres:
	@$(NEED) 'ls /usr/lib/postgresql/*/bin/initdb' postgresql

# Their packages would start a server each; the tests start their own.
influxdb:
	@$(NEED) 'command -v influxd' influxdb

victoria-metrics:
	@$(NEED) 'command -v victoria-metrics' victoria-metrics

chromium:
	@$(NEED) 'command -v chromium' chromium

valgrind:
	@$(NEED) 'command -v valgrind' valgrind

node:
	@$(NEED) 'command -v node && command -v npm' nodejs npm

clients: node tests/clients/node_modules/.package-lock.json
peers: node benches/peers/node_modules/.package-lock.json

%/node_modules/.package-lock.json: %/package-lock.json %/package.json
	cd $* && npm ci --silent
	touch $@

clean: ## Removes all that was built and installed here
	cargo clean
	rm -rf .venv .venv-free-threaded dist tests/clients/node_modules benches/peers/node_modules python/synapse_rs/*.so
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find $(PYTHON_FILES) -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

help: ## This list
	@awk 'BEGIN { FS = ":.*## " } /^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z0-9-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
