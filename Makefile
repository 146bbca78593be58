# Everything here works on a bare Debian 12 with Rust. As root it installs the Debian packages it needs; without root it
# skips what needs them and says so.
SHELL := /bin/bash
CARGO ?= cargo

.PHONY: demo test lint bench release

# Builds slipway and runs a whole GitLab job on the embedded runtime: build, publish, change a line, build again, serve.
demo: packages-demo
	@$(CARGO) build --quiet --bin slipway
	@SLIPWAY=$$PWD/target/debug/slipway bash gitlab-examples/demo.sh

# Formatting, lints where clippy is installed, then every test. Parts that are absent are skipped with a line each.
test: packages-test lint
	@$(CARGO) test --quiet

lint:
	@if $(CARGO) fmt --version >/dev/null 2>&1; then $(CARGO) fmt --check; else echo "skipped: rustfmt is not installed"; fi
	@if $(CARGO) clippy --version >/dev/null 2>&1; then $(CARGO) clippy --quiet --all-targets -- -D warnings; \
	  else echo "skipped: clippy is not installed"; fi
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny check bans licenses sources; \
	  else echo "skipped: cargo-deny is not installed"; fi

# Ratios in one run against what users would pick instead; also written to target/bench.json.
bench: packages-bench
	@$(CARGO) build --quiet --profile release-fast --bin slipway
	@SLIPWAY=$$PWD/target/release-fast/slipway python3 benches/bench.py

release:
	$(CARGO) build --release --locked --bin slipway
	@ls -l target/release/slipway

.PHONY: packages-demo packages-test packages-bench
packages-demo:
	@bash .ci/packages mmdebstrap docker-registry git curl

packages-test:
	@bash .ci/packages bash-static busybox-static docker-registry git uidmap

packages-bench:
	@bash .ci/packages python3 git strace
