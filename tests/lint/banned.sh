# SPDX-License-Identifier: Apache-2.0
# Functions that this code does without.
#
# The names of its files have no blanks in them.
# shellcheck disable=SC2046
. "${srcdir:-.}/tests/tap.sh"
. "${srcdir:-.}/tests/lint/files.sh"

# calls NAMES: the code lines on stdin that call one of the functions.
calls() {
    sed -nE -e "s/^([^:]*:[0-9]*):(.*[^a-zA-Z0-9_.>])?($1) *\(.*/\1: \3/p"
}

# check TEXT NAMES FILE...: no code line calls one of the functions.
check() {
    text=$1
    names=$2
    shift 2
    no_lines "$text" "$(code_lines "$@" | calls "$names")"
}

check "no string function without the size of what it fills" \
    'strcpy|stpcpy|strcat|strncpy|strncat|v?sprintf' $(c_files)
check "no parsing that cannot report an error" \
    'gets|v?[fs]?scanf|strtok|ato(i|l|ll|f)' $(c_files)
check "no memory on the stack by size, no temporary names by guess" \
    'alloca|mktemp|tmpnam|tempnam' $(c_files)
# A test may run the program as its user does.
check "no shell is started" 'system|popen' $(c_files | grep -v '^tests/')
check "the library never prints" \
    'v?f?printf|v?dprintf|f?puts|f?putc|putchar|perror|v?(err|warn)x?' \
    $(library_files)
check "the library never exits or aborts" \
    '_?exit|_Exit|quick_exit|abort|assert' $(library_files)
check "the library leaves locale, signals and rounding alone" \
    'setlocale|signal|sigaction|raise|fesetround|fesetenv' $(library_files)
# But the GPU module's table, which hands out devices, events and graphs.
check "kernels do not allocate" \
    'malloc|calloc|realloc|free|aligned_alloc|posix_memalign|mmap' \
    $(library_files | grep '^kernels/' | grep -vx 'kernels/cuda/plugin\.c')
no_lines "nothing is built with fast math" "$(
    all_files | grep -vE '^tests/lint/banned\.sh$|\.md$' |
        xargs grep -nE -e '-f(unsafe|fast)-math' -e '-Ofast' -e 'fast_math'
)"
no_lines "CFLAGS and their kin stay the user's" "$(
    grep -nE '^[[:space:]]*(CFLAGS|CPPFLAGS|LDFLAGS|LIBS) *[+:]?=' Makefile.am
)"
tap_done
