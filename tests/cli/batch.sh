# SPDX-License-Identifier: Apache-2.0
# weir batch: forms of lines, errors in them, the same answers however many are
# in step, and nothing lost or done twice when it is killed.
. "${srcdir:-.}/tests/tap.sh"
. "${srcdir:-.}/tests/cli/weir.sh"

golden=$(cd "${srcdir:-.}/tests/golden/moe-8l" && pwd) || exit 99
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 99

# What must be the same each time, in the order of the lines
answers() { # FILE
    sed 's/"created":[0-9]*,//' "$1" | sort
}

# The same without what tells lines by their number
by_custom_id() { # FILE
    answers "$1" | sed -e 's/"id":"batch_req_[0-9]*",//' \
        -e 's/"request_id":"req_[0-9]*",//' -e 's/"id":"cmpl-[0-9]*",//' | sort
}

same() { # ONE OTHER TEXT
    cmp -s "$1" "$2" && [ -s "$1" ]
    ok=$?
    tap_ok $ok "$3"
    [ $ok -eq 0 ] || diff "$1" "$2" | tap_diag
}

# line N PATTERN: the answer to line N of the input is so.
line() {
    grep "^{\"id\":\"batch_req_$1\"," out >answer
    grep -q -e "$2" answer
    ok=$?
    tap_ok $ok "line $1: $2"
    [ $ok -eq 0 ] || tap_diag <answer
}

pack_text
url='"method":"POST","url":"/v1/completions"'
chat=/v1/chat/completions

# ---- forms of lines, and errors that are answers ----

weir run text.weir -p Hello -n 6 --json
text=$(sed -e 's/.*"text":"\([^"]*\)".*/\1/' -e 's/[\\.]/\\&/g' out)
cat >in <<EOF
{"custom_id":"a",$url,"body":{"model":"m","prompt":"Hello","max_tokens":6}}
{"prompt":"Hello","max_tokens":6}

"Hello"
{"id":7,"prompt":[1,75,104,111,111,114],"max_tokens":3,"return_token_ids":true}
{"custom_id":"a","prompt":"again"}
{"custom_id":"c","url":"$chat","body":{"messages":[{"role":"u"}]}}
{"id":"e","prompt":"x","max_token":1}
not JSON
{"id":"f","prompt":"x","max_tokens":63}
{"id":"g","prompt":[512]}
{"id":"h","prompt":[]}
{"id":"i","prompt":"x","stop":"t","logit_bias":{"300":100}}
{"id":"j","prompt":"x","logit_bias":{"2":100}}
{"id":"k","prompt":"x","logit_bias":{"2":100},"ignore_eos":true,"max_tokens":4}
{"id":"l","prompt":"x","logit_bias":{"512":1}}
{"id":"m","prompt":"$(printf '%070000d' 0)"}
{"id":"n","prompt":"$(printf '%050d' 0)"}
{"id":"o","prompt":"no line feed behind this","max_tokens":1}
EOF
printf '%s' "$(cat in)" >in.jsonl
weir batch text.weir in.jsonl -n 6 --ctx 64 -q
is 0 "a batch with errors in it"
[ ! -s err ] && [ "$(wc -l <out)" -eq 18 ]
tap_ok $? "each line has one answer, but for an empty one"
for n in 1 2 4; do
    line $n "\"text\":\"$text\",\"logprobs\":null,\"finish_reason\":\"length\""
