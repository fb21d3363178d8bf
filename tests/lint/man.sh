# SPDX-License-Identifier: Apache-2.0
# The man pages are clean mdoc.
. "${srcdir:-.}/tests/tap.sh"
. "${srcdir:-.}/tests/lint/files.sh"

command -v mandoc >/dev/null || tap_skip_all "there is no mandoc"

for page in man/*.[1-8]; do
    no_lines "mandoc finds nothing in $page" \
        "$(mandoc -Tlint -W warning "$page" 2>&1)"
done
tap_done
