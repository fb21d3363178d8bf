# SPDX-License-Identifier: Apache-2.0
# How weir run chooses tokens and ends a text: options, and what a model says.
. "${srcdir:-.}/tests/tap.sh"
. "${srcdir:-.}/tests/cli/weir.sh"

golden=$(cd "${srcdir:-.}/tests/golden/moe-8l" && pwd) || exit 99
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 99

# pack_with JSON NAME: NAME.weir, with that as its generation_config.json
pack_with() {
    mkdir "$2"
    cp "$golden/config.json" "$golden/model.safetensors" "$2"
    printf '%s\n' "$1" >"$2/generation_config.json"
    "$WEIR" pack "$2" -o "$2.weir" -q 2>err || tap_diag <err
}

# go MODEL OPTION...: the ids of 30 tokens, on one line
go() {
    model=$1
    shift
    weir run "$model.weir" --ids ids -n 30 "$@"
}

# like FILE TEXT, unlike FILE TEXT: whether the answer is that file
like() {
    [ "$status" -eq 0 ] && cmp -s out "$1"
    tap_ok $? "$2"
}

unlike() {
    [ "$status" -eq 0 ] && [ -s out ] && ! cmp -s out "$1"
    tap_ok $? "$2"
}

# has TEXT: the JSON answer does
has() {
    grep -qF -e "$1" out
    ok=$?
    tap_ok $ok "JSON has $1"
    [ $ok -eq 0 ] || tap_diag <out
}

pack_text
pack_with '{}' plain
echo '1 75 104 111 111 114' >ids

# Each option reaches the value that it is named after.
go plain --temp 0.5 --top-k 7 --top-p 0.25 --min-p 0.125 \
    --repetition-penalty 1.5 --presence-penalty -0.75 \
    --frequency-penalty 0.375 --seed 9223372036854775807 \
    --logit-bias 5=-2.5,6=1 --logit-bias=5=1 --json
is 0 "all options at once"
has '"sampling":{"temperature":0.5,"top_k":7,"top_p":0.25,"min_p":0.125,'
has '"repetition_penalty":1.5,"presence_penalty":-0.75,'
has '"frequency_penalty":0.375,'
has '"logit_bias":{"5":-1.5,"6":1.0},"seed":9223372036854775807}'
has '"stop":"length","stop_string":null'
go plain --json
has '"sampling":{"temperature":0.0,"top_k":0,"top_p":1.0,"min_p":0.0,'
has '"repetition_penalty":1.0,"presence_penalty":0.0,"frequency_penalty":0.0'
has '"logit_bias":{},"seed":0}'

go plain
mv out greedy
go plain --temp 0
like greedy "--temp 0 is greedy"
go plain --temp 5
unlike greedy "--temp 5 is not"
mv out hot
go plain --temp 5 --seed 1
unlike hot "another seed gives another text"
go plain --temp 5 --top-k 1
like greedy "--top-k 1 is greedy"
go plain --temp 5 --top-p 1e-9
like greedy "a small --top-p is greedy"
go plain --temp 5 --min-p 1
like greedy "--min-p 1 is greedy"
go plain --temp 5 --top-k 0 --top-p 1 --min-p 0
like hot "filters that let all pass change nothing"
for threads in 1 2 3; do
    go plain --temp 1.2 --seed 11 --top-k 60 --top-p 0.95 --min-p 0.01 \
        --repetition-penalty 1.1 --presence-penalty 0.2 \
        --frequency-penalty 0.1 --logit-bias 7=1.5 -t $threads
    if [ $threads = 1 ]; then
        unlike greedy "all of it together is another text again"
        mv out wanted
    else
        like wanted "the same seed gives the same text on $threads threads"
    fi
done

