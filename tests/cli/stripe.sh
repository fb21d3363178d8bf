# SPDX-License-Identifier: Apache-2.0
# A model that is spread over folders: the same logits, whatever moves, and one
# line that names the part when one is lost, damaged or another's.
. "${srcdir:-.}/tests/tap.sh"
. "${srcdir:-.}/tests/cli/weir.sh"

case=$(cd "${srcdir:-.}/tests/golden/moe-8l" && pwd) || exit 99
work=$(mktemp -d "$PWD/stripe.XXXXXX") || exit 99
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 99
exec </dev/null

# Small tiles and runs of them, so that each unit is in all parts.
export WEIR_TILE_CEILING=8192 WEIR_STRIPE_BYTES=32768
echo '1 75 104 111 111 114 200 7 99 12' >ids
mkdir one two three

weir pack -q "$case" -o whole.weir
weir logits whole.weir --ids ids -o wanted
is 0 "a model in one file"
for folders in one one,two one,two,three; do
    n=$(echo "$folders" | tr , '\n' | wc -l)
    weir pack -q "$case" -o "$n.weir" --stripe $folders
    is 0 "pack --stripe $folders"
    weir verify "one/$n.weir"
    is 0 "which is good"
    for io in mmap uring pread; do
        weir logits "one/$n.weir" --ids ids --io $io -o made
        [ "$io $status" = "uring 1" ] && grep -q io_uring err && continue
        cmp -s made wanted
        tap_ok $? "with --io $io the same logits"
    done
done
cmp -s one/1.weir whole.weir
tap_ok $? "one folder makes one file"
[ -f two/2.weir.1 ] && [ -f two/3.weir.1 ] && [ -f three/3.weir.2 ]
tap_ok $? "parts have the number of their folder"

# On one drive, as here, it says that this is no use, and only here.
weir pack -q "$case" -o again.weir --stripe one,two -t 3
says err 'warning: 2 of the 2 folders are on one drive'
cmp -s one/2.weir one/again.weir
[ $? -eq 1 ] && cmp -s two/2.weir.1 two/again.weir.1
tap_ok $? "the name stands in the first part only"

# The same folders elsewhere make the same bytes, killed or not.
mkdir -p other/one other/two
wrong=0
for i in 1 2 3 4 5; do
    rm -rf other/*/*
    (cd other && exec "$WEIR" pack -q "$case" -o 2.weir --stripe one,two \
        2>err) &
    sleep "0.00$i"
    kill -9 $! 2>err
    wait $! 2>err
    (cd other && "$WEIR" pack -q "$case" -o one/2.weir --stripe one,two) 2>err
    cmp -s one/2.weir other/one/2.weir || wrong=1
    cmp -s two/2.weir.1 other/two/2.weir.1 || wrong=1
done
tap_ok $wrong "5 packs killed with SIGKILL, then finished: the same bytes"

# Moved together, named through a link, in one folder, and elsewhere.
mkdir moved
mv one two three moved
ln -s moved/one/3.weir link.weir
weir verify link.weir
is 0 "moved, and by a link"
mkdir flat far
cp moved/*/3.weir* flat
weir verify flat/3.weir
is 0 "all in one folder"
mv flat/3.weir.1 far
weir verify flat/3.weir
is 1 "a part that is not there"
says err '/3\.weir\.1: part 1 of flat/3.weir is not there; mount its drive'
[ "$(wc -l <err)" -eq 1 ]
tap_ok $? "in one line"
for parts in far /nowhere:far "far:$work/moved"; do
    export WEIR_PARTS="$parts"
    weir logits flat/3.weir --ids ids -o made
    cmp -s made wanted
    tap_ok $? "found with WEIR_PARTS=$parts"
done
unset WEIR_PARTS
weir pack -q "$case" -o there.weir --stripe "flat,$work/far"
mkdir gone
mv flat/there.weir gone
weir verify gone/there.weir
is 0 "a path from the root is followed from anywhere"

