# SPDX-License-Identifier: Apache-2.0
# --scratch: a prompt that has no room in its budget takes one pass, moves what
# the plan says, and gives the same text; tests/unit/one_pass.c has the bytes.
. "${srcdir:-.}/tests/tap.sh"
. "${srcdir:-.}/tests/cli/weir.sh"

work=$(mktemp -d "$PWD/scratch.XXXXXX") || exit 99
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 99
exec </dev/null
XDG_CACHE_HOME=$PWD/cache
export XDG_CACHE_HOME

# value FILE KEY: the first number behind a key of JSON
value() {
    sed "s/.*\"$2\":\\([-0-9.e]*\\).*/\\1/" "$1"
}

skip_the_rest_if_sanitized

# Wide, so that few tokens have room, and with little to compute.
cat >shape.json <<'JSON'
{"model_type": "jamba", "vocab_size": 512, "hidden_size": 1024,
 "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8,
 "num_key_value_heads": 2, "num_experts": 16, "num_experts_per_tok": 2,
 "expert_layer_offset": 1, "expert_layer_period": 2, "attn_layer_offset": 2,
 "attn_layer_period": 4, "mamba_d_state": 4, "mamba_d_conv": 4,
 "mamba_expand": 1, "mamba_dt_rank": 16, "rms_norm_eps": 1e-6,
 "hidden_act": "silu", "tie_word_embeddings": false, "eos_token_id": 2}
JSON
"$WEIR" synth shape.json -o model.weir -q 2>err || tap_diag <err
i=0
while [ $i -lt 2048 ]; do
    echo $((i * 37 % 500 + 3))
    i=$((i + 1))
done >ids

weir logits model.weir --ids ids -t 2 --last -o wanted
is 0 "in memory"
mkdir here
weir logits model.weir --ids ids -t 2 --last --ram 120M --scratch here -o made
is 0 "with a scratch file"
cmp -s made wanted
tap_ok $? "the same logits"
says err 'a pass over 2047 tokens writes [0-9.]* GB to the scratch file'
[ "$(wc -l <err)" -eq 1 ]
tap_ok $? "which is said once"
[ -z "$(ls here)" ]
tap_ok $? "and nothing is left of it"

weir run model.weir --ids ids -n 1 -t 2 --ram 120M --scratch here/new --json
is 0 "run, with a new name"
says err 'warning: a pass over 2048 tokens writes'
cp out ran
[ -z "$(ls here)" ]
tap_ok $? "of which nothing is left either"
weir plan model.weir -p 2048 -t 2 --ram 150M --scratch here \
    --disk-gbps 1 --dram-gbps 40 --gflops 500 --json
is 0 "plan"
for key in written read; do
    wrote=$(value ran scratch_${key}_bytes)
    planned=$(sed 's/.*"scratch"://' out >part; value part ${key}_bytes)
    [ "$wrote" -gt 0 ] && [ "$wrote" = "$planned" ]
    tap_ok $? "bytes $key: $wrote, as planned: $planned"
done
says out '"order":"layers","hidden":"scratch","hidden_type":"f32"'
weir plan model.weir -p 2048 -t 2 --ram 150M --disk-gbps 1 --dram-gbps 40 \
    --gflops 500
is 0 "a plan without it"
says out 'in [2-9] passes'
says out 'span by span of [0-9]* tokens'
weir plan model.weir -p 200000 -t 2 --ram 370M --scratch here --disk-gbps 1 \
    --dram-gbps 40 --gflops 500
is 0 "a plan for a long prompt"
says out '^scratch .* GB are written'
says out 'warning: what is written wears the drive: [0-9.e+]* such prompts'
weir plan model.weir -p 2000000000 -t 2 --ram 400M --scratch here \
    --disk-gbps 1 --dram-gbps 40 --gflops 500
is 3 "a prompt whose KV cache does not fit"
says err 'KV cache'

weir eval model.weir -f ids --ram 120M --scratch nowhere/at/all
is 3 "a model without a tokenizer"
weir run model.weir --ids ids -n 1 --ram 120M --scratch nowhere/at/all
is 1 "a place that is not there"
says err 'nowhere/at/all: cannot make a scratch file: No such file'
echo mine >taken
weir run model.weir --ids ids -n 1 --ram 120M --scratch taken
is 1 "a file that is there"
says err 'taken: exists already'
grep -q mine taken
tap_ok $? "stays as it is"
for options in "--scratch here" "--scratch here --io mmap"; do
    # shellcheck disable=SC2086 # several words
    weir run model.weir --ids ids -n 1 $options
    is 2 "$options"
    says err 'scratch is for what a budget has no room for'
done
tap_done
