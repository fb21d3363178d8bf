# SPDX-License-Identifier: Apache-2.0
# The bundled model against what transformers computes from the same files, and
# weir eval as a user meets it.
. "${srcdir:-.}/tests/tap.sh"

. "${srcdir:-.}/tests/cli/weir.sh"

source=$(cd "${srcdir:-.}" && pwd) || exit 99
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 99

# What demo/figures.json says of that chapter: context stride tokens nll
figures() {
    awk -F '[:,]' '
        /"first chapter"/ { here = 1 }
        here && /"(context|stride|tokens|nll)"/ { printf "%s ", $2 }
        here && /\}/ { print "" }
        here && /\]/ { exit }' "$source/demo/figures.json"
}

# The ids that transformers chose from "In the beginning", on one line
greedy_ids() {
    tr -d ' \n' <"$source/demo/figures.json" |
        sed 's/.*"generated":\[\([^]]*\)\].*/\1/'
}

# near A B SHARE: A and B differ by at most SHARE of B.
near() {
    awk -v a="$1" -v b="$2" -v share="$3" 'BEGIN {
        d = a - b
        exit !(b > 0 && d <= share * b && -d <= share * b)
    }'
}

value() { # NAME, of the lines in out
    awk -v name="$1" '$1 == name { print $2 }' out
}

# The first of the chapters that the model was not trained on
awk 'NF == 0 { exit } { print }' "$source/demo/heldout.txt" >chapter.txt

weir pack "$source/demo/model" -o bf16.weir --quant none -q
is 0 "the bundled model is packed"
weir pack "$source/demo/model" -o int8.weir -q
is 0 "and as ExpertsInt8"

# Levels beyond avx512 round activations; how far they may be is cpu.sh's.
n=0
while read -r ctx stride tokens nll; do
    n=$((n + 1))
    WEIR_CPU=avx512 weir eval bf16.weir -f chapter.txt --ctx "$ctx" \
        --stride "$stride" --kv f32
    is 0 "windows of $ctx every $stride tokens"
    [ "$(value tokens)" = "$tokens" ]
    tap_ok $? "as many tokens as in transformers, $tokens"
    near "$(value nll)" "$nll" 1e-5
    tap_ok $? "transformers' loss, $nll ($(value nll))"
    near "$(value ppl)" "$(awk -v x="$nll" 'BEGIN { print exp(x) }')" 1e-4
    tap_ok $? "and its exponential"
done <<LIST
$(figures)
LIST
[ $n -eq 3 ]
tap_ok $? "three figures to compare with"

weir eval bf16.weir -f chapter.txt --ctx 256
bf16=$(value nll)
weir eval int8.weir -f chapter.txt --ctx 256
near "$(value nll)" "$bf16" 2e-3
tap_ok $? "ExpertsInt8 foretells as well as bf16: $(value nll) and $bf16"
cp out all
weir eval int8.weir -f chapter.txt --ctx 256 --stride 256 -t 1
cmp -s all out
tap_ok $? "the stride is the window's, and threads change nothing"
weir eval int8.weir -f chapter.txt --ctx 256 --json
says out '"tokens":840,"nll":2\.[0-9]*,"ppl":1[0-9.]*,"ctx":256,"stride":256,'
says out '"windows":4,"eval_s":'

weir run bf16.weir -p 'In the beginning' -n 64 --temp 0 --kv f32 --json
is 0 "the bundled model goes on with a text"
grep -q -F "\"ids\":[$(greedy_ids)]" out
tap_ok $? "with the tokens that transformers chooses"

# ---- mistakes ----

weir eval int8.weir
is 2 "without a text"
says err 'f TEXT is missing'
weir eval -f chapter.txt
is 2 "without a model"
weir eval int8.weir -f chapter.txt --ctx 1
is 2 "a window of one token"
weir eval int8.weir -f chapter.txt --ctx 12x
is 2 "a window of no number"
weir eval int8.weir -f chapter.txt --stride 0
is 2 "a stride of nothing"
weir eval int8.weir -f chapter.txt --ctx 64 --stride 65
is 2 "a stride that skips tokens"
says err 'skip tokens'
weir eval int8.weir -f chapter.txt --kv f16
is 2 "a cache of an unknown type"
weir eval int8.weir -f missing.txt
is 1 "a text that is not there"
says err 'missing.txt'
: >empty.txt
weir eval int8.weir -f empty.txt
is 3 "an empty text"
says err 'too short'
printf 'a\377b' >latin.txt
weir eval int8.weir -f latin.txt
is 3 "a text that is not UTF-8"
weir pack "$source/tests/golden/moe-8l" -o ids.weir -q
weir eval ids.weir -f chapter.txt
is 3 "a model without a tokenizer"
says err 'without a tokenizer'
weir eval chapter.txt -f chapter.txt
is 3 "a model that is none"

weir eval int8.weir -f chapter.txt -f chapter.txt
is 2 "two texts"

# The first weight of lm_head, which stands first in the file, becomes a NaN.
cp -r "$source/demo/model" nan
chmod -R u+w nan
start=$((8 + $(od -An -t u4 -N 4 nan/model.safetensors)))
printf '\300\177' |
    dd of=nan/model.safetensors bs=1 seek="$start" conv=notrunc 2>/dev/null
weir pack nan -o nan.weir --quant none -q
weir eval nan.weir -f chapter.txt --ctx 16
is 3 "a model that computes no numbers"
says err 'are not finite'
[ ! -s out ]
tap_ok $? "and no figures"
weir run nan.weir -p And -n 1
is 3 "it cannot be run either"
says err 'are not finite'

tap_done