# Tokens 300 and 301 are far above all others, 300 a bit more.
far=300=90,301=80
all_300=$(yes 300 | head -n 30 | tr '\n' ' ' | sed 's/ $//')
go plain --logit-bias $far
[ "$(cat out)" = "$all_300" ]
tap_ok $? "a bias makes a token come always"
go plain --logit-bias $far --presence-penalty 2
[ "$(cat out)" = "$all_300" ]
tap_ok $? "a presence penalty counts once"
go plain --logit-bias $far --frequency-penalty 2
grep -qE '^(300 )+301 (30[01] )+30[01]$' out
tap_ok $? "a frequency penalty counts each time"
go plain --logit-bias 300=100,301=99
mv out close
go plain --logit-bias 300=100,301=99 --presence-penalty 2
unlike close "but it counts"
go plain --logit-bias 75=100 --repetition-penalty 100
! grep -qE '(^| )75( |$)' out && [ "$status" -eq 0 ]
tap_ok $? "a repetition penalty knows the prompt"
go plain --logit-bias 300=100 --repetition-penalty 100
[ "$(tr ' ' '\n' <out | grep -cx 300)" -eq 1 ]
tap_ok $? "and the answer"

go plain --temp 0.7 --top-p 0.9 --seed 3 --logit-bias 5=1 --stats
says err '^sampling  temperature 0.7 (--temp)$'
says err '^sampling  top_p 0.9 (--top-p)$'
says err '^sampling  logit_bias 5=1 (--logit-bias)$'
says err '^sampling  seed 3 (--seed)$'
[ "$(grep -c '^sampling' err)" -eq 4 ]
tap_ok $? "and nothing of what changes nothing"
go plain --stats
[ "$(grep '^sampling' err)" = 'sampling  greedy (default)' ]
tap_ok $? "--stats of a greedy run"
go plain --top-k 3
says err 'warning: --top-k has no effect'

# What the model says, and options over it
pack_with '{"do_sample": true, "temperature": 0.6, "top_k": 30,
    "top_p": 0.95, "min_p": 0.02, "repetition_penalty": 1.05}' warm
pack_with '{"do_sample": false, "temperature": 0.6, "top_k": 1}' cold
pack_with '{"do_sample": true, "temperature": null}' one
go warm --stats
mv out wanted
for line in 'temperature 0.6' 'top_k 30' 'top_p 0.95' 'min_p 0.02' \
    'repetition_penalty 1.05'; do
    says err "^sampling  $line (generation_config.json)\$"
done
says err '^sampling  seed 0 (default)$'
go plain --temp 0.6 --top-k 30 --top-p 0.95 --min-p 0.02 \
    --repetition-penalty 1.05
like wanted "generation_config.json does what the options do"
go warm --top-k 2 --min-p 0 --stats
says err '^sampling  top_k 2 (--top-k)$'
says err '^sampling  top_p 0.95 (generation_config.json)$'
! grep -q min_p err
tap_ok $? "an option goes before the model's value"
go warm --temp 0 --repetition-penalty 1
like greedy "--temp 0 makes a model greedy"
go cold
like greedy "do_sample false is greedy"
go cold --stats
! grep -q temperature err
tap_ok $? "whatever the temperature is"
go cold --temp 3 --json
has '"temperature":3.0,"top_k":1,'
go one --json
has '"temperature":1.0,"top_k":0,'
for bad in '"do_sample": "yes"' '"temperature": -1' '"top_k": 0.5' \
    '"top_p": 0' '"min_p": 2' '"repetition_penalty": 0'; do
    rm -rf bad
    pack_with "{$bad}" bad >/dev/null
    weir pack bad -o bad.weir
    is 3 "a model with $bad is not packed"
    says err "generation_config.json: $(echo "$bad" | cut -d '"' -f 2) must be"
done
rm -rf bad
pack_with '[]' bad >/dev/null
weir pack bad -o bad.weir
is 3 "nor one whose generation_config.json is no object"
[ ! -e bad.weir ] && [ ! -e bad.weir.part ]
tap_ok $? "nothing is left of these"

# What ends a text
fourth=$(cut -d ' ' -f 4 greedy)
second=$(cut -d ' ' -f 2 greedy)
pack_with "{\"eos_token_id\": $fourth}" eos
go eos
[ "$(cat out)" = "$(cut -d ' ' -f 1-3 greedy)" ]
tap_ok $? "the model's token ends the text"
go eos --eos 511
like greedy "--eos is in place of it"
go eos --eos "511,$second"
[ "$(cat out)" = "$(cut -d ' ' -f 1 greedy)" ]
tap_ok $? "each of a list ends the text"
go eos --eos 511 --eos "$second" --json
has '"stop":"eos"'
go eos --ignore-eos
like greedy "--ignore-eos goes on"
weir run text.weir -p Hello -n 9 --logit-bias 2=100 --ignore-eos --json
has '"text":"","ids":[2,2,2,2,2,2,2,2,2],"stop":"length"'

