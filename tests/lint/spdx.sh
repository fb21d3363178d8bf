# SPDX-License-Identifier: Apache-2.0
# Every file that can carry a comment names its licence at its head.
. "${srcdir:-.}/tests/tap.sh"
. "${srcdir:-.}/tests/lint/files.sh"

# Data, and the licence itself, cannot.
unlicensed() {
    all_files | grep -vE '^COPYING$|\.(json|jsonl|safetensors|jinja|model)$' |
        grep -vE '\.(bin|txt|ids|out|png|weir)$|^tests/fuzz/corpus/' |
        while IFS= read -r file; do
            head -n 5 "$file" |
                grep -q 'SPDX-License-Identifier: Apache-2\.0' ||
                echo "$file: has no SPDX line at its head"
        done
}

no_lines "every file names its licence" "$(unlicensed)"
tap_done
