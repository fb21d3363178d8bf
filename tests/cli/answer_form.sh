# SPDX-License-Identifier: Apache-2.0
# weir run --json-schema and --json-object: answers with a form.
. "${srcdir:-.}/tests/tap.sh"
. "${srcdir:-.}/tests/cli/weir.sh"

command -v python3 >/dev/null || tap_skip_all "there is no python3"
demo=$(cd "${srcdir:-.}/demo/model" && pwd) || exit 99
golden=$(cd "${srcdir:-.}/tests/golden/moe-8l" && pwd) || exit 99
checker=$(cd "${srcdir:-.}/tests/cli" && pwd)/answer_form.py
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 99

"$WEIR" pack "$demo" -o demo.weir -q || exit 99
"$WEIR" pack "$golden" -o ids.weir -q || exit 99
pack_text
echo '1 75 104 111 111 114' >ids
cat >person.json <<'END'
{"type": "object", "additionalProperties": false, "required": ["name", "tags"],
 "properties": {
  "name": {"type": "string", "maxLength": 8},
  "age": {"type": "integer", "minimum": 0, "maximum": 130},
  "tags": {"type": "array", "items": {"enum": ["a", "b\u00e9", 3]},
           "minItems": 1, "maxItems": 3}}}
END

# fits TEXT: the answer in out is JSON of that schema, and nothing was said.
fits() {
    [ "$status" -eq 0 ] && [ ! -s err ] && python3 "$checker" <out 2>trace
    ok=$?
    tap_ok $ok "$1"
    [ $ok -eq 0 ] || cat out err trace | tap_diag
}

for seed in 0 1 2 3 4 5 6 7; do
    weir run demo.weir --json-schema person.json -p 'In the beginning' \
        --temp 2 --top-p 1 --seed $seed
    fits "an answer fits the schema, seed $seed"
    mv out seed$seed
done
! cmp -s seed0 seed1 && ! cmp -s seed1 seed2
tap_ok $? "seeds give different ones"
weir run demo.weir --json-schema person.json -p 'In the beginning' --temp 2 \
    --top-p 1 --seed 7 -t 1
cmp -s out seed7
tap_ok $? "the same seed gives the same bytes, on one thread too"
weir run demo.weir --json-schema=- -p 'In the beginning' --temp 2 \
    --top-p 1 --seed 7 <person.json
cmp -s out seed7
tap_ok $? "- reads the schema from standard input"
printf 'In the beginning' >prompt
weir run demo.weir --json-schema person.json --temp 2 --top-p 1 --seed 7 <prompt
cmp -s out seed7
tap_ok $? "which is free when the schema is a file"
weir run demo.weir --json-schema person.json -p 'In the beginning' --temp 2 \
    --top-p 1 --seed 7 --ram 1G
cmp -s out seed7
tap_ok $? "under a budget too"
weir run demo.weir --json-schema person.json -p 'In the beginning' --temp 2 \
    --top-p 1 --seed 7 --device host
fits "on a device too"
weir run demo.weir --json-schema person.json --chat -p 'Who was king?'
fits "--chat"
weir run demo.weir --json-schema person.json -p 'In the beginning' --ignore-eos
fits "--ignore-eos does not go on behind the end of an object"
weir run demo.weir --json-schema person.json -p 'In the beginning' --temp 2 \
    --session kept
mv out first
weir run demo.weir --json-schema person.json -p 'In the beginning' --temp 2 \
    --session kept
fits "--session"
cmp -s out first
tap_ok $? "again, with the same bytes"
# Bytes are tokens here, and scores are noise.
weir run text.weir --json-schema person.json --ids ids --temp 2 -n 2000
fits "a model that writes noise"
weir run demo.weir --json-object -p 'In the beginning' -n 2000 --temp 0.3
[ "$status" -eq 0 ] && [ ! -s err ] &&
    python3 -c 'import json
assert type(json.load(open("out"))) == dict'
tap_ok $? "--json-object gives an object"

weir run demo.weir --json-schema person.json -p 'In the beginning' --json
is 0 "--json with a schema"
python3 -c 'import json; print(json.load(open("out"))["text"])' >text.out
python3 "$checker" <text.out
tap_ok $? "its text fits"
says out '"stop":"eos"'
n=$(sed 's/.*"generated_tokens":\([0-9]*\),.*/\1/' out)
weir run demo.weir --json-schema person.json -p 'In the beginning' --json \
    --ignore-eos
says out '"stop":"eos"'
weir run demo.weir --json-schema person.json -p 'In the beginning' -n "$n"
fits "as many tokens as the answer has are enough"
weir run demo.weir --json-schema person.json -p 'In the beginning' \
    -n $((n - 1))
