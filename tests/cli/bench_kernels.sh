# SPDX-License-Identifier: Apache-2.0
# weir bench --kernels: its forms, that its keys agree with each other, and its
# mistakes.  No speed is judged.
. "${srcdir:-.}/tests/tap.sh"
. "${srcdir:-.}/tests/cli/weir.sh"

here=$(cd "${srcdir:-.}/tests/cli" && pwd) || exit 99
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 99
unset WEIR_CPU

# agrees FORM KINDS ROWS: of what is in out
agrees() {
    if ! python3 -c '' 2>/dev/null; then
        tap_skip "there is no python3 to look at the rows"
        return
    fi
    python3 "$here/bench_kernels.py" "$1" out >rows 2>err &&
        [ "$(cat rows)" = "$2" ]
    ok=$?
    tap_ok $ok "$1: $2, and keys as they should be"
    [ $ok -eq 0 ] || cat rows err | tap_diag
}

weir bench --kernels -n 1 -p 32 -r 2 -t 1 --json
is 0 "one token and 32"
agrees json 'dram-1-1 flops-32-1'
weir bench --kernels -n 0 -p 63 -r 1 -t 2 -o jsonl
is 0 "many tokens alone, a line of JSON for each row"
agrees jsonl 'flops-32-2'
weir bench --kernels -n 2 -p 0 -r 1 -t 1-2 -o csv
is 0 "few tokens alone, with 1 and 2 threads, as CSV"
agrees csv 'dram-1-1 dram-2-1 dram-1-2 dram-2-2'
WEIR_CPU=ref weir bench --kernels -n 1 -p 0 -r 1 -t 1
is 0 "a level that has only matmul, as a table"
[ "$(grep -c '^| [a-z0-9]* | [a-z+_]* | [0-9 x]* | 1 |.* \* |' out)" = 4 ]
tap_ok $? "a row for each type and matrix, with what products are done with"
says out '^| weights | .* read GB/s, 1 thread | matmul, f32 |'
says out '^\* is what'

# ---- mistakes ----

wrong() { # TEXT PATTERN ARGUMENT...
    text=$1
    pattern=$2
    shift 2
    weir bench --kernels "$@"
    is 2 "$text"
    says err "$pattern"
    [ ! -s out ]
    tap_ok $? "and prints nothing"
}
wrong "a model" "without a model, not 'mini.weir'" mini.weir
wrong "a depth" '^weir bench: --depth goes with a model' --depth 4
wrong "a batch" '^weir bench: --batch goes with a model' --batch 1
wrong "a type of the cache" '^weir bench: --kv goes with a model' --kv f32
wrong "no tokens" 'both 0' -n 0 -p 0
wrong "a prompt that is none" 'under 32' -n 0 -p 31
wrong "no repeats" 'from 1 to 1000' -r 0
wrong "threads that are none" 'such as 4' -t 0
wrong "a form that there is not" "md|csv|json|jsonl" -o xml
wrong "an operand" "takes no" --kernels=avx2
weir bench --kernel
is 2 "a name that is cut short"
WEIR_CPU=sse weir bench --kernels
is 2 "a level that does not exist"

tap_done
