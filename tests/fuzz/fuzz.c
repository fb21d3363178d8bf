/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/buf.h"

void fuzz_fail(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
    abort();
}

void fuzz_check_refused(int rc, const struct weir_err *err)
{
    FUZZ_CHECK(rc <= WEIR_EARG && rc >= WEIR_ELIMIT);
    /* no input of a fuzzer is worth so much memory */
    FUZZ_CHECK(rc != WEIR_ENOMEM);
    FUZZ_CHECK(err->code == rc);
    FUZZ_CHECK(memchr(err->message, '\0', sizeof(err->message)));
    FUZZ_CHECK(*err->message);
    for (const char *s = err->message; *s; s++)
        FUZZ_CHECK((unsigned char)*s >= ' ' && *s != 0x7f);
}

const char *fuzz_path(const uint8_t *data, size_t n_bytes)
{
    static char path[64];
    static int fd = -1;

    if (fd < 0) {
        fd = memfd_create("input", MFD_CLOEXEC);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    }
    FUZZ_CHECK(fd >= 0 && !ftruncate(fd, (off_t)n_bytes));
    FUZZ_CHECK(!weir_pwrite_all(fd, data, n_bytes, 0, path, NULL));
    return path;
}
