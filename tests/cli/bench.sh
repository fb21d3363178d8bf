# SPDX-License-Identifier: Apache-2.0
# weir bench: its forms, that its keys agree with each other and with what the
# file says, and its mistakes.  No speed is judged.
. "${srcdir:-.}/tests/tap.sh"
. "${srcdir:-.}/tests/cli/weir.sh"

here=$(cd "${srcdir:-.}/tests/cli" && pwd) || exit 99
golden=$(cd "${srcdir:-.}/tests/golden" && pwd) || exit 99
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 99
unset WEIR_CPU

python3 -c '' 2>err
has_python=$?

# agrees MODEL CONFIG PROMPT DECODE DEPTH KV ROWS: of the JSON in out
agrees() {
    if [ $has_python -ne 0 ]; then
        tap_skip "there is no python3 to count the cost of $1"
        return
    fi
    cp out result
    python3 "$here/bench.py" "$WEIR" "$1" "$2" "$3" "$4" "$5" "$6" result \
        >rows 2>err && [ "$(cat rows)" = "$7" ]
    ok=$?
    tap_ok $ok "$1: $7, with costs and bounds as they should be"
    [ $ok -eq 0 ] || cat rows err | tap_diag
}

for name in moe-8l dense-tied odd; do
    weir pack "$golden/$name" -o $name.weir -q
    weir bench $name.weir -p 24 -n 3 -r 2 -t 1 --json
    is 0 "$name: a prompt and decoding"
    ! grep -q -v 'memory is short' err
    tap_ok $? "$name: nothing is said beside it"
    agrees $name.weir "$golden/$name/config.json" 24 3 0 bf16 "pp24-1 tg3-1"
done
weir synth "$golden/moe-8l/config.json" -o alias.weir --alias
weir bench alias.weir -p 24 -n 3 -r 1 -t 1 --json
is 0 "a model whose layers share tiles"
agrees alias.weir "$golden/moe-8l/config.json" 24 3 0 bf16 "pp24-1 tg3-1"
weir bench moe-8l.weir -p 70 -n 2 --depth 67 -r 1 -t 1,2-3 --kv f32 -o json
is 0 "behind other tokens, with 1, 2 and 3 threads"
agrees moe-8l.weir "$golden/moe-8l/config.json" 70 2 67 f32 \
    "pp70-1 tg2-1 pp70-2 tg2-2 pp70-3 tg2-3"
says out '"tps_sd":0\.0'
says out '"model":"moe-8l.weir, experts-int8, 0.00 GB"'

weir bench moe-8l.weir -p 0 -n 2 -r 1 -o jsonl -t 1-2
is 0 "decoding alone, a line of JSON for each row"
[ "$(grep -c '^{"test":"tg2",.*}$' out)" = 2 ] && [ "$(wc -l <out)" -eq 2 ]
tap_ok $? "two lines"
weir bench moe-8l.weir -p 8 -n 0 -r 1 -o csv -t 1
is 0 "a prompt alone, as CSV"
awk -F, 'NR == 1 { n = NF; good = $1 == "test" }
    NR == 2 { good = good && $1 == "pp8" && NF == n + 2 }
    END { exit !(good && NR == 2) }' out
tap_ok $? "a line of names, and one of values whose model has two commas"
says out ',"moe-8l.weir, experts-int8, 0.00 GB",'
weir bench moe-8l.weir -p 40 -n 3 -r 1 -o json -t 2 --batch 5 --depth 3
is 0 "five texts at a time"
agrees moe-8l.weir "$golden/moe-8l/config.json" 40 3 3 bf16 "pp40-2 tg3-2"
says out '"batch":5'
cp moe-8l.weir 'a|b"c.weir'
WEIR_CPU=ref weir bench 'a|b"c.weir' -p 8 -n 2 -r 1 -t 1 --batch 1
is 0 "a table"
awk -F'|' '{ wide = wide " " NF } END { print wide }' out >widths
grep -q '^ 16 16 16 16' widths
tap_ok $? "its rows are as wide as its head"
says out '^| a?b"c.weir, .*| cpu, ref | 1 | pp8 |'
weir bench 'a|b"c.weir' -p 8 -n 0 -r 1 -t 1 -o csv
says out ',"a?b""c.weir, experts-int8'

