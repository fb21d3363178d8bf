#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the fuzzers with clang in build/fuzz and runs each for SECONDS.  What
# they find beyond the corpus in the source goes to build/fuzz/corpus, inputs
# that fail go to build/fuzz/found.  Ends with 0 when there is none of these.
# Usage: tests/fuzz/run.sh SECONDS [NAME...]
set -eu

cd "$(dirname "$0")/../.."
top=$PWD
build=$top/build/fuzz

names() {
    for file in tests/fuzz/fuzz_*.c; do
        file=${file##*/fuzz_}
        echo "${file%.c}"
    done
}

case ${1-} in
'' | *[!0-9]*)
    {
        echo "usage: tests/fuzz/run.sh SECONDS [NAME...], of these names:"
        names
    } >&2
    exit 2
    ;;
esac
seconds=$1
shift
# Names have no blanks in them.
# shellcheck disable=SC2046
[ $# -gt 0 ] || set -- $(names)

build() {
    [ -x configure ] || autoreconf -fi
    mkdir -p "$build"
    [ -f "$build/Makefile" ] || (
        cd "$build"
        "$top/configure" -q CC=clang --enable-fuzzers --enable-werror \
            --disable-shared --enable-static
    )
    for name; do
        make -s -C "$build" -j "$(nproc)" "tests/fuzz/fuzz_$name"
    done
}

# No input of these needs a tenth of the memory and the time that it may take.
fuzz() { # NAME
    mkdir -p "$build/corpus/$1" "$build/found/$1"
    "$build/tests/fuzz/fuzz_$1" -max_total_time="$seconds" \
        -rss_limit_mb=1024 -malloc_limit_mb=256 -timeout=10 -max_len=16384 \
        -dict="tests/fuzz/$1.dict" -artifact_prefix="$build/found/$1/" \
        -print_final_stats=1 \
        "$build/corpus/$1" "tests/fuzz/corpus/$1" >"$build/$1.log" 2>&1
}

# The last number behind WORD in the log of NAME.
number() { # NAME WORD
    sed -n "s|.*$2 *\([0-9][0-9]*\).*|\1|p" "$build/$1.log" | tail -n 1
}

build "$@" >&2
failed=0
form='%-16s %12s %8s %8s  %s\n'
# shellcheck disable=SC2059
printf "$form" fuzzer executions corpus edges result
for name; do
    result=ok
    fuzz "$name" || {
        result="FAILED, see build/fuzz/$name.log"
        failed=1
    }
    # shellcheck disable=SC2059
    printf "$form" "$name" "$(number "$name" executed_units:)" \
        "$(number "$name" 'corp:')" "$(number "$name" 'cov:')" "$result"
done
exit $failed
