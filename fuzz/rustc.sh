#!/bin/sh
# Called by cargo in place of rustc: adds libFuzzer's coverage to the crates of this repository, and to no others, so
# that their builds are shared with everything else. Works on stable: the flags are passed on to LLVM.
case " $* " in
*" --crate-name asof_"* | *" --crate-name "*"fuzz_targets/"*)
    exec "$@" \
        -Cpasses=sancov-module \
        -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
        -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
*) exec "$@" ;;
esac