done
line 1 '"custom_id":"a","response":{"status_code":200,"request_id":"req_1",'
line 1 '"object":"text_completion","created":[0-9]*,"model":"text",'
line 1 '"usage":{"prompt_tokens":6,"completion_tokens":6,"total_tokens":12,'
line 1 '},"error":null}$'
line 2 '"custom_id":null,'
line 5 '"custom_id":"7",.*"token_ids":\[[0-9]*,[0-9]*,[0-9]*\]'
line 6 '"custom_id":"a",.*"status_code":400.*"code":"duplicate_custom_id"'
line 7 '"custom_id":"c",.*"status_code":400.*chat template.*"param":"messages"'
line 8 "unknown key 'max_token'.*\"param\":\"max_token\""
line 9 '"custom_id":null,.*"code":"invalid_json"'
line 10 '"custom_id":"f",.*"code":"context_length_exceeded"'
line 11 'id 512; the model has ids 0 to 511'
line 12 'the prompt is empty.*"param":"prompt"'
line 13 '"text":"","logprobs":null,"finish_reason":"stop"'
line 14 '"text":"",.*"finish_reason":"stop".*"completion_tokens":0'
line 15 '"text":"",.*"finish_reason":"length".*"completion_tokens":4'
line 16 'token id 512 cannot have a bias'
line 17 '"custom_id":null,.*"code":"line_too_long"'
line 18 '"custom_id":"n",.*"completion_tokens":6'
line 19 '"custom_id":"o",.*"completion_tokens":1'
cp out wanted.raw
answers out >wanted
if command -v python3 >/dev/null; then
    tap_run "every line is JSON" python3 -c 'import json, sys
for line in open(sys.argv[1]): json.loads(line)' out
else
    tap_skip "there is no python3"
fi
weir batch text.weir - -n 6 --ctx 64 -q <in.jsonl
answers out >found
same wanted found "standard input is the same"
weir batch text.weir in.jsonl -n 6 --ctx 64 -o file.jsonl --json
is 0 "to a file"
says out '"answered":9,"refused":9,"there_before":0,'
says out '"bound_tok_per_s":[0-9.]*,"bound_by":"[a-z]*","share":'
[ "$(wc -l <out)" -eq 1 ] && [ ! -e file.jsonl.part ] &&
    [ ! -e file.jsonl.part.job ]
tap_ok $? "whose name it has at last, and nothing is left beside it"
answers file.jsonl >found
same wanted found "with the same answers"
says err '^lines  *9 answered, 9 refused, 0 there before$'
says err '^answers  *[0-9]* tokens, .* tok/s, up to .* in step$'
says err '^bound  *[0-9.]* tok/s by [a-z]*, of which this is [0-9.]* %$'
weir batch text.weir in.jsonl -n 6 --ctx 64 -o file.jsonl -q
is 2 "a file that is there"
says err 'file.jsonl: is there already; remove it'

# ---- the same answers, whatever is in step ----

awk 'BEGIN {
    for (i = 0; i < 24; i++) {
        printf "{\"id\":\"q%d\",\"prompt\":\"", i
        for (k = i * 7 % 50; k >= 0; k--)
            printf "%c", 97 + (i + k * k) % 26
        printf "\",\"max_tokens\":%d,\"return_token_ids\":true", 1 + i * 5 % 60
        if (i % 3)
            printf ",\"temperature\":1.2,\"top_p\":0.95"
        if (i % 4 == 1)
            printf ",\"seed\":%d,\"repetition_penalty\":1.2", i
        print "}"
    }
}' >many
weir batch text.weir many --batch 1 -t 1 -q --temp 0.5
is 0 "one by one"
answers out >wanted
by_custom_id out >wanted_by_id
for how in '--batch 2' '--batch 7 -t 3' '--batch 24' '' '--io pread --batch 5'
do
    # several options
    # shellcheck disable=SC2086
    weir batch text.weir many -q --temp 0.5 $how
    answers out >found
    same wanted found "the same answers with '$how'"
done
tac many >backwards
weir batch text.weir backwards -q --batch 3 --temp 0.5
by_custom_id out >found
same wanted_by_id found "in another order of the lines"
weir batch text.weir many -q --temp 0.5 --seed 1
answers out >found
! cmp -s wanted found && [ "$(grep -c '"temperature"' many)" -eq 16 ]
tap_ok $? "another --seed gives other answers"
with_seed() { # FILE: answers whose lines have a seed of their own
    by_custom_id "$1" | grep -E '^{"custom_id":"q(1|5|9|13|17|21)"'
}
with_seed out >found
with_seed wanted_by_id >wanted_seeds
same wanted_seeds found "but to those that have their own"

