# SPDX-License-Identifier: Apache-2.0
# weir run and weir logits as a user meets them, on models made here.
. "${srcdir:-.}/tests/tap.sh"
. "${srcdir:-.}/tests/cli/weir.sh"

case ${srcdir:-.} in
/*) source=$srcdir ;;
*) source=$PWD/${srcdir:-.} ;;
esac
golden=$source/tests/golden/moe-8l
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 99

pack_text
"$WEIR" pack "$golden" -o ids.weir -q 2>err || tap_diag <err
echo '1 75 104 111 111 114' >ids
printf Hello >prompt

weir run text.weir -p Hello -n 12
is 0 "a text goes on"
mv out wanted
[ -s wanted ] && ! grep -q Hello wanted
tap_ok $? "the prompt is not repeated"
weir run text.weir -f prompt -n 12
cmp -s out wanted
tap_ok $? "-f reads the prompt from a file"
weir run text.weir -n 12 <prompt
cmp -s out wanted
tap_ok $? "without a source it is standard input"
weir run text.weir -f - -n 12 <prompt
cmp -s out wanted
tap_ok $? "-f - is that too"
weir run text.weir --ids ids -n 12 -t 1
cmp -s out wanted
tap_ok $? "--ids gives the same text, on one thread too"
weir run text.weir -p '<s>Hello' -n 12
cmp -s out wanted
tap_ok $? "a prompt that begins with <s> gets no second one"
weir run text.weir -p '' -n 2
is 0 "an empty prompt begins with <s>"

weir run text.weir -p Hello -n 300
is 0 "a long text"
iconv -f UTF-8 -t UTF-8 <out >again 2>/dev/null && cmp -s out again
tap_ok $? "it is UTF-8"

weir run text.weir -p Hello --temp 1.5 --seed 3 -n 40 -t 1
mv out wanted
weir run text.weir -p Hello --temp 1.5 --seed 3 -n 40 -t 2
cmp -s out wanted
tap_ok $? "a seed gives the same text on two threads"
weir run text.weir -p Hello --temp 1.5 --seed 4 -n 40
! cmp -s out wanted
tap_ok $? "another seed gives another"

weir run ids.weir --ids ids -n 5
is 0 "ids go on"
[ "$(wc -l <out)" -eq 1 ] && grep -qE '^[0-9]+( [0-9]+){4}$' out
tap_ok $? "as ids on one line"
mv out wanted
weir run ids.weir --ids ids -n 5 --json
says out '"prompt_tokens":6,"cached_tokens":0,"generated_tokens":5,'
says out ',"text":null,"ids":\['
says out '"stop":"length"'
[ "$(sed 's/.*"ids":\[\([0-9,]*\)\].*/\1/' out | tr ',' ' ')" = \
    "$(cat wanted)" ]
tap_ok $? "JSON has the same ids"
weir run text.weir -p Hello -n 5 --json
says out '"text":"'
[ "$(wc -l <out)" -eq 1 ]
tap_ok $? "one object on one line"

# Any id can end a text: take the fourth one of the answer.
eos=$(cut -d ' ' -f 4 wanted)
first=$(cut -d ' ' -f 1-3 wanted)
mkdir eos
cp "$golden/model.safetensors" "$golden/config.json" eos
echo "{\"eos_token_id\": [7, $eos]}" >eos/generation_config.json
"$WEIR" pack eos -o eos.weir -q 2>err || tap_diag <err
weir run eos.weir --ids ids -n 5
[ "$(cat out)" = "$first" ]
tap_ok $? "an id of generation_config.json ends the text"
weir run eos.weir --ids ids -n 5 --json
says out '"stop":"eos"'
says out '"generated_tokens":3'

weir run ids.weir --ids ids -n 3 --stats
says err '^prompt *6 tokens, .* tok/s$'
says err '^generated *3 tokens, .* tok/s$'
says err '^load .* s$'

weir run ids.weir -p Hello
is 3 "text for a model without a tokenizer"
says err '--ids'
weir run text.weir -p a -f prompt
is 2 "two prompts"
weir run text.weir text.weir -p a
is 2 "two models"
weir run text.weir -f nothing
is 1 "a prompt that is not there"
echo '1 2 512' >bad
weir run ids.weir --ids bad
is 2 "an id that the model does not have"
says err 'token 2 is id 512'
weir run ids.weir --ids ids -n 0
is 2 "no tokens at all"
if [ -e /dev/full ]; then
    status=0
    "$WEIR" run text.weir -p a -n 4 >/dev/full 2>err || status=$?
    is 1 "a text that cannot be written"
    says err 'standard output'
else
    tap_skip "there is no /dev/full"
fi
mkdir endless
cp "$golden/model.safetensors" endless
sed 's/"eos_token_id": 2/"eos_token_id": null/' "$golden/config.json" \
    >endless/config.json
"$WEIR" pack endless -o endless.weir -q 2>err || tap_diag <err
{
    status=0
    timeout 60 "$WEIR" run endless.weir --ids ids -n 500000 2>err || status=$?
    echo "$status" >status
} | head -c 1 >out
status=$(cat status)
is 1 "a reader that goes away ends it"
says err 'standard output'

# A token of the model that the tokenizer does not have is one without text.
sed 's/,"t300":300//' text/tokenizer.json >gap
cp gap text/tokenizer.json
"$WEIR" pack text -o gap.weir -q 2>err || tap_diag <err
weir run gap.weir -p Hello -n 3 --logit-bias 300=100 --json
is 0 "a token in a gap of the vocabulary"
says out '"text":"","ids":\[300,300,300\]'

mkfifo pipe
weir run pipe -p Hello
is 2 "a pipe in the place of a model"

weir logits ids.weir --ids ids -o first
is 0 "logits"
[ ! -s out ] && [ ! -e first.part ]
tap_ok $? "they go to the file alone"
weir logits ids.weir --ids bad -o second
is 2 "logits of an unknown id"
[ ! -e second ] && [ ! -e second.part ]
tap_ok $? "which leaves no file"
weir logits ids.weir --ids ids -o nowhere/second
is 1 "a folder that is not there"
weir logits ids.weir --ids ids
is 2 "no output"
weir logits ids.weir -o second
is 2 "no ids"
mkdir folder
weir logits ids.weir --ids ids -o folder
is 2 "a folder in the place of the output"
[ ! -e folder.part ]
tap_ok $? "leaves nothing beside it"
tap_done
