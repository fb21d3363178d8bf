# SPDX-License-Identifier: Apache-2.0
# weir bench under a budget: its keys agree with each other, the budget is
# kept, and a drive that is held back is slow.
. "${srcdir:-.}/tests/tap.sh"
. "${srcdir:-.}/tests/cli/weir.sh"

here=$(cd "${srcdir:-.}/tests/cli" && pwd) || exit 99
golden=$(cd "${srcdir:-.}/tests/golden" && pwd) || exit 99
work=$(mktemp -d "$PWD/bench_stream.XXXXXX") || exit 99
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 99
unset WEIR_CPU
# What is remembered of the drive decides how much memory its reads take.
XDG_CACHE_HOME=$work
export XDG_CACHE_HOME

python3 -c '' 2>err
has_python=$?

# agrees MODEL CONFIG PROMPT DECODE ROWS REPEATS: of the JSON in out
agrees() {
    if [ $has_python -ne 0 ]; then
        tap_skip "there is no python3 to count the cost of $1"
        return
    fi
    cp out result
    python3 "$here/bench.py" "$WEIR" "$1" "$2" "$3" "$4" 0 bf16 result "$6" \
        >rows 2>err && [ "$(cat rows)" = "$5" ]
    ok=$?
    tap_ok $ok "$1: $5, with counts and bounds as they must be"
    [ $ok -eq 0 ] || cat rows err | tap_diag
}

weir pack "$golden/moe-8l" -o small.weir -q
weir bench small.weir --stream --io pread -p 24 -n 3 -r 2 -t 1 --json
is 0 "--stream without a budget"
agrees small.weir "$golden/moe-8l/config.json" 24 3 "pp24-1 tg3-1" 2
says out '"io":"pread"'
weir bench small.weir --ram 1G -p 0 -n 2 -r 1 -t 1
is 0 "a table"
awk -F'|' '{ wide = wide " " NF } END { print wide }' out >widths
grep -q '^ 32 32 32' widths
tap_ok $? "its row is as wide as its head"
weir bench small.weir --ram 1G -p 4 -n 2 -r 1 -t 1 --device host --json
is 0 "a device without a clock"
says out '"bound_tps":0.0,.*"share":0.0,'
# Nor is what the CPU would do its plan.
says out '"plan_tps":0.0,"plan_by":"none"'

golden=$golden/moe-8l
pack_text
echo '{"const": true}' >true.json
weir bench text.weir --ram 1G -p 24 -n 4 -r 2 -t 1 --json-schema true.json \
    --json
is 0 "masks under a budget"
says out '"cache":"[a-z]*","grammar_ms":'
agrees text.weir "$golden/config.json" 24 4 "pp24-1 tg4-1" 2

session_mib() {
    weir bench text.weir --ram 1M -p 8 -n 2 "$@"
    sed -n 's/.*KV cache of the session \([0-9]*\)\.[0-9],.*/\1/p' err
}
plain=$(session_mib)
held=$(session_mib --json-schema true.json)
[ $((held - plain)) -ge 5 ]
tap_ok $? "which has room for the masks: $plain and $held MiB"

for wrong in '--ram 0' '--io mmap' '--cache raw' '--io-throttle 0' \
    '--io-throttle -1'; do
    # shellcheck disable=SC2086
    weir bench small.weir $wrong
    is 2 "$wrong"
done

skip_the_rest_if_sanitized

# 73 MB, so that something must go when 70 of a budget are for activations.
cat >shape.json <<'JSON'
{"model_type": "jamba", "vocab_size": 2048, "hidden_size": 512,
 "intermediate_size": 1024, "num_hidden_layers": 4, "num_attention_heads": 8,
 "num_key_value_heads": 2, "num_experts": 16, "num_experts_per_tok": 2,
 "expert_layer_offset": 1, "expert_layer_period": 2, "attn_layer_offset": 2,
 "attn_layer_period": 4, "mamba_d_state": 16, "mamba_d_conv": 4,
 "mamba_expand": 2, "mamba_dt_rank": 32, "rms_norm_eps": 1e-6,
 "hidden_act": "silu", "tie_word_embeddings": false, "eos_token_id": 2}
JSON
weir synth shape.json -o large.weir -q
weir bench large.weir --ram 1M -p 8
is 3 "a budget that is too small for anything"
weir bench large.weir --ram 111M --cache stored -p 8 -n 3 -r 2 -t 1 \
    --json
is 0 "under a budget"
agrees large.weir shape.json 8 3 "pp8-1 tg3-1" 2
says out '"ram_bytes":116391936,'
says out '"evictions":[1-9]'
weir bench large.weir --ram 111M -p 8 -n 3 -r 2 -t 1 --batch 4 --json
is 0 "four texts in step"
agrees large.weir shape.json 8 3 "pp8-1 tg3-1" 2
says out '"misses":[1-9]'
weir bench large.weir --ram 111M --io-throttle 0.05 -p 0 -n 3 -r 1 -t 1 -o csv
is 0 "a drive that is held back"
awk -F, 'NR == 1 { n = NF; good = $NF == "cache" }
    NR == 2 { good = good && NF == n + 2 }
    END { exit !(good && NR == 2) }' out
tap_ok $? "a line of names, and one of values whose model has two commas"
# Far from the limit, which is for whole seconds; further from a real drive.
awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i + 2 }
    NR == 2 { print $at["read_gbps_disk"], $at["drive_gbps"],
                    $at["drive_idle_gbps"]
        good = $at["bytes_read"] > 0 && $at["read_gbps_disk"] < 0.15 &&
               $at["drive_gbps"] < 0.3 && $at["drive_idle_gbps"] < 0.3 }
    END { exit !good }' out >speeds
ok=$?
tap_ok $ok "is slow, for those that measure it too"
[ $ok -eq 0 ] || tap_diag <speeds
tap_done