# ---- killed, and gone on with ----

# Goes on until there are N whole lines and dies there; a lost race is one less.
n_killed=0
kill_at() { # N
    "$WEIR" batch text.weir many --temp 0.5 --batch 2 -q -o out.jsonl -t 1 \
        2>err &
    pid=$!
    while kill -0 $pid 2>kill_err; do
        n=0
        [ ! -e out.jsonl.part ] || n=$(wc -l <out.jsonl.part)
        [ "$n" -lt "$1" ] || break
        sleep 0.01
    done
    ! kill -9 $pid 2>kill_err || n_killed=$((n_killed + 1))
    wait $pid 2>wait_err
}

kill_at 1
[ -s out.jsonl.part.job ]
tap_ok $? "the job is known from the first answer on"
cp out.jsonl.part.job job
for n in 5 6 11 17; do
    kill_at $n
    # What a crash of the machine can leave of the last line
    printf '{"id":"batch_req_24","custom_id":"q2' >>out.jsonl.part
done
[ $n_killed -gt 2 ] && [ ! -e out.jsonl ]
tap_ok $? "it was killed $n_killed times"
cp out.jsonl.part kept
sed '$d' kept | answers /dev/stdin >kept_answers
weir batch text.weir many --temp 0.5 --batch 4 -o out.jsonl --json
is 0 "and went on to the end"
says out "\"refused\":0,\"there_before\":$(wc -l <kept_answers),"
answers out.jsonl >found
same wanted found "with every answer once, and the same ones"
[ "$(head -n "$(wc -l <kept_answers)" out.jsonl | answers /dev/stdin)" = \
    "$(cat kept_answers)" ]
tap_ok $? "those that were there are still there"

# begun FILE: as it was when it was killed
begun() {
    rm -f out.jsonl
    cp "$1" out.jsonl.part
    cp job out.jsonl.part.job
}

go_on() { # MODEL IN OPTION...
    weir batch "$@" -o out.jsonl -q
}