is 0 "one less"
says err "warning: the answer is not whole: .* by -n, after $((n - 1)) tokens"
weir run demo.weir --json-schema person.json -p 'In the beginning' --json -n 4
is 0 "an answer that is cut, as JSON"
says out '"stop":"length"'
says err 'not whole: .* by -n, after 4 tokens'
weir run demo.weir --json-schema person.json -p 'In the beginning' --stop '"na'
is 0 "an answer that is cut by a stop string"
says err 'not whole: .* by a stop string'
echo '{"type": "integer", "minimum": 1}' >number.json
weir run demo.weir --json-schema number.json -p 'In the beginning' \
    --ignore-eos -n 3
is 0 "a number that could have gone on"
[ ! -s err ] && grep -qE '^ ?[1-9][0-9]*$' out
tap_ok $? "is whole"
sed -E -e 's/,"<0x[0-9A-F]+>":[0-9]+//g' -e 's/(fallback":)true/\1false/' \
    text/tokenizer.json >gap
cp gap text/tokenizer.json
"$WEIR" pack text -o gap.weir -q
tap_ok $? "a vocabulary without {"
weir run gap.weir --json-object --ids ids --json
is 0 "cannot write an object"
says out '"stop":"length"'
says err 'not whole: .* by want of tokens for it'

# What a budget that is too small is said to want for the session
session_mib() {
    weir run text.weir --ids ids --ram 1M "$@"
    sed -n 's/.*KV cache of the session \([0-9]*\)\.[0-9],.*/\1/p' err
}
plain=$(session_mib)
held=$(session_mib --json-object)
[ $((held - plain)) -ge 5 ]
tap_ok $? "a budget counts the memory of a form: $plain and $held MiB"

# ---- mistakes: before a model is looked for ----

# refuses STATUS PATTERN TEXT ARGUMENT...
refuses() {
    wanted=$1 pattern=$2 text=$3
    shift 3
    weir run missing.weir "$@"
    [ "$status" -eq "$wanted" ] && [ "$(wc -l <err)" -eq 1 ] && [ ! -s out ]
    tap_ok $? "refused: $text"
    says err "$pattern"
}

bad() { # PATTERN TEXT: as the schema in bad.json
    printf '%s\n' "$2" >bad.json
    refuses 3 "$1" "$2" -p x --json-schema bad.json
}

bad "bad.json: the schema at '/properties/a~1b/pattern': the keyword 'pat" \
    '{"properties": {"a/b": {"type": "string", "pattern": "x"}}}'
says err 'weir-serve(8)'
bad "the schema at '': type must be" '{"type": "strnig"}'
bad "minItems is above maxItems" '{"minItems": 2, "maxItems": 1}'
bad "maxLength is above 4096" '{"type": "string", "maxLength": 5000}'
bad "must be an object, true or false" '[1]'
bad "'json_schema' is not supported" '{"json_schema": {"schema": {}}}'
# No variable.
# shellcheck disable=SC2016
bad "no text of at most" '{"$ref": "#"}'
bad 'bad.json: line 1, column [0-9]*: ' '{"type": "object"} x'
bad 'bad.json: line 2, column 1: ' '{"type": "object"'
bad 'bad.json: line 1, column ' '{"type": "object", "type": "array"}'
bad 'nested deeper' "$(printf '%0100d' 0 | tr 0 '[')"
: >bad.json
refuses 3 'bad.json: line 1' "an empty file" -p x --json-schema bad.json
awk 'BEGIN { for (i = 0; i < 1048577; i++) printf " " }' >bad.json
refuses 3 'larger than 1048576 bytes' "a large one" -p x --json-schema bad.json
refuses 1 'nothing.json: cannot open' "no file" -p x --json-schema nothing.json
refuses 1 'cannot read' "a folder" -p x --json-schema .
refuses 2 'wants FILE' "no operand" -p x --json-schema
refuses 2 'takes no value' "an operand too many" -p x --json-object=1
refuses 2 'did you mean --json-schema' "a typo" -p x --json-shema person.json
refuses 2 'did you mean --json-object' "another" -p x --json-objekt
refuses 2 'exclude each other' "both" -p x --json-object --json-schema bad.json
refuses 2 'standard input' "a prompt and a schema in one" --json-schema -
refuses 2 'standard input' "with -f -" -f - --json-schema -
refuses 2 'standard input' "with --ids -" --ids - --json-schema -
refuses 2 'standard input' "with --chat-template -" -p x --chat \
    --chat-template - --json-schema -
weir run ids.weir --ids ids --json-object
is 3 "a model without a tokenizer"
says err 'ids.weir: was packed without a tokenizer'
tap_done
