# SPDX-License-Identifier: Apache-2.0
# make check-dist: the tarball holds every source and is the same twice, the
# second time after every source was touched.  Runs in the build folder.
# Usage: dist.sh SRCDIR NAME-VERSION
srcdir=$1
name=$2
. "$srcdir/tests/tap.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset SOURCE_DATE_EPOCH

# Makes the tarball again from the first one's content, with other times and
# for a user whose files nobody else may read; root can give it another owner.
# shellcheck disable=SC2317
dist_again() {
    umask 077
    mkdir "$work/again" && tar -xJf "$work/first.tar.xz" -C "$work/again" ||
        return
    chmod -R go= "$work/again"
    chown -R 1234:1234 "$work/again" 2>/dev/null || :
    find "$work/again" -exec touch -d "@$(date +%s)" {} +
    mkdir "$work/again/build" && cd "$work/again/build" || return
    "../$name/configure" -q && "$MAKE" dist
}

tap_run "make dist works" "$MAKE" dist
[ "$tap_failed" -eq 0 ] || tap_done
cp "$name.tar.xz" "$work/first.tar.xz"
tar -tJf "$name.tar.xz" | sed "s|^$name/||" | sort >"$work/list"
tap_run "make dist works from the tarball, all its files touched" dist_again
cmp "$work/first.tar.xz" "$work/again/build/$name.tar.xz" | tap_diag
cmp -s "$work/first.tar.xz" "$work/again/build/$name.tar.xz"
tap_ok $? "the two tarballs have the same bytes"

if [ -e "$srcdir/.git" ]; then
    missing=$(git -C "$srcdir" ls-files | grep -v '\.gitignore$' | sort |
        comm -23 - "$work/list")
    [ -z "$missing" ]
    tap_ok $? "the tarball holds every file that git tracks"
    [ -z "$missing" ] || printf '%s\n' "$missing" | tap_diag
else
    tap_skip "the tracked files are known in a git checkout only"
fi
odd=$(tar -tvJf "$name.tar.xz" |
    grep -vE '^(-rw-r--r--|[-d]rwxr-xr-x) 0/0 ')
[ -z "$odd" ]
tap_ok $? "owners and modes in the tarball are plain"
[ -z "$odd" ] || printf '%s\n' "$odd" | tap_diag
tap_done
