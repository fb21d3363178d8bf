# SPDX-License-Identifier: Apache-2.0
# Lines, functions and files stay short enough to be read.
. "${srcdir:-.}/tests/tap.sh"
. "${srcdir:-.}/tests/lint/files.sh"

code_like() {
    all_files | grep -E \
        '\.(c|h|cu|def|sh|awk|map|in|am|ac|[1-8])$|^setup$|^\.ci/run$'
}

# A character counts as one column and a tab goes to the next eighth.
long_lines() {
    while IFS= read -r file; do
        expand "$file" | LC_ALL=C.UTF-8 grep -nE '^.{81}' |
            sed "s|^\([0-9]*\):.*|$file:\1: is longer than 80 columns|"
    done
}

long_files() { # MOST
    while IFS= read -r file; do
        n=$(wc -l <"$file")
        [ "$n" -le "$1" ] || echo "$file: has $n lines"
    done
}

# clang-format puts a function's braces into the first column.
long_functions() {
    xargs awk '
    FNR == 1 { start = 0 }
    /^\{/ { start = FNR }
    /^\}/ {
        if (start && FNR - start > 100)
            print FILENAME ":" start ": a function of " FNR - start " lines"
        start = 0
    }'
}

no_lines "lines have at most 80 columns" "$(code_like | long_lines)"
no_lines "files have at most 700 lines" "$(c_files | long_files 700)"
no_lines "weir.h has under 300 lines" "$(echo src/weir.h | long_files 299)"
no_lines "functions have at most 100 lines" "$(c_files | long_functions)"
long=$(c_files | long_files 500)
[ -z "$long" ] || printf 'longer than the aim of 500:\n%s\n' "$long" | tap_diag
tap_done
