# SPDX-License-Identifier: Apache-2.0
# Timelines: --trace of the commands that run a model, and weir trace.
. "${srcdir:-.}/tests/tap.sh"
. "${srcdir:-.}/tests/cli/weir.sh"

source=$(cd "${srcdir:-.}" && pwd) || exit 99
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 99
exec </dev/null
python3 -c '' 2>err
has_python=$?

# check WHAT TEXT [FILE]: what trace.py finds in t.json, and in FILE
check() {
    if [ $has_python -ne 0 ]; then
        tap_skip "there is no python3 to see that $2"
        return
    fi
    python3 -B "$source/tests/cli/trace.py" "$1" t.json "$3" 2>err
    ok=$?
    tap_ok $ok "$2"
    [ $ok -eq 0 ] || tap_diag <err
}

"$WEIR" pack "$source/demo/model" -o demo.weir -q 2>err || tap_diag <err
awk 'NF == 0 { exit } { print }' "$source/demo/heldout.txt" |
    head -n 3 >chapter.txt
echo '1 75 104 111 99 512' >ids

weir run demo.weir -p And -n 6 --temp 0 -t 2
cp out plain
weir run demo.weir -p And -n 6 --temp 0 -t 2 --trace t.json
is 0 "a run writes a timeline"
cmp -s out plain
tap_ok $? "and the same text"
check mapped "it is JSON, in order, with all threads and layers"
weir trace t.json -o t.svg
is 0 "it is drawn"
# One may have done all.
says out '^length .* [12] threads*$'
says out '^computing Mamba  *[0-9.]*  *[0-9.]* %$'
says out '^part  *operation  *seconds'
check svg "the picture is XML and names what it shows" t.svg
weir trace t.json --json
cp out sums
check sums "its sums are those of the spans" sums
tap_run "no .part is left" test ! -e t.json.part -a ! -e t.svg.part

weir run demo.weir -p And -n 6 --temp 0 -t 1 --io pread --json --trace t.json
is 0 "with weights that are read"
cp out told
check read "every byte that is read is there" told
weir trace t.json -o t.svg
is 0 "and drawn"
says out '^drive  *[1-9][0-9]* requests'
check svg "as XML" t.svg
weir trace t.json --json
cp out sums
check sums "the sums of one thread" sums

weir eval demo.weir -f chapter.txt -q -t 2 --trace t.json
is 0 "eval"
check some "has spans"
weir logits demo.weir --ids ids -o scores -t 2 --trace t.json
is 0 "logits"
check some "has spans"
weir bench demo.weir -p 0 -n 1 -r 1 -t 1 --trace t.json
is 0 "bench"
check some "has spans"
echo '"And it came to pass"' >in.jsonl
weir batch demo.weir in.jsonl -n 2 -t 2 -q --trace t.json
is 0 "batch"
check some "has spans"
weir batch demo.weir in.jsonl -o t -n 2 -t 2 -q --trace t.json
is 0 "its answers may have a name that begins as that"
check some "has spans"

# ---- interrupted ----

# interrupt SIGNAL: a run that would not end soon, once it has answered
interrupt() {
    rm -f t.json out
    env --default-signal="$1" "$WEIR" run demo.weir -p And -n 100000 --temp 0 \
        --ignore-eos -t 2 --trace t.json >out 2>err &
    while ! [ -s out ] && kill -0 $! 2>err2; do
        sleep 0.1
    done
    kill -s "$1" $!
    status=0
    wait $! || status=$?
}

if env --default-signal=INT true 2>err; then
    interrupt INT
    is 130 "a run dies of SIGINT"
    check cut "and leaves what was recorded until then"
    interrupt TERM
    is 143 "it dies of SIGTERM"
    check cut "and leaves it likewise"
    tap_run "no .part is left" test ! -e t.json.part
    weir trace t.json
    is 0 "it can be summed up"
else
    tap_skip "env does not set signals back"
fi

# ---- mistakes ----

printf 'a\377b' >latin.txt
weir eval demo.weir -f latin.txt --trace late.json
is 3 "a command that fails"
[ -s late.json ]
tap_ok $? "leaves its timeline all the same"
weir run demo.weir -p And -n 1 --trace demo.weir
is 2 "a timeline in the place of the model"
weir run demo.weir -p And -n 1 --trace no/such/folder
is 1 "in a folder that is not there"
weir eval demo.weir -f chapter.txt --trace chapter.txt
is 2 "of a text"
weir logits demo.weir --ids ids -o scores --trace ids
is 2 "of ids"
echo '"And"' >in.part
cp in.part in.kept
weir batch demo.weir in.part -o in.out --trace in
is 2 "what waits for it to be whole, too"
cmp -s in.part in.kept
tap_ok $? "is not lost"
echo '"And"' >answers.part
weir batch demo.weir in.jsonl -o answers.part --trace answers
is 2 "nor are answers with such a name"
[ "$(cat answers.part)" = '"And"' ]
tap_ok $? "which are as they were"
weir batch demo.weir in.jsonl --trace in.jsonl
is 2 "in the place of what a batch reads"
weir batch demo.weir in.jsonl -o a.jsonl --trace ./a.jsonl
is 2 "of its answers"
says err 'give the timeline another name'
weir batch demo.weir in.jsonl -o a.jsonl --trace a.jsonl.part
is 2 "or of those that wait"
weir trace
is 2 "no timeline"
weir trace missing.json
is 1 "one that is not there"
weir trace t.json -o t.json
is 2 "a picture in its place"
weir trace t.json -o no/such/folder
is 1 "in a folder that is not there"
for case in empty text json cut unordered overlap beyond huge huge-length \
    negative kind deep tid layer name-control line-long behind; do
    weir trace "$source/tests/fuzz/corpus/trace/$case" -o bad.svg
    [ "$status" -eq 3 ] && [ "$(wc -l <err)" -eq 1 ] && [ ! -s out ] &&
        [ ! -e bad.svg ] && grep -q "/$case: line [0-9]*: " err
    ok=$?
    tap_ok $ok "refused in one line: $case"
    [ $ok -eq 0 ] || tap_diag <err
done

tap_done
