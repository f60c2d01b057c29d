#!/bin/sh
# Runs one target, with limits of time and memory for each input; called by run.sh, which says for how long and where.
set -eu
target=$1
found=$target_directory/fuzz-corpus/$target
[ -z "${FUZZ_SEED:-}" ] || rm -rf "$found"
mkdir -p "$found" "artifacts/$target" "corpus/$target"
log=$found.log
# Memory that is asked for counts, not only what is touched: an allocation that a few bytes ask for is a finding.
ulimit -v 4194304
if ! "$target_directory/debug/$target" -seed="${FUZZ_SEED:-0}" -max_total_time="$each" -timeout=60 -rss_limit_mb=1024 \
    -artifact_prefix="artifacts/$target/" "$found" "corpus/$target" >"$log" 2>&1; then
    tail -n 60 "$log"
    echo "fuzz $target failed: the input is in fuzz/artifacts/$target"
    # The others end too.
    exit 255
fi
echo "fuzz $target: $(grep -a '^Done ' "$log")"
