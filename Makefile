# Two commands on a fresh machine with a Rust toolchain: `make run` and `make test`.
# README.md says what each target does and needs; .ci/packages holds the lists of packages.

.PHONY: run demo demo-recording test bench ebpf screenshots

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
	cargo test --workspace --locked --no-fail-fast $(RUNNER) -- --include-ignored

bench: build
	$(SUDO) .ci/packages bench
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
