# SPDX-License-Identifier: Apache-2.0
# The man pages are clean mdoc, name pages of ours that there are, and leave no
# variable of the environment out.
. "${srcdir:-.}/tests/tap.sh"
. "${srcdir:-.}/tests/lint/files.sh"

# weir-pack.1 for every page of ours that one of ours refers to.
pages_referred_to() {
    sed -nE 's/^(\.|.* )Xr ((lib)?weir[a-z-]*) ([1-8]).*/\2.\4/p' man/*.[1-8] |
        sort -u
}

referred_to=$(pages_referred_to)
[ -n "$referred_to" ]
tap_ok $? "there are references to pages of ours"
no_lines "each is to a page that there is" "$(
    for page in $referred_to; do
        [ -f "man/$page" ] || echo "there is no $page"
    done
)"
no_lines "weir(7) names every variable of the environment" "$(
    code_files=$(c_files | grep -v '^tests/')
    # Names of files, without blanks.
    # shellcheck disable=SC2086
    sed -nE 's/.*getenv\("([A-Z_]+)"\).*/\1/p' $code_files |
        while IFS= read -r name; do
            grep -q "^\.It Ev $name\$" man/weir.7 || echo "$name"
        done
)"
if ! command -v mandoc >/dev/null; then
    tap_skip "there is no mandoc"
    tap_done
fi
for page in man/*.[1-8]; do
    no_lines "mandoc finds nothing in $page" \
        "$(mandoc -Tlint -W warning "$page" 2>&1)"
done
tap_done
