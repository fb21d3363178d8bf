# SPDX-License-Identifier: Apache-2.0
# The levels of the CPU: what is chosen, and that it changes last bits only.
. "${srcdir:-.}/tests/tap.sh"
. "${srcdir:-.}/tests/cli/weir.sh"

golden=$(cd "${srcdir:-.}/tests/golden/moe-8l" && pwd) || exit 99
demo=$(cd "${srcdir:-.}/demo" && pwd) || exit 99
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 99
unset WEIR_CPU

weir inspect --cpu
is 0 "inspect --cpu"
detected=$(awk '$1 == "detected" { print $2 }' out)
compiled=$(sed -n 's/^compiled *//p' out)
chosen=$(awk '$1 == "chosen" { print $2 }' out)
case " $compiled " in
*" $chosen "*) true ;;
*) false ;;
esac
tap_ok $? "detected $detected, chosen $chosen, one of those compiled"
for operation in matmul scan attention argmax; do
    says out "^$operation  *[a-z]"
done

for level in ref avx2 avx512 avx512_bf16 amx; do
    WEIR_CPU=$level weir inspect --cpu
    is 0 "WEIR_CPU=$level"
    got=$(awk '$1 == "chosen" { print $2 }' out)
    case " $compiled " in
    *" $level "*) [ "$got" = "$level" ] || [ "$got" = "$chosen" ] ;;
    *) [ "$got" != "$level" ] ;;
    esac
    tap_ok $? "chooses it or what there is: $got"
done
WEIR_CPU=ref weir inspect --cpu
! sed '1,/^chosen/d' out | grep -v ' ref$' | grep -q .
tap_ok $? "at ref, the reference serves every operation"
WEIR_CPU=ref weir inspect --cpu --json
says out '"chosen":"ref","operations":{"matmul":"ref",'

weir pack "$golden" -o m.weir -q
WEIR_CPU=sse weir inspect --cpu
is 2 "a level that does not exist"
says err 'WEIR_CPU=sse: no such level'
echo 1 2 3 >ids
WEIR_CPU=sse weir run m.weir --ids ids -n 2
is 2 "the same when a model is opened"
weir inspect m.weir --cpu
is 2 "a model and --cpu"
weir inspect --cpu --tiles
is 2 "tiles of a CPU"

# The bundled model foretells as well at each level.
weir pack "$demo/model" -o demo.weir -q
awk 'NF == 0 { exit } { print }' "$demo/heldout.txt" | head -n 6 >text
WEIR_CPU=ref weir eval demo.weir -f text
want=$(awk '$1 == "ppl" { print $2 }' out)
for level in $compiled; do
    WEIR_CPU=$level weir eval demo.weir -f text
    got=$(awk '$1 == "ppl" { print $2 }' out)
    awk -v a="$got" -v b="$want" 'BEGIN {
        exit !(a > 0 && a - b < b / 1000 && b - a < b / 1000)
    }'
    tap_ok $? "$level: perplexity $got, of the reference $want"
done

tap_done
