# SPDX-License-Identifier: Apache-2.0
# weir synth from outside: which bytes it writes, what it refuses.
. "${srcdir:-.}/tests/tap.sh"
. "${srcdir:-.}/tests/cli/weir.sh"

config=$(cd "${srcdir:-.}/tests/golden/moe-8l" && pwd)/config.json || exit 99
reader=${config%/*/*}/second_reader.py
work=$(mktemp -d "$PWD/synth.XXXXXX") || exit 99
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 99
exec </dev/null

weir synth "$config" -o one.weir -t 1
is 0 "a model"
[ ! -s out ] && [ ! -s err ]
tap_ok $? "and not a word"
weir verify one.weir
is 0 "which is good"
WEIR_TILE_CEILING=1024 weir synth "$config" -o small.weir -t 1
cp "$config" same.json
weir synth same.json -o three.weir -t 3 --seed 0
cmp one.weir three.weir
tap_ok $? "the path of the shape and the threads change no byte"
weir synth "$config" -o other.weir --seed 1
cmp -s one.weir other.weir
[ $? -eq 1 ]
tap_ok $? "another seed does"

# It is a model like others, with the tensors that its quantisation calls for.
printf '1 2 3 4 5' >ids
for option in '--quant experts-int8' '--dense-mlp bf16' '--quant none' \
    '--codec zstd'; do
    # Words of their own.
    # shellcheck disable=SC2086
    weir synth "$config" -o some.weir $option
    is 0 "a model with $option"
    weir verify some.weir
    is 0 "which is good"
    weir run some.weir --ids ids -n 4
    is 0 "and runs"
done
weir synth "$config" -o whole.weir --codec raw
weir logits whole.weir --ids ids -o whole.logits -t 1
weir logits one.weir --ids ids -o one.logits -t 1
weir logits small.weir --ids ids -o small.logits -t 1
cmp whole.logits one.logits
tap_ok $? "the codec does not change what it computes"
cmp one.logits small.logits
tap_ok $? "nor do the tiles"
weir inspect one.weir
says out 'random: weir synth config.json --seed 0'
weir inspect --json one.weir
says out '"synth":{"shape":"config.json","seed":0,"alias":false}'

# Layers of one kind in one place.
weir synth "$config" -o alias.weir --alias -t 1
is 0 "a model with --alias"
weir synth "$config" -o same.weir --alias -t 3
cmp alias.weir same.weir
tap_ok $? "the same bytes with 3 threads"
[ "$(wc -c <alias.weir)" -lt $(($(wc -c <one.weir) / 2)) ]
tap_ok $? "less than half of the bytes"
weir verify alias.weir
is 0 "which is good"
weir run alias.weir --ids ids -n 4
is 0 "and runs"
weir inspect alias.weir
says out 'synth config.json --seed 0 --alias$'
says out '^aliased  *layers share their tiles'
weir inspect one.weir
grep -q -e alias out
[ $? -eq 1 ]
tap_ok $? "of another model it says no such thing"
weir bench alias.weir -p 2 -n 0 -r 1 -t 1
says out 'alias.weir, experts-int8, 0.00 GB, aliased'
if command -v python3 >/dev/null; then
    weir inspect --json --tensors --tiles alias.weir
    python3 -c '
import json, sys
m = json.load(sys.stdin)
tensors, tiles = {t["name"]: t for t in m["tensors"]}, m["tiles"]
def of(t):
    return tiles[t["first_tile"]:t["first_tile"] + t["tiles"]]
shared = [t for t in m["tensors"] if t["tiles_of"] != t["name"]]
assert m["aliased"] and shared
for t in shared:
    assert of(t) == of(tensors[t["tiles_of"]])
assert sum(t["tiles"] for t in shared) == m["n_tiles"] - m["n_own_tiles"]
assert sum(s["tiles"] for s in m["sums"]) == m["n_own_tiles"]
assert len({t["offset"] for t in tiles}) == m["n_own_tiles"]
name = "model.layers.%d.feed_forward.experts.1.up_proj.weight"
assert tensors[name % 5]["tiles_of"] == name % 1
assert tensors["lm_head.weight"]["tiles_of"] == "lm_head.weight"
' <out 2>err
    ok=$?
    tap_ok $ok "inspect --json says which tensor shares whose tiles"
    [ $ok -eq 0 ] || tap_diag <err
    if command -v zstd >/dev/null; then
        for model in one.weir alias.weir; do
            tap_run "a reader of weir-file(5) takes $model" \
                python3 "$reader" "$model"
        done
    else
        tap_skip "there is no zstd"
    fi
else
    tap_skip "there is no python3"
fi

# What cannot be done.
weir synth jumbo -o no.weir
is 2 "a shape that there is none of"
says err 'mini, large and mini-slice'
printf '{"model_type": "llama"}' >llama.json
weir synth llama.json -o no.weir
is 3 "a config.json of another model"
says err 'model_type'
printf 'vocab_size: 3' >bad.json
weir synth bad.json -o no.weir
is 3 "no JSON"
weir synth . -o no.weir
is 1 "a folder"
weir synth same.json -o same.json
is 2 "the shape as the output"
weir synth same.json
is 2 "no output"
weir synth -o no.weir
is 2 "no shape"
weir synth mini large -o no.weir
is 2 "two shapes"
weir synth mini -o no.weir --quant none --dense-mlp bf16
is 2 "options that contradict each other"
weir synth same.json -o no.weir --seed -1
is 2 "a seed below 0"
sed 's/"num_hidden_layers": [0-9]*/"num_hidden_layers": 1024/;
    s/"hidden_size": [0-9]*/"hidden_size": 65536/;
    s/"num_experts": [0-9]*/"num_experts": 512/' same.json >vast.json
weir synth vast.json -o no.weir
is 1 "a shape that no drive holds"
says err 'at least [0-9.]* GB where the drive has'
[ -z "$(find . -name 'no.weir*')" ]
tap_ok $? "none of these left a file"

# A drive that fills up while it is written: here, a limit on the file.
status=0
(
    trap '' XFSZ
    ulimit -f 200
    exec "$WEIR" synth same.json -o full.weir
) >out 2>err || status=$?
[ "$status" -eq 1 ]
tap_ok $? "no room for the file"
says err 'full.weir.part'
[ ! -e full.weir ]
tap_ok $? "and none that looks whole"
weir synth same.json -o full.weir
cmp one.weir full.weir
tap_ok $? "with room again it becomes the same bytes"
tap_done
