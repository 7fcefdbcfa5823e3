# Everything an operator or a contributor runs. `make help` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.DEFAULT_GOAL := help

CARGO ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=
# Features of the whole workspace that its tests and checks cover.
FEATURES := --features vatra/sled
# Where cargo puts what it builds.
OUT := $(or $(CARGO_TARGET_DIR),target)
# Tools that a check needs and that are no Debian packages; outside the tree, so that `clean` keeps them. They are built
# without optimisation, which takes half the time and is fast enough.
TOOLS := $(or $(VATRA_TOOLS),$(or $(XDG_CACHE_HOME),$(or $(HOME),/tmp)/.cache)/vatra-tools)
DENY_VERSION := 0.20.2
# Needed to build; the second list only by tests and benchmarks that make networks or count packets.
PACKAGES := gcc libc6-dev make pkg-config
PACKAGES_OPTIONAL := iproute2 nftables
RUST_MIN := 1.90

export PATH := $(TOOLS)/bin:$(PATH)

# Seeds that `sim` draws.
SIM_SEEDS ?= 500
# Seeds up to which `sim-builds` goes on with the optimised build, which is several times as fast.
SIM_SEEDS_OPTIMISED ?= 2500
# Seeds whose histories `sim-builds` compares.
SEEDS_COMPARED := 25

