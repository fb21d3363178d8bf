# SPDX-License-Identifier: Apache-2.0
# make installcheck: a program built against the installed library runs.
# Usage: installed.sh SRCDIR, with what make knows in the environment.
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

PKG_CONFIG_PATH=$pkgconfigdir${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
export PKG_CONFIG_PATH
flags=$("$PKG_CONFIG" --cflags --libs weir)
# The flags are words.
# shellcheck disable=SC2086
$CC $CFLAGS -o "$work/installed" "$1/tests/installed.c" $flags
said=$(LD_LIBRARY_PATH=$libdir "$work/installed")
version=$("$PKG_CONFIG" --modversion weir)
if [ "$said" != "libweir $version" ]; then
    echo "the installed library says '$said', not 'libweir $version'" >&2
    exit 1
fi
echo "a program built against the installed $said runs"
"$bindir/weir" --version