weir run text.weir -p Hello -n 40
mv out whole
word=$(grep -ao 't[0-9][0-9][0-9]' whole | sed -n 6p)
awk -v word="$word" '{ text = text $0 "\n" } END {
    printf "%s", substr(text, 1, index(text, word) - 1) }' whole >wanted
[ -s wanted ] && [ -n "$word" ]
tap_ok $? "there is a word to stop at"
weir run text.weir -p Hello -n 40 --stop "$word"
like wanted "--stop ends the text before it"
weir run text.weir -p Hello -n 40 --stop nothing --stop "${word#t}" --json
has "\"stop\":\"stop\",\"stop_string\":\"${word#t}\""
weir run text.weir -p Hello -n 40 --stop "$word." --stop 't999999'
like whole "what only begins like a stop string comes out"
weir run text.weir -p Hello -n 9 --logit-bias 300=100 --stop 00t3 --json
has '"text":"t3","ids":[300,300],"stop":"stop","stop_string":"00t3"'
weir run text.weir -p Hello -n 2 --logit-bias 300=100 --stop 00t30000 --json
has '"text":"t300t300","ids":[300,300],"stop":"length","stop_string":null'
# A run of bytes comes out when it ends, here with the last token.
weir run text.weir -p Hello -n 4 --logit-bias 100=100 --stop aaa --json
has '"text":"","ids":[100,100,100,100],"stop":"stop","stop_string":"aaa"'

# Bad values: a message that names the option, and nothing else happens
refuses() { # PATTERN OPTION...
    pattern=$1
    shift
    go plain "$@"
    is 2 "refused: $*"
    says err "$pattern"
}

for value in -1 100.5 nan warm '' 1x; do
    refuses '--temp.* must be a number from 0 to 100' --temp "$value"
done
for value in -1 1.5 x; do
    refuses '--top-k must be a whole number from 0 to' --top-k "$value"
done
for value in 0 -0.5 1.01 x; do
    refuses '--top-p must be a number above 0 and up to 1' --top-p "$value"
done
for value in -0.1 1.1 x; do
    refuses '--min-p must be a number from 0 to 1' --min-p "$value"
done
for value in 0 -1 101 x; do
    refuses '--repetition-penalty must be a number from 0.01 to 100' \
        --repetition-penalty "$value"
done
for value in -2.1 2.1 x; do
    refuses '--presence-penalty must be a number from -2 to 2' \
        --presence-penalty "$value"
    refuses '--frequency-penalty must be a number from -2 to 2' \
        --frequency-penalty "$value"
done
for value in 5 5= =1 x=1 -1=1 '5=1,' 5=1,6 '5=1 6=1' 5=x 4294967296=1; do
    refuses '--logit-bias must be ID=X' --logit-bias "$value"
done
refuses 'must be a number from -100 to 100' --logit-bias 5=101
refuses 'id 512 .* from 0 to 511' --logit-bias 512=1
for value in -1 9223372036854775808 x; do
    refuses '--seed must be a whole number' --seed "$value"
done
for value in '' x '1,' ,1 -1 '1 2'; do
    refuses '--eos must be token ids' --eos "$value"
done
refuses 'at most 16' --eos 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17
refuses 'no token 512' --eos 512
refuses 'exclude each other' --eos 1 --ignore-eos
refuses '--stop: .* 1 to 256 bytes' --stop ''
refuses '--stop: .* 1 to 256 bytes' --stop "$(printf '%0257d' 0)"
refuses '--stop: .* UTF-8' --stop "$(printf '\251')"
set --
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17; do
    set -- "$@" --stop "$i"
done
refuses '--stop: at most 16' "$@"
go plain --stop x
is 3 "a stop string for a model without a tokenizer"
says err 'without a tokenizer'
tap_done
