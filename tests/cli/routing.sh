# SPDX-License-Identifier: Apache-2.0
# weir eval --routing writes down where the router sends tokens, and weir
# inspect --routing reads it.
. "${srcdir:-.}/tests/tap.sh"

. "${srcdir:-.}/tests/cli/weir.sh"

source=$(cd "${srcdir:-.}" && pwd) || exit 99
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 99

awk 'NF == 0 { exit } { print }' "$source/demo/heldout.txt" |
    head -n 6 >chapter.txt
weir pack "$source/demo/model" -o demo.weir -q
is 0 "the bundled model is packed"

weir eval demo.weir -f chapter.txt --ctx 64 --kv f32
cp out plain
weir eval demo.weir -f chapter.txt --ctx 64 --kv f32 --routing some
is 0 "a text is evaluated while its routing is written down"
cmp -s plain out
tap_ok $? "with the same result"
weir eval demo.weir -f chapter.txt --ctx 64 --kv f32 --routing other -t 1
cmp -s some other
tap_ok $? "threads do not change the routing"
weir inspect --routing some
is 0 "it is read"
says out "^tokens     $(awk '/^tokens/ { print $2 }' plain) in [1-9]"
says out '^experts    8, 2 of them for a token, in 4 of 8 layers$'
says out '^8  *[0-9.]*  100\.0  100\.0$'

# Windows that go on where the one before ended are one run.
weir eval demo.weir -f chapter.txt --ctx 64 --stride 32 --routing some -q
weir inspect --routing some --json
says out '"runs":1,'
weir tokenize demo.weir --bos <chapter.txt
n_ids=$(wc -w <out)
weir eval demo.weir -f chapter.txt --ctx 64 --stride 64 --routing some -q
weir inspect --routing some --json
says out "\"runs\":$(((n_ids + 62) / 64)),"

# ---- the router's own scores: the best two of each row ----

# numbers FILE OFFSET BYTES TYPE WORDS: WORDS on a line
numbers() {
    od -An -v -j "$2" -N "$3" -t "$4" "$1" | tr -s ' ' '\n' |
        awk -v n="$5" 'NF { printf "%s%s", $1, ++i % n ? " " : "\n" }'
}

n_tok=$((n_ids - 1))
weir tokenize demo.weir --bos <chapter.txt
tr ' ' '\n' <out | sed '/^$/d' | head -n "$n_tok" >ids
weir logits demo.weir --ids ids -o scores --router --kv f32
is 0 "scores of the router"
weir eval demo.weir -f chapter.txt --kv f32 --routing choices
header=$(od -An -t u8 -N 8 scores | tr -d ' ')
n=0
for layer in 1 3 5 7; do
    begin=$(dd if=scores bs=1 skip=8 count="$header" 2>/dev/null |
        sed "s/.*\"router\.$layer\":{[^}]*\"data_offsets\":\[\([0-9]*\),.*/\1/")
    numbers scores $((8 + header + begin)) $((32 * n_tok)) f4 8 | awk '{
        best = next_best = 0
        for (i = 1; i <= 8; i++)
            if (!best || $i > $best) {
                next_best = best
                best = i
            } else if (!next_best || $i > $next_best)
                next_best = i
        print (best < next_best ? best - 1 " " next_best - 1 \
                                : next_best - 1 " " best - 1)
    }' >wanted
    numbers choices $((40 + 16)) $((18 * n_tok)) u2 9 |
        awk -v at="$n" '{ print $(2 + 2 * at), $(3 + 2 * at) }' >got
    cmp -s wanted got && [ "$(wc -l <got)" -eq "$n_tok" ]
    tap_ok $? "layer $layer: tokens go where its router scores best"
    n=$((n + 1))
done

# ---- mistakes ----

weir inspect --routing missing
is 1 "a trace that is not there"
says err 'missing'
: >no-bytes
weir inspect --routing no-bytes
is 3 "an empty one"
weir inspect --routing chapter.txt
is 3 "a text"
says err 'no routing trace'
head -c 1000 choices >short
weir inspect --routing short
is 3 "one that was cut"
says err 'does not end where its last token does'
weir inspect demo.weir --routing choices
is 2 "a model beside it"
weir inspect --cpu --routing choices
is 2 "and the CPU"
weir eval demo.weir -f chapter.txt --routing demo.weir
is 2 "a trace in the place of the model"
weir eval demo.weir -f chapter.txt --routing no/such/folder
is 1 "in a folder that is not there"
# of pack_text
# shellcheck disable=SC2034
golden=$source/tests/golden/dense-tied
pack_text
weir eval text.weir -f chapter.txt --routing none
is 3 "of a model without experts"
says err 'no layer of this model has experts'
[ ! -e none ] && [ ! -e none.part ]
tap_ok $? "nothing is left behind"

tap_done
