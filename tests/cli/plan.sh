# SPDX-License-Identifier: Apache-2.0
# weir plan: what it says of small models, without reading their weights, and
# its mistakes.  tests/unit/plan.c has the numbers.
. "${srcdir:-.}/tests/tap.sh"
. "${srcdir:-.}/tests/cli/weir.sh"

golden=$(cd "${srcdir:-.}/tests/golden" && pwd) || exit 99
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 99
unset WEIR_CPU

# plan ARGUMENT...: of the model on a machine that is the same everywhere
plan() {
    weir plan moe.weir -t 2 --dram-gbps 40 --gflops 500 "$@"
}

# value KEY: the first number behind a key of the JSON in out
value() {
    sed "s/.*\"$1\":\\([-0-9.e]*\\).*/\\1/" out
}

# What is remembered of drives stays here.
XDG_CACHE_HOME=$PWD/cache
export XDG_CACHE_HOME
weir pack "$golden/moe-8l" -o moe.weir --codec raw -q
plan
is 0 "a model that fits"
says out 'mapped'
says out '^decoding .* tokens/s, limited by '
says out '^prompt .* tokens/s, limited by .*; .* when all overlaps'
for class in embedding mamba attention mlp router experts head; do
    says out "^$class  *[1-9][0-9]*: "
done
[ ! -s err ]
tap_ok $? "and nothing is said beside it"

# Layers that share their tiles are planned as if each had its own: 400 MB.
cat >shape.json <<'END'
{"model_type": "jamba", "hidden_size": 256, "vocab_size": 1024,
 "intermediate_size": 1024, "num_hidden_layers": 64, "num_attention_heads": 4,
 "num_key_value_heads": 2, "num_experts": 16, "num_experts_per_tok": 2}
END
weir synth shape.json -o alias.weir --alias -q
weir plan alias.weir --dram-gbps 40 --gflops 500
is 0 "a model whose layers share tiles"
says out '^aliased '

# shared ARGUMENT...: of that model
shared() {
    weir plan alias.weir -t 2 --dram-gbps 40 --gflops 500 "$@"
}

# What the least is depends on chunks and the like: the message has it.
shared --ram 1M --disk-gbps 2
is 3 "a budget that is too small"
says err 'the least is [1-9][0-9]* MiB'
[ ! -s out ]
tap_ok $? "and no plan"
least=$(sed 's/.*the least is \([0-9]*\) MiB.*/\1/' err)
shared --ram "${least}M" --disk-gbps 2
is 0 "the least that it names"
says out 'drive 2 GB/s'
says out '^experts .* 512:  *0\.403 '
shared --ram "$((least - 1))M" --disk-gbps 2
is 3 "a mebibyte less"
shared --ram "${least}M" --disk-gbps 2 --batch 99
is 3 "the same with 99 texts"
shared --ram "${least}M" --disk-gbps 2 --ctx 1000000
is 3 "or a long context"
says err 'KV cache'
shared --ram "${least}M"
is 2 "a file that is too small to measure its drive with"
says err 'give it to weir plan with --disk-gbps'
shared --ram 300M --disk-gbps 2 --json
is 0 "between the least and all of it"
says out '"limit":"disk"'
[ "$(value sum)" -le $((300 << 20)) ] && [ "$(value sum)" -gt $((290 << 20)) ]
tap_ok $? "the budget is used: $(value sum)"

plan --ram 1T --json
is 0 "more than enough, as JSON"
[ "$(wc -l <out)" -eq 1 ]
tap_ok $? "one line"
says out '"mapped":false'
says out '"hit_rate":1\.0'
says out '"limit":"'
says out '"tps":[0-9.]*,"overlap_tps":[0-9.]*,"serial_tps":'
[ "$(value disk_bytes)" = 0.0 ]
tap_ok $? "nothing comes from the drive"
plan --ram 1TB --kv f32 --json
big=$(value kv)
plan --ram 1TB --kv bf16 --json
[ "$big" -eq $((2 * $(value kv))) ]
tap_ok $? "a cache of f32 takes twice the memory of bf16: $big"
plan --ram 1T --ctx 8192 --json
[ "$big" -eq "$(value kv)" ]
tap_ok $? "as one of bf16 with twice the context"
plan --ram 1T -p 8192 --ctx 9000 --json
says out '"n_prompt":8192'
plan --ram 1T -p 8192 --json
says out '"n_ctx":8192'
for size in 17179869184 16777216K 16384M 16G; do
    plan --ram $size --json
    says out '"budget":{"ram_bytes":17179869184,'
