# Two commands on a fresh machine with a Rust toolchain: `make run` and `make test`.
# README.md says what each target does and needs; .ci/packages holds the lists of packages.

.PHONY: run demo demo-recording test matrix fuzz bench ebpf screenshots

SUDO := $(shell [ "$$(id -u)" = 0 ] || command -v sudo)
TARGET := $(or $(CARGO_TARGET_DIR),target)
# Some tests load BPF programs and start servers as another user: cargo runs as you are, the tests run as root.
RUNNER := $(if $(SUDO),--config 'target."cfg(unix)".runner="$(SUDO) --preserve-env"')

run: build
	$(SUDO) $(TARGET)/release/tusktop

demo: build
	$(SUDO) .ci/packages demo
	$(SUDO) tui/demo/run $(TARGET)/release/tusktop

demo-recording: build
	$(SUDO) .ci/packages demo-recording
	$(SUDO) tui/demo/record $(TARGET)/release/tusktop tui/demo/demo.tusk

test:
	$(SUDO) .ci/packages test
	cargo test --workspace --locked --no-fail-fast $(RUNNER) -- --include-ignored --skip matrix::

# The releases whose PHP is tried; each is a root folder in target/matrix, made once.
ROOTS ?= debian-11 debian-12 debian-13 debian-experimental ubuntu-22.04 ubuntu-24.04 ubuntu-26.04

# The rows of a release whose root folder cannot be made fail like any other, and the other releases are tried all the same.
matrix:
	$(SUDO) .ci/packages matrix
	$(SUDO) .ci/matrix-roots $(ROOTS) || [ $$? = 1 ]
	cargo test --locked --package tusktop --test php $(RUNNER) -- --include-ignored --nocapture --test-threads=1 \
		$(foreach root,$(ROOTS),matrix::$(subst .,_,$(subst -,_,$(root))))

# Inputs of each target, a part of the names of the targets to run, and the number that chance begins with.
INPUTS ?= 1000000
FUZZ ?= fuzz::any
SEED ?= 1
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
# A pass of LLVM counts the branches that are taken; it is in every toolchain. With --target it is not used for what runs at build time.
COVERAGE = --cfg tusktop_coverage -C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=3 \
	-C llvm-args=-sanitizer-coverage-inline-8bit-counters

fuzz:
	RUSTFLAGS="$(COVERAGE)" TUSKTOP_FUZZ_INPUTS=$(INPUTS) TUSKTOP_FUZZ_SEED=$(SEED) TUSKTOP_FUZZ_FOLDER=$(abspath $(TARGET))/fuzzed \
		cargo test --profile fuzz --locked --package tusktop --lib --target $(HOST) -- $(FUZZ) --test-threads=1 --nocapture

bench: build
	$(SUDO) .ci/packages bench
	cargo bench --locked --package tusktop --bench recorded_day --no-run
	$(SUDO) python3 -B tui/benches/run.py $(TARGET)/release/tusktop $(BENCH)

ebpf:
	$(SUDO) .ci/packages ebpf
	tui-ebpf/build.sh tui/bpf

screenshots: build
	$(SUDO) .ci/packages screenshots
	$(SUDO) screenshots/capture $(TARGET)/release/tusktop

.PHONY: build
build:
	cargo build --release --locked --package tusktop
