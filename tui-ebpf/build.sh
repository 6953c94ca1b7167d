#!/usr/bin/env bash
# tui-ebpf/build.sh FOLDER: builds the BPF programs from source and writes tusktop.bpf.o and tasks.bpf.o there.
# tui-ebpf/build.sh --clippy: checks them with clippy, warnings as errors.
#
# The compiler is Debian's rustc-web with LLVM 22 (.ci/packages ebpf), because a BPF target needs the source of `core`
# and a bpf-linker of the same LLVM; neither is part of a rustup toolchain. bpf-linker is taken from $BPF_LINKER or
# from PATH when it has the right version, otherwise it is built once into target/bpf-linker.
# The result does not depend on the folder of the checkout, of cargo or of the user.
set -euo pipefail
shopt -s inherit_errexit

LINKER_VERSION=0.13.0
LLVM=/usr/lib/llvm-22
root=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
cargo_home=${CARGO_HOME:-$HOME/.cargo}

right_linker() {
    [ "$("$1" --version 2>/dev/null)" = "bpf-linker $LINKER_VERSION" ]
}

find_linker() {
    local candidate
    for candidate in "${BPF_LINKER:-}" bpf-linker "$target/bpf-linker/bin/bpf-linker"; do
        if right_linker "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    echo "building bpf-linker $LINKER_VERSION into $target/bpf-linker" >&2
    env -u RUSTFLAGS LLVM_PREFIX=$LLVM LLVM_SYS_221_PREFIX=$LLVM PATH="$LLVM/bin:$PATH" \
        cargo install bpf-linker --version $LINKER_VERSION --no-default-features --features llvm-22 --locked --quiet \
        --root "$target/bpf-linker" --target-dir "$target/bpf-linker/build" >&2
    rm -rf "$target/bpf-linker/build"
    right_linker "$target/bpf-linker/bin/bpf-linker"
    echo "$target/bpf-linker/bin/bpf-linker"
}

# RUSTC_BOOTSTRAP lets this stable compiler build `core` for a target that it has no library of.
bpf_cargo() {
    cd "$root/tui-ebpf"
    local flags="--cfg bpf_target_arch=\"x86_64\""
    # Without it even 16 bytes are cleared by a call of memset, a loop byte by byte. Before a call, Linux older than 6.5 takes
    # every value for one that matters (kernel/bpf/verifier.c, mark_all_scalars_precise), and the walk of a stack is no longer
    # verified within a million instructions.
    flags+=" -C link-arg=--disable-expand-memcpy-in-order"
    flags+=" --remap-path-prefix=$root=. --remap-path-prefix=$cargo_home/registry/src=registry"
    RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 RUSTFLAGS=$flags CARGO_TARGET_DIR="$target/ebpf" \
        CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER=${linker:-bpf-linker} \
        cargo "$@" --locked --release --target bpfel-unknown-none -Z build-std=core
}

"$root/.ci/packages" ebpf

case ${1:-} in
    --clippy)
        "$root/.ci/packages" lint
        RUSTC_WORKSPACE_WRAPPER=/usr/bin/clippy-driver CLIPPY_ARGS=-Dwarnings__CLIPPY_HACKERY__ bpf_cargo check
        ;;
    ?*)
        linker=$(find_linker)
        folder=$(realpath -m "$1")
        mkdir -p "$folder"
        bpf_cargo build --quiet
        for name in tusktop tasks; do
            object=$folder/$name.bpf.o
            cp "$target/ebpf/bpfel-unknown-none/release/$name" "$object"
            echo "$object: $(stat -c %s "$object") bytes, sha256 $(sha256sum "$object" | cut -c 1-16)"
        done
        ;;
    *)
        sed -n '2,3s/^# //p' "$0" >&2
        exit 2
        ;;
esac
