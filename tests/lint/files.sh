# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
#
# What the lint tests share.  They run in the source tree, so that they name
# files as a person would.

export LC_ALL=C
# shellcheck disable=SC2034
build_folder=$(pwd)
cd "${srcdir:-.}" || exit 99

# Every source file: what git tracks, or all files of an unpacked tarball that
# were not generated.
all_files() {
    if [ -e .git ] && git ls-files >/dev/null 2>&1; then
        git ls-files | while IFS= read -r file; do
            [ ! -f "$file" ] || printf '%s\n' "$file"
        done
    else
        find . -name '_build' -prune -o -name '_inst' -prune -o \
            -name '_dist' -prune -o -name build -prune -o \
            -name build-aux -prune -o -name m4 -prune -o \
            -name autom4te.cache -prune -o -name .git -prune -o \
            -name Makefile.in -o -name configure -o -name aclocal.m4 -o \
            -type f -print | sed 's|^\./||' | sort
    fi
}

c_files() {
    all_files | grep -E '\.(c|h|cu)$'
}

# The C files of the library, which must never print, exit or abort.
library_files() {
    c_files | grep -E '^(src|offload|kernels)/' | grep -v '^src/serve/'
}

# code_lines FILE...: FILE:LINE:CODE without comments and string contents.
code_lines() {
    awk -f tests/lint/code.awk "$@"
}

# no_lines TEXT LINES: ok when there are no lines; else they explain.
no_lines() {
    [ -z "$2" ]
    tap_ok $? "$1"
    [ -z "$2" ] || printf '%s\n' "$2" | head -n 50 | tap_diag
}
