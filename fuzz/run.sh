#!/bin/sh
# Builds every fuzz target and runs them, two at a time, for so many seconds in all: fuzz/run.sh [SECONDS [TARGET..]].
#
# Needs a C++ compiler and the toolchain of the repository, and neither nightly nor cargo-fuzz. New inputs go to the
# target directory, inputs that fail to fuzz/artifacts. Run one again with: TARGET FILE. With FUZZ_SEED set, each target
# begins with the kept corpus alone and takes its choices from the seed, so that a second run tries the same inputs.
set -eu
cd "$(dirname "$0")"
seconds=${1:-60}
[ $# -gt 0 ] && shift
target_directory=${CARGO_TARGET_DIR:-../target}
# Dependencies are shared with the workspace, so that only our own crates are built again.
CARGO_TARGET_DIR=$target_directory RUSTC_WRAPPER=$PWD/rustc.sh cargo build --quiet --bins
[ $# -gt 0 ] || set -- $(cd fuzz_targets && ls *.rs | sed 's/\.rs$//')
each=$((seconds * 2 / $#))
[ "$each" -ge 1 ] || each=1
export target_directory each
echo "fuzz $# targets, two at a time, for $each s each"
printf '%s\n' "$@" | xargs -n 1 -P 2 ./one.sh