# inspect says where the parts are, whether or not they are there.
weir inspect gone/there.weir
is 0 "inspect"
says out '^spread     part 0: gone/there.weir (.* tiles, drive [0-9]*:[0-9]*)'
says out '^           part 1: .*/far/there.weir.1 (.*, drive [0-9]*:[0-9]*)'
mv far/there.weir.1 hidden
weir inspect gone/there.weir
is 0 "inspect without a part"
says out '^           part 1: .*/far/there.weir.1 (.*, not found)'
says err 'warning: .* part 1 of gone/there.weir is not there'
weir plan gone/there.weir --disk-gbps 1 --dram-gbps 40 --gflops 500
is 1 "plan without a part"
mv hidden far/there.weir.1
weir plan gone/there.weir --disk-gbps 1 --dram-gbps 40 --gflops 500
is 0 "plan with all"
if command -v python3 >/dev/null; then
    weir inspect --json --tiles gone/there.weir
    python3 -c '
import json, sys
m = json.load(sys.stdin)
parts = [t["part"] for t in m["tiles"]]
assert [p["tiles"] for p in m["parts"]] == [parts.count(0), parts.count(1)]
assert m["bytes"] == sum(p["bytes"] for p in m["parts"])
' <out 2>err
    tap_ok $? "inspect --json adds up"
else
    tap_skip "there is no python3"
fi

# What is no part of this model.
refuses() { # TEXT PATTERN
    for command in "verify" "logits --ids ids -o made"; do
        # shellcheck disable=SC2086
        weir $command flat/3.weir
        is 3 "$1: refused"
        says err "/3\\.weir\\.1: $2"
    done
}
cp far/3.weir.1 good.1
cp flat/3.weir.2 flat/3.weir.1
refuses "another part" 'is part 2 where part 1 should be'
weir pack -q "$case" --codec raw -o 3.weir --stripe "far,gone"
cp gone/3.weir.1 flat
refuses "the part of another model" 'belongs to another model'
head -c 40960 good.1 >flat/3.weir.1
refuses "a part that is cut" 'has 40960 bytes where'
cp "$case/config.json" flat/3.weir.1
refuses "something else" 'not a part of a weir file'
cp good.1 flat/3.weir.1
printf weir | dd of=flat/3.weir.1 bs=1 seek=2000 conv=notrunc 2>err
refuses "a damaged first page" 'the checksum of its first page'
rm flat/3.weir.1
mkfifo flat/3.weir.1
refuses "a pipe" 'not a regular file'
rm flat/3.weir.1

# Damage in a part is found and named.
cp good.1 flat/3.weir.1
printf weir | dd of=flat/3.weir.1 bs=1 conv=notrunc 2>err \
    seek=$(($(wc -c <good.1) - 4000))
weir verify flat/3.weir
is 3 "a damaged tile"
says out '^/.*/3\.weir\.1: offset [0-9]*: tile [0-9]* of lm_head.weight'
for io in mmap pread; do
    weir logits flat/3.weir --ids ids --io $io -o made
    is 3 "with --io $io too"
    says err '/3\.weir\.1: offset [0-9]*: tile [0-9]* of lm_head.weight'
done

# What cannot be spread.
for folders in '' 'one,' ',one' nowhere ids; do
    weir pack -q "$case" -o x.weir --stripe "$folders"
    [ "$status" -eq 1 ] || [ "$status" -eq 2 ]
    tap_ok $? "--stripe '$folders': refused: $(cat err)"
done
mkdir a
weir pack -q "$case" -o far/x.weir --stripe a
is 2 "an output outside of the first folder: refused"
weir pack -q "$case" -o x.weir --stripe "$(printf 'a,%.0s' $(seq 16))a"
is 2 "17 folders: refused"
weir pack -q "$case" -o x.weir --stripe "$(printf 'a,%.0s' $(seq 15))a"
is 0 "16 are not"
weir verify a/x.weir
is 0 "and good"

# Random weights, whose layers may share tiles.
for alias in '' --alias; do
    # shellcheck disable=SC2086
    weir synth "$case/config.json" $alias -q -o r.weir
    weir logits r.weir --ids ids -o wanted
    # shellcheck disable=SC2086
    weir synth "$case/config.json" $alias -q -o s.weir --stripe a,far,gone
    weir verify a/s.weir
    is 0 "synth --stripe $alias"
    weir logits a/s.weir --ids ids --io pread -o made
    cmp -s made wanted
    tap_ok $? "with the same logits"
done
tap_done