begun kept
go_on text.weir many --temp 0.5 -n 5
is 2 "not with other options"
says err 'out.jsonl.part: was begun with another n-tokens; give the same'
begun kept
go_on text.weir many --temp 0.25
says err 'another temperature'
go_on text.weir many --temp 0.5 --stop x
says err 'another stop'
sed 's/q3/r3/' many >other
go_on text.weir other --temp 0.5
is 2 "not with another input"
says err 'another input'
mkdir other_model
cp text/* other_model
echo '{"eos_token_id": 7}' >other_model/generation_config.json
"$WEIR" pack other_model -o other.weir -q
go_on other.weir many --temp 0.5
is 2 "not with another model"
says err 'another model'
cmp -s kept out.jsonl.part
tap_ok $? "which leave the answers as they were"
go_on text.weir - --temp 0.5 <many
is 0 "a file is the same as standard input"
mkfifo pipe
begun kept
cat many >pipe &
go_on text.weir pipe --temp 0.5
wait
is 2 "a pipe is not"
rm out.jsonl.part.job
go_on text.weir many --temp 0.5
is 1 "answers without a job"
says err out.jsonl.part.job
begun kept
{ head -n 2 kept && echo '{"id":"batch_req_x"}' && sed -n 3p kept; } \
    >out.jsonl.part
go_on text.weir many --temp 0.5
is 3 "a damaged line among good ones"
says err 'out.jsonl.part: line 3 is no answer'
begun kept
head -n 4 kept | sed '4s/.$/?/' >out.jsonl.part
head -c 100 /dev/zero >>out.jsonl.part
go_on text.weir many --temp 0.5
answers out.jsonl >found
same wanted found "damage at the end is answered again"

rm -f out.jsonl*
"$WEIR" batch text.weir pipe -o out.jsonl -q 2>other_err &
pid=$!
exec 3>pipe
until [ -e out.jsonl.part.job ] || ! kill -0 $pid 2>kill_err; do
    :
done
go_on text.weir many --temp 0.5
is 2 "a file that another process writes"
says err 'another process is writing it'
exec 3>&-
wait $pid
[ -e out.jsonl ] && [ ! -s out.jsonl ]
tap_ok $? "which ends in peace, with no lines at all"

# ---- models without a tokenizer, and what else can be wrong ----

"$WEIR" pack "$golden" -o ids.weir -q 2>err || tap_diag <err
cat >in.jsonl <<EOF
{"prompt":[1,75,104],"max_tokens":2}
"text"
{"prompt":[1,75,104],"stop":"x"}
EOF
weir batch ids.weir in.jsonl -q
line 1 '"text":"","logprobs":null,.*"token_ids":\[[0-9]*,[0-9]*\]'
line 2 '"status_code":400.*without a tokenizer'
line 3 '"status_code":400.*stop strings need a tokenizer'
demo=$(cd "$golden/../../../demo/model" && pwd) || exit 99
"$WEIR" pack "$demo" -o demo.weir -q 2>err || tap_diag <err
weir run demo.weir --chat -p 'Say: my horse is slow' --temp 0
cp out wanted
body='{"messages":[{"role":"user","content":"Say: my horse is slow"}],'
body="$body\"temperature\":0}"
cat >in.jsonl <<EOF
{"custom_id":"c","url":"$chat","body":$body}
$body
{"messages":[]}
EOF
weir batch demo.weir in.jsonl -q
content="\"content\":\"$(cat wanted)\"}"
line 1 "\"object\":\"chat.completion\",.*{\"role\":\"assistant\",$content"
line 1 "$content,\"logprobs\":null,\"finish_reason\":\"stop\""
line 2 "$content"
line 3 '"status_code":400.*"param":"messages"'
weir batch text.weir
is 2 "no input"
says err 'no input given'
weir batch text.weir many more
is 2 "two inputs"
weir batch text.weir many --json
is 2 "--json beside the answers"
weir batch text.weir many --batch 513
is 2 "too many in step"
weir batch text.weir many --ctx 1
is 2 "too short a context"
weir batch text.weir many --bach 2
is 2 "a misspelt option"
says err 'did you mean --batch'
weir batch text.weir nothing
is 1 "an input that is not there"
says err nothing
weir batch text.weir many -o nowhere/out
is 1 "a folder that is not there"
mkdir folder
weir batch text.weir many -o folder
is 2 "a folder in the place of the output"
weir batch text.weir many --ram 4M -o small.jsonl
is 3 "too small a budget"
says err 'a budget of 4.0 MiB of RAM is too small'
[ ! -s small.jsonl.part ] && [ ! -e small.jsonl ]
tap_ok $? "leaves no answers"
if [ -e /dev/full ]; then
    status=0
    "$WEIR" batch text.weir many -q >/dev/full 2>err || status=$?
    [ "$status" -eq 1 ]
    tap_ok $? "answers that cannot be written"
    says err 'standard output'
else
    tap_skip "there is no /dev/full"
fi

# ---- a machine that cannot be measured ----

skip_the_rest_if_sanitized
head -n 2 many >few
kib=50000
# With just enough to answer there is too little to measure memory in.
while [ ! -e few.jsonl ] && [ $kib -lt 1000000 ]; do
    kib=$((kib + 50000))
    status=0
    (
        ulimit -v $kib
        exec "$WEIR" batch text.weir few -t 1 --batch 1 --ctx 64 -n 6 \
            -o few.jsonl --json
    ) >out 2>err || status=$?
done
is 0 "all answers are there when the machine cannot be measured"
says err 'warning: .*memory to read.* is not known'
says err '^answers '
says out '"dram_gbps":0.0,"gflops":0.0,'
tap_done
