# SPDX-License-Identifier: Apache-2.0
# Shell scripts please shellcheck.
. "${srcdir:-.}/tests/tap.sh"
. "${srcdir:-.}/tests/lint/files.sh"

command -v shellcheck >/dev/null || tap_skip_all "there is no shellcheck"

# 1090 and 1091: it cannot follow the sourced files.  2154: nor see what the
# test driver sets.
check_scripts() {
    all_files | grep -E '\.(sh|bash)$|^setup$|^\.ci/run$' |
        while IFS= read -r file; do
            head -n 2 "$file" | grep -q 'bash$' && dialect=bash || dialect=dash
            shellcheck -s "$dialect" -e 1090,1091,2154 -f gcc "$file"
        done
}

no_lines "shellcheck finds nothing" "$(check_scripts)"
tap_done
