# SPDX-License-Identifier: Apache-2.0
# weir synth from outside: which bytes it writes, what it refuses.
. "${srcdir:-.}/tests/tap.sh"
. "${srcdir:-.}/tests/cli/weir.sh"

config=$(cd "${srcdir:-.}/tests/golden/moe-8l" && pwd)/config.json || exit 99
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
says out '"synth":{"shape":"config.json","seed":0}'

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
