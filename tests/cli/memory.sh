# SPDX-License-Identifier: Apache-2.0
# --ram and --io: the same logits under any budget, and the budget kept.
. "${srcdir:-.}/tests/tap.sh"
. "${srcdir:-.}/tests/cli/weir.sh"

work=$(mktemp -d "$PWD/memory.XXXXXX") || exit 99
trap 'rm -rf "$work"; [ -z "$group" ] || rmdir "$group"' EXIT
group=
cd "$work" || exit 99
exec </dev/null

skip_the_rest_if_sanitized

# 127 MB, so that something must go when 70 of a budget are for activations.
cat >shape.json <<'JSON'
{"model_type": "jamba", "vocab_size": 2048, "hidden_size": 512,
 "intermediate_size": 1024, "num_hidden_layers": 8, "num_attention_heads": 8,
 "num_key_value_heads": 2, "num_experts": 16, "num_experts_per_tok": 2,
 "expert_layer_offset": 1, "expert_layer_period": 2, "attn_layer_offset": 2,
 "attn_layer_period": 4, "mamba_d_state": 16, "mamba_d_conv": 4,
 "mamba_expand": 2, "mamba_dt_rank": 32, "rms_norm_eps": 1e-6,
 "hidden_act": "silu", "tie_word_embeddings": false, "eos_token_id": 2}
JSON
"$WEIR" synth shape.json -o model.weir -q 2>err || tap_diag <err
echo '1 75 104 111 111 114 2000 7 99 512' >ids

weir logits model.weir --ids ids -o wanted
is 0 "mapped"
for budget in 130M 160MB 1G; do
    weir logits model.weir --ids ids -t 2 --ram $budget -o made
    is 0 "--ram $budget"
    cmp -s made wanted
    tap_ok $? "gives the same logits"
done
for io in pread mmap; do
    weir logits model.weir --ids ids --io $io -o made
    is 0 "--io $io"
    cmp -s made wanted
    tap_ok $? "gives the same logits"
done
weir logits model.weir --ids ids --ram 130M --io pread --chunk 3 -t 3 -o made
cmp -s made wanted
tap_ok $? "as do threads, both to read and to compute"

weir run model.weir --ids ids -n 8 -t 2 --temp 0 --ram 130M --stats
is 0 "run"
says err '^weights .* pinned'
says err '^read .* GB/s'
says err '^experts .* [1-9][0-9]* misses, [1-9][0-9]* evictions'
says err '^guesses  *[1-9][0-9]*, [0-9]* right, [0-9.]* MiB for nothing'
says err '^waiting .*; the drive idle for [0-9.]* s'
says err '^plan  *none: .*give it to weir plan with --disk-gbps$'
mv out wanted_text
weir run model.weir --ids ids -n 8 --temp 0 --json
says out '"weights":{"io":"mmap"'
says out '"plan":null'
weir run model.weir --ids ids -n 8 --temp 0 --json --stats
is 0 "a mapped run beside its plan"
says err '^plan      prompt [0-9.]* tok/s by [a-z]*, [0-9.]* % of it reached$'
says err '^plan      answer [0-9.]* tok/s by [a-z]*, [0-9.]* % of it reached$'
if command -v python3 >/dev/null; then
    python3 - >share <<'PYTHON'
import json, math
run = json.load(open("out"))
for part, speed in ("prompt", "prompt"), ("answer", "generate"):
    plan = run["plan"][part]
    reached = run[speed + "_tok_per_s"] / plan["tps"]
    print(plan["tps"] > 0, math.isclose(plan["share"], reached))
PYTHON
    [ "$(cat share)" = "True True
True True" ]
    tap_ok $? "and the shares are those of its speeds"
else
    tap_skip "there is no python3 to read JSON"
fi

weir run model.weir --ids ids -n 4 --ram 1M
is 3 "a budget that is too small for anything"
says err 'a budget of 1.0 MiB of RAM is too small: .* KV cache'
weir run model.weir --ids ids -n 2000000000 --ram 1G
is 3 "a context that is too long for it"
for size in 0 1X 1.5.5G -1 G 1e9 9999999T ''; do
    weir run model.weir --ids ids -n 4 --ram "$size"
    is 2 "--ram '$size'"
done
weir run model.weir --ids ids -n 4 --ram 1G --io mmap
is 2 "a budget for a map"
for cache in stored unpacked auto; do
    weir logits model.weir --ids ids -t 2 --ram 160M --cache $cache -o made
    is 0 "--cache $cache"
    cmp -s made wanted
    tap_ok $? "gives the same logits"
    weir plan model.weir --ram 160M --cache $cache --disk-gbps 1 --json
    is 0 "and a plan"
    [ $cache = auto ] || says out "\"cache\":\"$cache\""
done
weir run model.weir --ids ids -n 4 --ram 160M --cache unpacked --stats
says err '^weights .* pinned unpacked,'
weir run model.weir --ids ids -n 4 --ram 160M --cache stored --json
says out '"cache":"stored"'
weir run model.weir --ids ids -n 4 --ram 160M --cache packed
is 2 "--cache packed"
weir run model.weir --ids ids -n 4 --cache stored
is 2 "a cache for a map"
says err '^weir run: --cache is for weights that are read'
weir eval model.weir -f ids --ram 1M
is 3 "eval takes a budget too"

# The most that a run ever had in memory.
if command -v python3 >/dev/null; then
    python3 - "$WEIR" >peak <<'PYTHON'
import resource, subprocess, sys
subprocess.run([sys.argv[1], "run", "model.weir", "--ids", "ids", "-n", "8",
                "-t", "2", "--temp", "0", "--ram", "130M"],
               stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
PYTHON
    tap_diag <peak
    [ "$(cat peak)" -le 133120 ]
    tap_ok $? "the budget is kept"
else
    tap_skip "there is no python3 to measure memory with"
fi

# confined COMMAND...: runs it in a group of 130 MiB; 77 where there is none.
confined() {
    if [ -w /sys/fs/cgroup/cgroup.subtree_control ]; then
        root=/sys/fs/cgroup
        limit=memory.max
    else
        root=/sys/fs/cgroup/memory
        limit=memory.limit_in_bytes
    fi
    mkdir "$root/weir-test.$$" 2>/dev/null || return 77
    group=$root/weir-test.$$
    echo 130M 2>/dev/null >"$group/$limit" || return 77
    sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "$@"
}
confined true 2>/dev/null
if [ $? -eq 77 ]; then
    tap_skip "no memory cgroup can be made here"
else
    rmdir "$group"
    confined "$WEIR" run model.weir --ids ids -n 8 -t 2 --temp 0 --ram 130M \
        >out 2>err
    tap_ok $? "a run in a memory cgroup of the size of its budget"
    cmp -s out wanted_text
    tap_ok $? "goes on in the same way"
fi
tap_done
