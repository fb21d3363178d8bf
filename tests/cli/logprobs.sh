# SPDX-License-Identifier: Apache-2.0
# Log-probabilities of weir serve and weir batch; tests/cli/logprobs.py asks.
. "${srcdir:-.}/tests/tap.sh"
. "${srcdir:-.}/tests/cli/weir.sh"

command -v python3 >/dev/null || tap_skip_all "there is no python3"
demo=$(cd "${srcdir:-.}/demo/model" && pwd) || exit 99
# pack_text packs it.
# shellcheck disable=SC2034
golden=$(cd "${srcdir:-.}/tests/golden/moe-8l" && pwd) || exit 99
client=$(cd "${srcdir:-.}/tests/cli" && pwd)/logprobs.py
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 99

"$WEIR" pack "$demo" -o demo.weir -q || exit 99
pack_text
weir serve demo.weir --host no.such.name.invalid
! grep -q 'without libevent' err || tap_skip_all "weir has no libevent"
PYTHONDONTWRITEBYTECODE=1 python3 "$client" demo.weir text.weir