done
for size in 16000000KB 16000MB 16GB 0.016TB; do
    plan --ram $size --json
    says out '"budget":{"ram_bytes":16000000000,'
done

weir plan moe.weir -t 1 --gflops 500 --json
is 0 "memory that is measured"
! grep -q '"dram_gbps":0\.0' out
tap_ok $? "has a speed"
weir plan moe.weir -t 1 --dram-gbps 40 --json
is 0 "arithmetic that is measured"
! grep -q '"gflops":0\.0' out
tap_ok $? "has one too"
! grep -q -e '"planes_gbps":5\.0,' -e '"zstd_gbps":1\.8[,0]' out
tap_ok $? "decoding is measured besides"
plan --json
says out '"planes_gbps":5.0,"zstd_gbps":1.8'

# ---- a GPU ----

# card SIZE ARGUMENT...: with so much memory, the same everywhere
card() {
    size=$1
    shift
    shared --hbm-gbps 3000 --pcie-gbps 50 --gpu-gflops 500000 \
        --vram "$size" "$@"
}

# tps: of decoding, rounded down, and of the prompt
tps() {
    sed 's/.*"decode":{"tps":\([0-9]*\).*"prompt":{"tps":\([0-9]*\).*/\1 \2/' \
        out
}

shared --json
cpu=$(tps)
card 4G
is 0 "a GPU that has room for all"
says out '^GPU  *5e+05 GFLOP/s, HBM 3000 GB/s, PCIe 50 GB/s, '
says out '^experts  *-  *-  *-  *512:  *0\.403  '
says out '^decoding .*, limited by hbm; '
says out '^prompt .*, limited by gpu; '
card 4G --json
[ "$(value kv)$(value state)" = 00 ]
tap_ok $? "which has the KV cache and states, too"
last="0 0"
for size in 700M 800M 900M 1G 1200M 4G; do
    card $size --json
    now=$(tps)
    [ "${now% *}" -ge "${last% *}" ] && [ "${now#* }" -ge "${last#* }" ]
    tap_ok $? "with more memory nothing is slower: $size, $now tokens/s"
    last=$now
done
[ "${last% *}" -gt $((10 * ${cpu% *})) ]
tap_ok $? "than the CPU alone, with $cpu, by far"
card 900M --pcie-gbps 5 --json
auto=$(tps)
card 900M --pcie-gbps 5 --place card --json
says out '"limit":"pcie"'
card=$(tps)
[ "${card% *}" -lt "${auto% *}" ]
tap_ok $? "copying over a slow way what the CPU could compute: $card, not $auto"
card 500M
is 3 "no room for what it works in"
says err '--vram 0.52 GB has no room'

# The index alone is read: tiles may be damaged, which nobody sees.
size=$(wc -c <moe.weir)
cp moe.weir bad.weir
printf 'damaged' | dd of=bad.weir bs=1 seek=$((size - 4096)) conv=notrunc 2>err
weir plan bad.weir --dram-gbps 40 --gflops 500
is 0 "no tile is read"

# ---- mistakes ----

wrong() { # TEXT PATTERN ARGUMENT...
    text=$1
    pattern=$2
    shift 2
    plan "$@"
    is 2 "$text"
    says err "$pattern"
    [ ! -s out ]
    tap_ok $? "and prints nothing"
}
weir plan --ram 1G
is 2 "without a model"
says err 'no model given'
for size in 0 -1G 1X 1GiB 1g 16GBB G . 1.2.3G 1e3 0x10 inf '' ' 1G' 9999999T; do
    wrong "a budget of '$size'" "16 \\* 10^9, not '$size'" --ram "$size"
done
for rate in 0 -1 fast 1e3 nan 1GB . ''; do
    wrong "a drive of '$rate'" "above 0, not '$rate'" --disk-gbps "$rate"
done
wrong "memory of no speed" "--dram-gbps must be a number" --dram-gbps 0
wrong "no arithmetic" "--gflops must be a number" --gflops x
wrong "no room" "from 1 to" --ctx 0
wrong "no prompt" "from 1 to" -p 0
wrong "no text" "from 1 to" --batch 0
wrong "too many texts" "from 1 to" --batch 65537
wrong "no threads" "from 1 to" -t 0
wrong "a cache of int8" "one of f32|bf16" --kv int8
wrong "a prompt longer than the context" "no room" --ctx 100 -p 101
wrong "two models" "one model at a time" alias.weir
weir plan "$golden/moe-8l/config.json"
is 3 "a model that is none"
weir plan missing.weir
is 1 "a model that is not there"
WEIR_CPU=sse weir plan moe.weir
is 2 "a level that does not exist"

tap_done
