# SPDX-License-Identifier: Apache-2.0
# weir pack, verify and inspect from outside: outputs that must not be lost,
# a pack that is killed, and what inspect says.
. "${srcdir:-.}/tests/tap.sh"
. "${srcdir:-.}/tests/cli/weir.sh"

case=$(cd "${srcdir:-.}/tests/golden/moe-8l" && pwd) || exit 99
work=$(mktemp -d "$PWD/pack.XXXXXX") || exit 99
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 99
exec </dev/null

weir pack "$case" -o whole.weir
is 0 "a pack"
weir verify whole.weir
is 0 "which is good"
weir verify --io pread whole.weir
is 0 "which it is with either way to read"
weir verify --io mmap whole.weir
is 2 "and there is no third"

# Outputs that would lose something.
mkdir folder
for output in folder folder/ '' /dev/null; do
    weir pack "$case" -o "$output"
    is 2 "output '$output': refused"
done
cp -r "$case" copy
weir pack copy -o copy/model.safetensors
is 2 "a source as the output: refused"
cmp copy/model.safetensors "$case/model.safetensors"
tap_ok $? "and still there"
[ -z "$(find . -name '*.part')" ]
tap_ok $? "nothing was begun"

# Killed at any time, it goes on to the same bytes.
wrong=0
for i in 1 2 3 4 5 6 7 8; do
    rm -f killed.weir killed.weir.part
    "$WEIR" pack -q "$case" -o killed.weir 2>err &
    sleep "0.00$i"
    kill -9 $! 2>err
    wait $! 2>err
    weir pack -q "$case" -o killed.weir
    cmp -s whole.weir killed.weir || wrong=1
done
tap_ok $wrong "8 packs killed with SIGKILL, then finished: the same bytes"

# A link that leads nowhere is not the same as no tokenizer.
ln -s nowhere copy/tokenizer.json
weir pack copy -o link.weir
is 1 "a tokenizer.json that leads nowhere: refused"
rm copy/tokenizer.json
rm copy/model.safetensors
weir pack copy -o link.weir
is 1 "a folder without weights: refused"
[ ! -e link.weir ]
tap_ok $? "and no file"

# Damage is found and named.
cp whole.weir bad.weir
printf weir | dd of=bad.weir bs=1 conv=notrunc \
    seek=$(($(wc -c <bad.weir) - 4000)) 2>err
weir verify bad.weir
is 3 "a damaged model"
grep -q 'offset [0-9]*: tile [0-9]* of lm_head.weight' out
tap_ok $? "verify names offset, tile and tensor"

# inspect --json is JSON, also when the path is not UTF-8.
if command -v python3 >/dev/null; then
    name=$(printf 'f\377.weir')
    cp whole.weir "$name"
    for model in whole.weir "$name"; do
        weir inspect --json --tensors --tiles "$model"
        is 0 "inspect --json"
        python3 -c '
import json, sys
m = json.load(sys.stdin)
assert len(m["tensors"]) == m["n_tensors"] and len(m["tiles"]) == m["n_tiles"]
assert sum(t["tiles"] for t in m["tensors"]) == m["n_tiles"]
' <out 2>err
        tap_ok $? "is JSON and holds what it says"
    done
else
    tap_skip "there is no python3"
fi

# Closed standard streams are not mixed up with files.
status=0
"$WEIR" tokenize --tokenizer "$case/../tokenizer/small.tokenizer.json" \
    <&- >out 2>err || status=$?
[ "$status" -eq 0 ] && [ "$(wc -c <out)" -eq 1 ]
tap_ok $? "tokenize with stdin closed: an empty text"
status=0
"$WEIR" verify whole.weir >&- 2>err || status=$?
is 0 "verify with stdout closed"
tap_done
