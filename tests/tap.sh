# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
#
# The functions of tests/tap.h for shell tests, which start with
#   . "${srcdir:-.}/tests/tap.sh"
# and end with tap_done.  Beside them: tap_run TEXT COMMAND..., one result
# that is ok when the command exits with 0.

tap_n=0
tap_failed=0

# tap_ok STATUS TEXT: ok when STATUS is 0, as in `test ...; tap_ok $? "..."`.
tap_ok() {
    tap_n=$((tap_n + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok $tap_n - $2"
    else
        tap_failed=$((tap_failed + 1))
        echo "not ok $tap_n - $2"
    fi
}

# Each line of its arguments, or of stdin when there are none, as a comment.
tap_diag() {
    if [ $# -gt 0 ]; then
        printf '%s\n' "$*" | sed 's/^/# /'
    else
        sed 's/^/# /'
    fi
}

tap_skip() {
    tap_n=$((tap_n + 1))
    echo "ok $tap_n # SKIP $*"
}

tap_skip_all() {
    echo "1..0 # SKIP $*"
    exit 0
}

tap_run() {
    tap_text=$1
    shift
    tap_status=0
    tap_output=$("$@" 2>&1) || tap_status=$?
    tap_ok "$tap_status" "$tap_text"
    if [ "$tap_status" -ne 0 ]; then
        tap_diag "exit status $tap_status of: $*"
        printf '%s\n' "$tap_output" | tap_diag
    fi
}

tap_done() {
    echo "1..$tap_n"
    [ "$tap_failed" -eq 0 ]
    exit $?
}