.PHONY: help setup demo test sim sim-builds sim-planted bench fuzz check fix audit install clean policy deny-tool

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what the build needs and is missing (Debian packages), or say what to install.
	@missing=(); optional=(); \
	if command -v dpkg-query >/dev/null; then \
	  has() { dpkg-query -W -f='$${db:Status-Abbrev}' "$$1" 2>/dev/null | grep -q '^ii'; }; \
	  for package in $(PACKAGES); do has "$$package" || missing+=("$$package"); done; \
	  for package in $(PACKAGES_OPTIONAL); do has "$$package" || optional+=("$$package"); done; \
	else \
	  for tool in gcc make pkg-config; do command -v "$$tool" >/dev/null || missing+=("$$tool"); done; \
	fi; \
	if [ "$${#missing[@]}" -gt 0 ] || [ "$${#optional[@]}" -gt 0 ]; then \
	  root=(); may=no; \
	  if command -v apt-get >/dev/null; then \
	    if [ "$$(id -u)" -eq 0 ]; then may=yes; \
	    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then may=yes; root=(sudo -n); fi; \
	  fi; \
	  if [ "$$may" = yes ]; then \
	    echo "setup: installing $${missing[*]} $${optional[*]}"; \
	    "$${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq || echo "setup: the package lists could not be renewed" >&2; \
	    if [ "$${#optional[@]}" -gt 0 ]; then \
	      "$${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$${optional[@]}" >/dev/null \
	        || echo "setup: going on without $${optional[*]}; the tests that need them say so" >&2; \
	    fi; \
	    if [ "$${#missing[@]}" -gt 0 ]; then \
	      "$${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$${missing[@]}" >/dev/null; \
	    fi; \
	  elif [ "$${#missing[@]}" -gt 0 ]; then \
	    echo "setup: please install: $${missing[*]}" >&2; \
	    echo "setup: on Debian, as root: apt-get update && apt-get install $${missing[*]}" >&2; \
	    exit 1; \
	  fi; \
	fi; \
	if ! command -v $(CARGO) >/dev/null; then \
	  echo "setup: cargo is missing; Vatra needs Rust $(RUST_MIN) or later, with cargo, clippy and rustfmt: https://www.rust-lang.org/tools/install" >&2; \
	  exit 1; \
	fi; \
	rust="$$(rustc --version | awk '{ print $$2 }')"; \
	if [ "$$(printf '%s\n%s\n' "$(RUST_MIN)" "$$rust" | sort -V | head -n 1)" != "$(RUST_MIN)" ]; then \
	  echo "setup: Rust $$rust is too old; Vatra needs Rust $(RUST_MIN) or later: https://www.rust-lang.org/tools/install" >&2; \
	  exit 1; \
	fi

demo: setup ## Three members: cut one off, heal, compare. KEEP=1 leaves the nodes running.
	$(CARGO) build --release --locked -p vatra -p chaos-tests
	@$(OUT)/release/vatra-chaos demo $(if $(filter-out 0 no,$(KEEP)),--keep)

test: setup ## Run the whole test suite.
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
	  $(CARGO) nextest run --locked --workspace $(FEATURES) --no-run; \
	  test -x $(OUT)/debug/vatra || $(CARGO) build --locked -p vatra $(FEATURES); \
	  exec $(CARGO) nextest run --locked --workspace $(FEATURES) $(if $(CI),--profile ci); \
	else \
	  $(CARGO) test --locked --workspace $(FEATURES) --no-run; \
	  test -x $(OUT)/debug/vatra || $(CARGO) build --locked -p vatra $(FEATURES); \
	  exec $(CARGO) test --locked --workspace $(FEATURES); \
	fi

sim: setup ## Simulate meshes and faults: kept failures, the scenario library, SIM_SEEDS=500 drawn ones.
	$(CARGO) build --locked --workspace $(FEATURES) --bin vatra-chaos
	@$(OUT)/debug/vatra-chaos sim run --brief chaos-tests/scenarios/*.toml
	@$(OUT)/debug/vatra-chaos sim seeds 0..$(SIM_SEEDS) --kept chaos-tests/seeds

sim-builds: setup ## See that seeds make the same histories in an optimised build; it draws 2,000 more.
	$(CARGO) build --locked --workspace $(FEATURES) --bin vatra-chaos
	$(CARGO) build --locked --profile sim -p chaos-tests --bin vatra-chaos
	@histories() { "$$1" sim seeds 0..$(SEEDS_COMPARED) --json 2>/dev/null | sed 's/"wall_s":[^,}]*//'; }; \
	mkdir -p $(OUT)/sim-builds; \
	histories $(OUT)/debug/vatra-chaos > $(OUT)/sim-builds/debug; \
	histories $(OUT)/sim/vatra-chaos > $(OUT)/sim-builds/optimised; \
	test "$$(wc -l < $(OUT)/sim-builds/debug)" -eq $(SEEDS_COMPARED); \
	diff $(OUT)/sim-builds/debug $(OUT)/sim-builds/optimised; \
	echo "$(SEEDS_COMPARED) seeds make the same histories in both builds"; \
	if [ $(SIM_SEEDS_OPTIMISED) -gt $(SIM_SEEDS) ]; then \
	  $(OUT)/sim/vatra-chaos sim seeds $(SIM_SEEDS)..$(SIM_SEEDS_OPTIMISED); \
	fi

sim-planted: setup ## See that the simulator catches every mistake planted into it.
	$(CARGO) test --locked --workspace $(FEATURES),chaos-tests/planted --test planted

bench: setup ## Measure latency, throughput, healing and restart; BENCH_ARGS="--runs 3" and others.
	$(CARGO) build --release --locked -p vatra -p chaos-tests
	@mkdir -p bench-out
	@$(OUT)/release/vatra-chaos bench --json bench-out/bench.json $(BENCH_ARGS)

fuzz: setup ## Try the decoders with bad bytes: SECONDS_EACH=60 for each target, TARGET=all.
	$(CARGO) run --locked -p chaos-tests --bin vatra-fuzz -- $(or $(TARGET),all) --seconds $(or $(SECONDS_EACH),60)

check: setup ## Check format, lints, docs and dependency policy; changes nothing.
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked --workspace --all-targets $(FEATURES) -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps $(FEATURES)
	@$(MAKE) --no-print-directory policy

fix: setup ## Format, and apply what clippy can repair by itself.
	$(CARGO) clippy --workspace --all-targets $(FEATURES) --fix --allow-dirty --allow-staged
	$(CARGO) fmt --all

audit: setup deny-tool ## Check dependencies against the advisory database (needs the network).
	$(CARGO) deny --locked check advisories

policy: deny-tool
	$(CARGO) deny --locked check bans licenses sources

deny-tool:
	@$(CARGO) deny --version >/dev/null 2>&1 || { \
	  echo "installing cargo-deny $(DENY_VERSION) into $(TOOLS)"; \
	  $(CARGO) install cargo-deny --version $(DENY_VERSION) --locked --quiet --debug --root "$(TOOLS)"; \
	}

install: setup ## Install the binary, its manual pages and the systemd unit below PREFIX.
	$(CARGO) build --release --locked -p vatra
	install -D -s -m 755 $(OUT)/release/vatra "$(DESTDIR)$(PREFIX)/bin/vatra"
	install -d -m 755 "$(DESTDIR)$(PREFIX)/share/man/man1"
	$(OUT)/release/vatra man --out "$(DESTDIR)$(PREFIX)/share/man/man1"
	install -d -m 755 "$(DESTDIR)$(PREFIX)/lib/systemd/system"
	sed 's|@PREFIX@|$(PREFIX)|' deploy/vatra@.service > "$(DESTDIR)$(PREFIX)/lib/systemd/system/vatra@.service"

clean: ## Remove what was built and measured.
	$(CARGO) clean
	rm -rf bench-out
