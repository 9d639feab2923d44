# Bessemer: `make help` says what there is.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo build test lab-test lab-up lab-down bench lint

# Our own traffic never leaves the machine, whatever proxy the packages come through.
export NO_PROXY := 127.0.0.1,localhost
export no_proxy := 127.0.0.1,localhost

NODES ?= 50 200 1000
KINDS ?= stock bessemer
BENCH := target/bench

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## A real OpenStack here, Bessemer in place of nova-compute, and a server built before your eyes
	@lab/demo

build: ## Build target/release/bessemer
	@tools/toolchain
	cargo build --release --locked --bin bessemer

test: ## Every test that needs no OpenStack; starts a RabbitMQ of its own
	@tools/toolchain
	@tools/test

lab-test: build ## Every check against a real OpenStack: install it, bring it up, check, take it down
	lab/install
	trap 'lab/down' EXIT; lab/up && lab/enroll 5 && lab/check

lab-up: ## Bring the lab's OpenStack up and start Bessemer in it
	lab/install
	@$(MAKE) --no-print-directory build
	lab/up bessemer
	lab/enroll 5

lab-down: ## Stop the lab; WIPE=1 forgets its databases, too
	lab/down $(if $(WIPE),--wipe)

bench: build ## Measure Bessemer and stock in the lab with 50, 200 and 1000 nodes (NODES="50 200", KINDS=bessemer for others)
	lab/install
	lab/up
	@rm -f $(BENCH)/*.json
	for nodes in $(NODES); do for kind in $(KINDS); do lab/measure $$nodes $$kind --interval 20 --json $(BENCH)/$$kind-$$nodes.json >/dev/null; done; done
	lab/enroll --remove 5
	@. lab/lib.sh && python -m measuring.table $(BENCH)/*.json | tee $(BENCH)/table.md

lint: ## Formatting, clippy with warnings as errors, and the dependencies' bans, licences and sources
	@tools/toolchain
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	@tools/dependencies
