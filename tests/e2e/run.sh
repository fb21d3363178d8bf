# SPDX-License-Identifier: Apache-2.0
# make check-e2e: clients that others wrote, and the page in a browser, against
# weir serve.  Runs in the build folder, where the clients are installed, in the
# versions that package-lock.json says.
# Usage: run.sh SRCDIR, with WEIR in the environment.
srcdir=$1
. "$srcdir/tests/tap.sh"
. "$srcdir/tests/cli/weir.sh"

command -v node >/dev/null || tap_skip_all "there is no node"
command -v npm >/dev/null || tap_skip_all "there is no npm"
"$WEIR" serve x --host '' 2>&1 | grep -q 'without libevent' &&
    tap_skip_all "weir has no libevent"
major=$(node -p 'process.versions.node.split(".")[0]')
[ "$major" -ge 20 ] || tap_skip_all "node is version $major, not 20 or newer"

clients=$(pwd)/tests/e2e/clients
here=$srcdir/tests/e2e
mkdir -p "$clients"
cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$clients"
cp "$here"/*.mjs "$clients"
chmod -R u+w "$clients"
if ! cmp -s "$here/package-lock.json" "$clients/installed.json"; then
    tap_run "npm ci" npm --prefix "$clients" ci --no-progress
    [ "$tap_failed" -eq 0 ] || tap_done
    cp "$here/package-lock.json" "$clients/installed.json"
fi

work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT
demo=$(cd "$srcdir/demo/model" && pwd) || exit 99
# pack_text packs it.
# shellcheck disable=SC2034
golden=$(cd "$srcdir/tests/golden/moe-8l" && pwd) || exit 99
cd "$work" || exit 99
"$WEIR" pack "$demo" -o demo.weir -q || exit 99
pack_text
# Its numbers go on behind those from here.
timeout 600 node "$clients/all.mjs" "$tap_n" openai ai langchain forms page
