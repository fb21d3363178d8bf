# SPDX-License-Identifier: Apache-2.0
# The layout of the C code is what .clang-format says.
. "${srcdir:-.}/tests/tap.sh"
. "${srcdir:-.}/tests/lint/files.sh"

format=$(command -v clang-format-14 || command -v clang-format) ||
    tap_skip_all "there is no clang-format"
case $("$format" --version) in
*' version 14.'*) ;;
*) tap_skip_all "clang-format is not version 14" ;;
esac

no_lines "clang-format changes nothing" "$(
    c_files | xargs "$format" --dry-run -Werror --ferror-limit=1 2>&1 |
        grep error:
)"
tap_done
