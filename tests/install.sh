# SPDX-License-Identifier: Apache-2.0
# make check-install: make install DESTDIR=..., installcheck, uninstall.  Runs
# in the build folder.
# Usage: install.sh SRCDIR, with MAKE and prefix in the environment.
srcdir=$1
. "$srcdir/tests/tap.sh"

work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT
root=$work/root

# The files and links below root, with what tells one from another.
tree() {
    find "$root" ! -type d -exec ls -ld {} \; | sort
}

# The results of another test become ours.
pass_on() { # FILE
    while IFS= read -r line; do
        case $line in
        'ok '*'# SKIP '*) tap_skip "${line#*# SKIP }" ;;
        'ok '*) tap_ok 0 "${line#* - }" ;;
        'not ok '*) tap_ok 1 "${line#* - }" ;;
        '#'*) echo "$line" ;;
        esac
    done <"$1"
}

# Somebody else's files in the same folders
for folder in bin share/man/man1 share/man/man3; do
    mkdir -p "$root$prefix/$folder"
    echo theirs >"$root$prefix/$folder/other.1"
done
tree >"$work/before"
tap_run "make install" "$MAKE" install DESTDIR="$root"
outside=$(find "$root" ! -type d ! -path "$root$prefix/*")
[ -z "$outside" ]
tap_ok $? "what it installs lies below the prefix"
[ -z "$outside" ] || printf '%s\n' "$outside" | tap_diag
"$MAKE" -s installcheck DESTDIR="$root" >"$work/log" 2>&1
status=$?
pass_on "$work/log"
[ $status -eq 0 ] && grep -q '^1\.\.[1-9]' "$work/log"
tap_ok $? "make installcheck"
[ $status -eq 0 ] || grep -v '^ok ' "$work/log" | tap_diag
tap_run "make uninstall" "$MAKE" uninstall DESTDIR="$root"
tree >"$work/after"
cmp "$work/before" "$work/after"
tap_ok $? "leaves nothing, and what others installed as it was"
diff "$work/before" "$work/after" | tap_diag
tap_done
