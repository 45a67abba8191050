# `make` lists what there is. Everything a target needs beyond Rust, Node 20, make and a C compiler it installs itself.
.DEFAULT_GOAL := help
.PHONY: help demo test test-long bench lint clients clean

CARGO ?= cargo

help: ## What there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: clients ## Build, start Onefold with a sample shop and live traffic (Ctrl-C stops it)
	$(CARGO) run --release --locked -p onefold -- demo

test: clients ## Every test: lints, laws, conformance, simulator, real clients, the demo
	./tests/run

test-long: ## The laws and the simulator with many more cases (PROPTEST_CASES raises it)
	PROPTEST_CASES=$${PROPTEST_CASES:-20000} $(CARGO) test --release --locked --workspace

bench: clients ## Every measurement; one with WHAT="fold cold", longer with SECONDS=300
	$(CARGO) build --release --locked -p onefold -p onefold-bench
	$${CARGO_TARGET_DIR:-target}/release/onefold-bench $(WHAT) --seconds $(or $(SECONDS),20)

lint: ## Formatting and clippy
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

clients: ## Fetch the browser client that Onefold serves (npm, pinned)
	npm ci --prefix clients --no-audit --no-fund --silent

clean: ## Remove what was built
	$(CARGO) clean
	rm -rf clients/node_modules
