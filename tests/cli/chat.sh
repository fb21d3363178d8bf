# SPDX-License-Identifier: Apache-2.0
# weir run on a terminal: tests/cli/chat.py types.
. "${srcdir:-.}/tests/tap.sh"
. "${srcdir:-.}/tests/cli/weir.sh"

command -v python3 >/dev/null || tap_skip_all "there is no python3"
demo=$(cd "${srcdir:-.}/demo/model" && pwd) || exit 99
# pack_text packs it.
# shellcheck disable=SC2034
golden=$(cd "${srcdir:-.}/tests/golden/moe-8l" && pwd) || exit 99
typist=$(cd "${srcdir:-.}/tests/cli" && pwd)/chat.py
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 99

"$WEIR" pack "$demo" -o demo.weir -q || exit 99
pack_text
# The name of nm may come with options.
# shellcheck disable=SC2086
if ${NM:-nm} "$WEIR" 2>/dev/null | grep -q el_gets; then
    lines=edit
else
    lines=plain
fi
PYTHONDONTWRITEBYTECODE=1 python3 "$typist" demo.weir text.weir $lines
