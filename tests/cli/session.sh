# SPDX-License-Identifier: Apache-2.0
# weir run --session: what a file remembers of a text.
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
"$WEIR" pack "$golden" -o other.weir --quant none -q 2>err || tap_diag <err
# 300 tokens and what makes 301 and 299 of them
awk 'BEGIN { for (i = 0; i < 299; i++) printf "%d ", i * i % 509; print 7 }' \
    >ids
{
    cat ids
    echo 8
} >longer
sed 's/ [0-9]*$//' ids >shorter

run() { # ARGUMENT...
    weir run text.weir --session kept "$@"
}

cached() { # NUMBER TEXT
    grep -q "\"cached_tokens\":$1," out
    tap_ok $? "$2: $1 tokens were there"
    grep -q "\"cached_tokens\":$1," out || tap_diag <out
}

answer() {
    sed 's/.*"ids":\[\([0-9,]*\)\].*/\1/' out
}

same() { # TEXT
    [ -n "$(cat wanted)" ] && [ "$(answer)" = "$(cat wanted)" ]
    tap_ok $? "$1"
}

weir run text.weir --ids ids -n 20 --json
answer >wanted
cached 0 "without a session"
run --ids ids -n 20 --json
is 0 "a new session"
cached 0 "a new session"
same "it gives the same answer"
[ -f kept ] && [ ! -e kept.part ] && [ "$(stat -c %a kept)" = 600 ]
tap_ok $? "and a file, for its owner alone"
run --ids ids -n 20 --json
cached 300 "the same prompt again"
same "the same answer"
run --ids ids -n 5 --stats
is 0 "with --stats"
says err 'session  *300 tokens of the prompt, of 300, were there'

# What was answered becomes part of the prompt.
{
    cat ids
    tr ',' ' ' <wanted
} >whole
run --ids ids -n 20 --json
run --ids whole -n 1 --json
cached 319 "the answer as a prompt, but for its last token"
run --ids ids -n 20 --json
cached 300 "back to the first prompt"
same "with its answer"
weir run text.weir --ids longer -n 20 --json
answer >wanted
run --ids longer -n 20 --json
cached 300 "a longer prompt"
same "its answer is that of a run without the file"
weir run text.weir --ids shorter -n 20 --json
answer >wanted
run --ids shorter -n 20 --json
cached 256 "a shorter prompt"
same "likewise"
# The file may hold more than the run would need room for.
run --ids shorter -n 200
head -c 40 shorter | sed 's/ [0-9]*$//' >few
run --ids few -n 2 --json
is 0 "a prompt that is a small part of it"
cached 0 "it"

run --ids ids -n 2
cp kept before.session
weir run other.weir --session kept --ids ids -n 2
is 2 "another model"
says err 'was saved with another model'
run --kv f32 --ids ids -n 2
is 2 "another type of KV cache"
says err 'type bf16'
cmp -s kept before.session && [ ! -e kept.part ]
tap_ok $? "what is refused stays as it is"
printf 'x' | dd of=kept bs=1 seek=5000 conv=notrunc 2>/dev/null
run --ids ids -n 2
is 3 "a damaged file"
says err 'checksum'
head -c 5000 before.session >kept
run --ids ids -n 2
is 3 "one that was cut"
says err 'was cut'
weir run text.weir --session text.weir --ids ids -n 2
is 2 "the model itself"
weir run text.weir --session . --ids ids -n 2
is 2 "a folder"
weir run text.weir --session no/kept --ids ids -n 2
is 1 "a folder that is not there"
says err 'no/kept.part'
[ -s out ]
tap_ok $? "the answer comes all the same"

# A signal, once there is an answer; the shell lets SIGINT be ignored here.
rm -f kept
"$WEIR" run text.weir --session kept --ids ids -n 100000 --ignore-eos \
    >live 2>err &
pid=$!
tries=0
while [ ! -s live ] && [ "$tries" -lt 300 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
kill -TERM "$pid"
status=0
wait "$pid" || status=$?
[ "$status" -eq 143 ]
tap_ok $? "a signal ends it as it would"
[ -f kept ] && [ ! -e kept.part ]
tap_ok $? "but the session is saved"
run --ids ids -n 1 --json
cached 300 "the same prompt again"
tap_done