# ---- masks ----

# texts LEAST MOST: the rows of decoding say that so many were written
texts() {
    sed -n 's/.*"test":"tg.*"mask_texts":\([0-9]*\).*/\1/p' out >texts
    [ -s texts ] &&
        awk -v a="$1" -v b="$2" '$1 < a || $1 > b { exit 1 }' texts
    ok=$?
    tap_ok $ok "from $1 to $2 texts were written"
    [ $ok -eq 0 ] || tap_diag <out
}

weir bench moe-8l.weir -p 8 -n 2 -r 1 -t 1 --json
! grep -q 'mask\|grammar' out
tap_ok $? "nothing of masks without a schema"
golden=$golden/moe-8l
pack_text
echo '{"const": true}' >true.json
weir bench text.weir -p 24 -n 40 -r 1 -t 1-2 --json-schema true.json --json
is 0 "masks beside all else"
says out '"mask_us_p99":[0-9]'
texts 8 10
agrees text.weir "$golden/config.json" 24 40 0 bf16 \
    "pp24-1 tg40-1 pp24-2 tg40-2"
weir bench text.weir -p 0 -n 40 -r 1 -t 1 --json-schema - -o jsonl \
    --batch 2 --depth 3 --device host <true.json
is 0 "a schema from standard input, and a device"
texts 8 10
echo '{"type": "string", "minLength": 100}' >long.json
weir bench text.weir -p 0 -n 40 -r 1 -t 1 --json-schema long.json --json
texts 1 1
weir bench text.weir -p 4 -n 2 -r 1 -t 1 --json-schema true.json -o csv
awk -F, 'NR == 1 { n = NF } NF != n + 2 && NR > 1 { exit 1 }
    NR == 2 && !/,,,,$/ { exit 1 } END { exit NR != 3 }' out
tap_ok $? "CSV, in which a prompt has none"
says out ',grammar_ms,token_tree_ms,mask_us_median,mask_us_p99,mask_us_max,ma'
weir bench text.weir -p 4 -n 2 -r 1 -t 1 --json-schema true.json
awk -F'|' '{ wide = wide " " NF } END { print wide }' out >widths
grep -q '^ 20 20 20 20' widths
tap_ok $? "and a table as wide as its head"

# ---- mistakes ----

wrong() { # TEXT PATTERN ARGUMENT...
    text=$1
    pattern=$2
    shift 2
    weir bench moe-8l.weir "$@"
    is 2 "$text"
    says err "$pattern"
    [ ! -s out ]
    tap_ok $? "and prints nothing"
}
weir bench -p 8
is 2 "without a model"
says err 'no model given'
for list in 0 513 1- -2 4-2 1,,2 '1,' x 2x; do
    wrong "threads as $list" "such as 4, 1,2,4 or 1-4, not '$list'" -t "$list"
done
wrong "more threads than there can be" 'more than 512' -t 1-512,1
wrong "no test at all" 'both 0' -p 0 -n 0
wrong "too many texts at a time" 'from 1 to 512' --batch 513
wrong "no repeats" 'from 1 to 1000' -r 0
wrong "a prompt of no number" 'from 0 to' -p 1e3
wrong "masks of no token" 'and -n is 0' -n 0 --json-schema true.json
weir bench --kernels --json-schema true.json
is 2 "masks of kernels"
says err '--json-schema goes with a model'
wrong "a typo" 'did you mean --json-schema' --json-scheme true.json
weir bench moe-8l.weir --json-schema true.json
is 3 "masks of a model without a tokenizer"
says err 'moe-8l.weir: was packed without a tokenizer'
echo '{"properties": {"a": {"pattern": "x"}}}' >bad.json
weir bench missing.weir --json-schema bad.json
is 3 "a schema with a keyword that is not supported"
says err "bad.json: the schema at '/properties/a/pattern'"
weir bench missing.weir --json-schema nothing.json
is 1 "a schema that is not there"
weir bench "$here/bench.sh" -p 8
is 3 "a model that is none"
weir bench missing.weir
is 1 "a model that is not there"
WEIR_CPU=sse weir bench moe-8l.weir -p 8 -n 0 -r 1
is 2 "a level that does not exist"

tap_done
