# SPDX-License-Identifier: Apache-2.0
# The page of the file says everything: a reader that was written from it alone
# finds in a packed file the bits of the checkpoint.
. "${srcdir:-.}/tests/tap.sh"

for tool in python3 zstd; do
    command -v "$tool" >/dev/null || tap_skip_all "there is no $tool"
done
cases=$(cd "${srcdir:-.}/tests/golden" && pwd) || exit 99
work=$(mktemp -d "$PWD/second_reader.XXXXXX") || exit 99
trap 'rm -rf "$work"' EXIT

read_again() { # CASE
    python3 -B "$cases/second_reader.py" "$work/m.weir" "$cases/$1"
}

packs() { # CASE PACK-OPTION...
    case=$1
    shift
    "$WEIR" pack --quiet "$cases/$case" -o "$work/m.weir" "$@" &&
        read_again "$case"
    status=$?
    rm -f "$work/m.weir"
    return $status
}

for case in moe-8l dense-tied odd; do
    tap_run "$case" packs "$case"
    tap_run "$case, bf16" packs "$case" --quant none
    tap_run "$case, bf16, zstd" packs "$case" --quant none --codec zstd
    tap_run "$case, experts int8, raw" \
        packs "$case" --dense-mlp bf16 --codec raw
done

# Over three parts, with room for runs of several tiles in each.
mkdir "$work/a" "$work/b"
export WEIR_STRIPE_BYTES=32768
for case in moe-8l odd; do
    tap_run "$case, in three parts" \
        packs "$case" --stripe "$work,$work/a,$work/b"
done
unset WEIR_STRIPE_BYTES

# It does find what is wrong: another byte in the last tile, and a checkpoint
# that is not the one packed.
"$WEIR" pack --quiet "$cases/odd" -o "$work/m.weir" 2>"$work/err" ||
    tap_diag <"$work/err"
said=$(read_again dense-tied)
[ $? -eq 1 ]
tap_ok $? "another checkpoint: $said"
printf weir | dd of="$work/m.weir" bs=1 conv=notrunc 2>"$work/err" \
    seek=$(($(wc -c <"$work/m.weir") - 4096))
said=$(read_again odd)
[ $? -eq 1 ]
tap_ok $? "another byte: ${said%%(*}"
tap_done
