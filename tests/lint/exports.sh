# SPDX-License-Identifier: Apache-2.0
# weir.h, the version script and the built library name the same functions.
. "${srcdir:-.}/tests/tap.sh"
. "${srcdir:-.}/tests/lint/files.sh"

library=$build_folder/.libs/libweir.so

declared=$(code_lines src/weir.h | grep -oE 'weir_[a-z0-9_]+\(' | tr -d '(' |
    sort)
listed=$(sed -nE 's/^ +(weir_[a-z0-9_]+);$/\1/p' src/libweir.map | sort)

[ -n "$declared" ] && [ "$declared" = "$listed" ]
tap_ok $? "libweir.map lists the functions of weir.h"
no_lines "libweir(3) has the functions of weir.h" "$(
    for function in $declared; do
        grep -q "^\.F[no] $function" man/libweir.3 || echo "$function"
    done
)"
if [ -f "$library" ]; then
    # NM may have options in it.
    # shellcheck disable=SC2086
    exported=$(${NM:-nm} -D --defined-only "$library" |
        sed -nE 's/.* [A-TV-Z] ([^@]*).*/\1/p' | grep -v '^WEIR_[0-9]*$' | sort)
    [ "$exported" = "$declared" ]
    tap_ok $? "the library exports the functions of weir.h"
    [ "$exported" = "$declared" ] ||
        printf 'it exports:\n%s\n' "$exported" | tap_diag
else
    tap_skip "no shared library was built"
fi
tap_done
