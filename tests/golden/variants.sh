# SPDX-License-Identifier: Apache-2.0
# The same weights as other software stores them give the same logits; a
# checkpoint that config.json does not describe is refused by name.
. "${srcdir:-.}/tests/tap.sh"

command -v python3 >/dev/null || tap_skip_all "there is no python3"
cases=$(cd "${srcdir:-.}/tests/golden" && pwd) || exit 99
work=$(mktemp -d "$PWD/variants.XXXXXX") || exit 99
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 99
echo "1 17 300 42 5 99 7 250 12" >ids

vary() { # CASE VARIANT
    rm -rf folder
    python3 -B "$cases/variants.py" "$cases/$1" folder "$2"
}

logits() { # FOLDER OUT PACK-OPTION...
    from=$1 to=$2
    shift 2
    rm -f m.weir
    "$WEIR" pack -q "$from" -o m.weir "$@" 2>err &&
        "$WEIR" logits m.weir --ids ids -o "$to"
}

same() { # CASE VARIANT PACK-OPTION...
    case=$1 variant=$2
    shift 2
    vary "$case" "$variant" && logits "$cases/$case" one "$@" &&
        logits folder two "$@" && cmp one two
}

for case in moe-8l odd; do
    tap_run "$case: f32, --quant none" same $case f32 --quant none
    tap_run "$case: f32, experts int8" same $case f32
    tap_run "$case: f32, zstd" same $case f32 --codec zstd
    tap_run "$case: fused experts" same $case fused
    tap_run "$case: fused experts, --quant none" same $case fused --quant none
done
tap_run "dense-tied: a copy of the tied matrix" same dense-tied tied-head

# f16 rounds the smallest bf16 weights, so only near.
near() {
    python3 -B - one two <<'EOF'
import math, struct, sys
def logits(path):
    data = open(path, "rb").read()
    n = 8 + struct.unpack("<Q", data[:8])[0]
    return struct.unpack(f"<{(len(data) - n) // 4}f", data[n:])
a, b = map(logits, sys.argv[1:])
far = math.dist(a, b) / math.dist(a, [0] * len(a))
sys.exit(not far < 1e-3)
EOF
}
for options in "--quant none" "" "--codec zstd"; do
    # shellcheck disable=SC2086
    vary moe-8l f16 && logits "$cases/moe-8l" one $options &&
        logits folder two $options && near
    tap_ok $? "moe-8l: f16 $options"
done

refused() { # VARIANT NAME
    vary moe-8l "$1"
    "$WEIR" pack -q folder -o bad.weir 2>err
    status=$?
    [ $status -eq 3 ] && grep -q "$2" err &&
        [ "$(grep -vc warning err)" -eq 1 ] && [ ! -e bad.weir ]
    tap_ok $? "refused, naming $2"
    tap_diag <err
}
refused extra model.layers.0.surprise.weight
refused missing model.layers.0.mamba.D
refused i64 I64
tap_done
