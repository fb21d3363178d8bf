# SPDX-License-Identifier: Apache-2.0
# The form of answers: JSON of a schema and calls of tools, as clients of weir
# serve see them; tests/cli/serve_tools.py asks.
. "${srcdir:-.}/tests/tap.sh"
. "${srcdir:-.}/tests/cli/weir.sh"

command -v python3 >/dev/null || tap_skip_all "there is no python3"
demo=$(cd "${srcdir:-.}/demo/model" && pwd) || exit 99
row=$(cd "${srcdir:-.}/tests/chat" && pwd)/chatml.jinja
client=$(cd "${srcdir:-.}/tests/cli" && pwd)/serve_tools.py
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 99

"$WEIR" pack "$demo" -o demo.weir -q || exit 99
cp -r "$demo" row && cp "$row" row/chat_template.jinja || exit 99
"$WEIR" pack row -o row.weir -q || exit 99
weir serve demo.weir --host no.such.name.invalid
! grep -q 'without libevent' err || tap_skip_all "weir has no libevent"
PYTHONDONTWRITEBYTECODE=1 python3 "$client" demo.weir row.weir
