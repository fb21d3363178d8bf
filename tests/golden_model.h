/* SPDX-License-Identifier: Apache-2.0 */
/* A small model for tests that need a real one: tests/golden/moe-8l, packed. */
#ifndef WEIR_TESTS_GOLDEN_MODEL_H
#define WEIR_TESTS_GOLDEN_MODEL_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "model/import.h"
#include "tests/tap.h"

/*
 * Packs it as `import` says into a new file; path: a template of mkstemp(),
 * then its name.  1, or 0 and a test has failed.
 */
static inline int golden_model(struct weir_import *import, char *path)
{
    const char *srcdir = getenv("srcdir");
    struct weir_err err = {.message = "no file for it"};
    char folder[4096];
    int fd = mkstemp(path);

    snprintf(folder, sizeof(folder), "%s/tests/golden/moe-8l",
             srcdir ? srcdir : ".");
    if (fd < 0 || weir_import_folder(import, folder, path, &err)) {
        tap_ok(0, "a model: %s", err.message);
        return 0;
    }
    close(fd);
    return 1;
}

#endif
