# SPDX-License-Identifier: Apache-2.0
# make installcheck: the installed program, library, man pages and completions
# are what a user expects.  Runs in the build folder.
# Usage: installed.sh SRCDIR, with what make knows in the environment.  A
# folder of the installation lies below $DESTDIR, which may be empty.
srcdir=$(cd "$1" && pwd) || exit 99
. "$srcdir/tests/tap.sh"
. "$srcdir/tests/cli/weir.sh"

: "${DESTDIR=}"
export WEIR="$DESTDIR$bindir/weir"
man=$DESTDIR$mandir
built=$PWD
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 99
LD_LIBRARY_PATH=$DESTDIR$libdir${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
PKG_CONFIG_PATH=$DESTDIR$pkgconfigdir${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
export LD_LIBRARY_PATH PKG_CONFIG_PATH

# pkg-config as for a build against the tree below DESTDIR
flags_of_weir() {
    [ -z "$DESTDIR" ] || {
        PKG_CONFIG_SYSROOT_DIR=$DESTDIR
        PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1
        PKG_CONFIG_ALLOW_SYSTEM_LIBS=1
        export PKG_CONFIG_SYSROOT_DIR
        export PKG_CONFIG_ALLOW_SYSTEM_CFLAGS PKG_CONFIG_ALLOW_SYSTEM_LIBS
    }
    "$PKG_CONFIG" --cflags --libs "$@" weir
}

# build NAME FLAG...: the example of libweir(3).  The lists are of words.
# shellcheck disable=SC2086
build() {
    name=$1
    shift
    tap_run "the example of libweir(3) compiles as $name" \
        $CC $CFLAGS -Wall -Werror -o "$name" example.c "$@"
    "./$name" 2>err
    says err "(libweir $version)"
    "./$name" text.weir Hello >out
    cmp answer out && [ -s answer ]
    tap_ok $? "it goes on with a text as weir run does"
}

# The program
version=$("$PKG_CONFIG" --modversion weir)
modules=$("$PKG_CONFIG" --variable=moduledir weir)
weir --version
printf 'weir %s\nmodules %s\n' "$version" "$moduledir" | cmp - out
tap_ok $? "weir --version knows its version and the folder of modules"
[ -n "$modules" ] && [ "$modules" = "$moduledir" ]
tap_ok $? "pkg-config knows the same folder"

# pack_text() wants it.
# shellcheck disable=SC2034
golden=$srcdir/tests/golden/moe-8l
pack_text
weir verify text.weir
is 0 "weir pack and weir verify work"
weir run text.weir -p Hello -n 32
is 0 "weir run works"
mv out answer

# The library
"$AWK" -f "$srcdir/tests/example.awk" "$man/man3/libweir.3" >example.c
# Flags are words.
# shellcheck disable=SC2046
if [ "$enable_shared" = yes ]; then
    build shared $(flags_of_weir)
fi
# shellcheck disable=SC2046
if [ "$enable_static" = yes ]; then
    build static $(flags_of_weir --static |
        sed "s|-lweir|$DESTDIR$libdir/libweir.a|")
fi

# The man pages
# finds SECTION NAME FILE: man finds the page, which is the one in FILE.
finds() {
    [ "$(man -M "$man" "$1" "$2" 2>&1)" = "$(man -l "$3" 2>&1)" ]
}
if command -v man >/dev/null; then
    missing=
    for page in "$srcdir"/man/*.[1-8]; do
        name=$(basename "$page")
        section=${name##*.}
        finds "$section" "${name%.*}" "$page" || missing="$missing $name"
    done
    [ -z "$missing" ]
    tap_ok $? "man finds every page${missing:+, but not$missing}"
    missing=
    functions=$(sed -n 's/^ *\(weir_[a-z0-9_]*\);/\1/p' \
        "$srcdir/src/libweir.map")
    for name in $functions; do
        finds 3 "$name" "$srcdir/man/libweir.3" || missing="$missing $name"
    done
    [ -n "$functions" ] && [ -z "$missing" ]
    tap_ok $? "and libweir(3) by every function${missing:+, but not$missing}"
else
    tap_skip "there is no man"
fi
missing=$(
    sed -nE 's/^(\.|.* )Xr ((lib)?weir[a-z-]*) ([1-8]).*/man\4\/\2.\4/p' \
        "$man"/man1/weir*.1 "$man/man3/libweir.3" "$man"/man[5-8]/weir*.[5-8] |
        sort -u | while IFS= read -r page; do
            [ -f "$man/$page" ] || echo "$page"
        done
)
[ -z "$missing" ]
tap_ok $? "the pages that pages refer to are there"
[ -z "$missing" ] || printf 'there is no\n%s\n' "$missing" | tap_diag

# The completions; their folder is no when they were switched off
for file in $completions; do
    case $file in
    no/*) tap_skip "no ${file#no/} was asked for" ;;
    *)
        cmp "$DESTDIR$file" "$built/tools/completions/${file##*/}"
        tap_ok $? "completion $file"
        ;;
    esac
done
tap_done
