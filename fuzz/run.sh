#!/bin/sh
# Builds every fuzz target and runs each for a while: fuzz/run.sh [SECONDS [TARGET..]]; ten seconds each by default.
#
# Needs a C++ compiler and the toolchain of the repository, and neither nightly nor cargo-fuzz. New inputs go to the
# target directory, inputs that fail to fuzz/artifacts. Run one again with: TARGET FILE.
set -eu
cd "$(dirname "$0")"
seconds=${1:-10}
[ $# -gt 0 ] && shift
target_directory=${CARGO_TARGET_DIR:-../target}
# Dependencies are shared with the workspace, so that only our own crates are built again.
CARGO_TARGET_DIR=$target_directory RUSTC_WRAPPER=$PWD/rustc.sh cargo build --quiet --bins
[ $# -gt 0 ] || set -- $(cd fuzz_targets && ls *.rs | sed 's/\.rs$//')
for target in "$@"; do
    found=$target_directory/fuzz-corpus/$target
    mkdir -p "$found" "artifacts/$target" "corpus/$target"
    echo "fuzz $target for $seconds s"
    log=$found.log
    if ! "$target_directory/debug/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -artifact_prefix="artifacts/$target/" "$found" "corpus/$target" >"$log" 2>&1; then
        tail -n 60 "$log"
        echo "fuzz $target failed: the input is in fuzz/artifacts/$target"
        exit 1
    fi
    grep -a '^Done ' "$log"
done
