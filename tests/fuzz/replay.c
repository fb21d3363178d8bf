/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other half of a fuzzer where libFuzzer is not: runs it on each file of
 * its corpus, or on those that are named.  An input that fails ends the
 * program; the line before says which it was.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "tests/fuzz/fuzz.h"
#include "tests/tap.h"

#define INPUT_BYTES (16 << 20)

/* In memory of just its size, so that a byte too far is seen. */
static int replay(const char *path)
{
    struct weir_buf buf = WEIR_BUF(INPUT_BYTES);
    struct weir_err err;
    uint8_t *data;

    tap_diag("%s", path);
    if (weir_buf_add_file(&buf, path, &err)) {
        tap_diag("%s", err.message);
        return 0;
    }
    data = malloc(buf.n_bytes ? buf.n_bytes : 1);
    if (buf.n_bytes)
        memcpy(data, buf.data, buf.n_bytes);
    LLVMFuzzerTestOneInput(data, buf.n_bytes);
    free(data);
    weir_buf_fini(&buf);
    return 1;
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* fuzz_NAME reads corpus/NAME. */
static void replay_corpus(const char *program)
{
    const char *srcdir = getenv("srcdir"), *name = strstr(program, "fuzz_");
    struct dirent **entries = NULL;
    char folder[2048], path[4096];
    int n, n_good = 0;

    for (const char *next; name && (next = strstr(name + 1, "fuzz_"));)
        name = next;
    snprintf(folder, sizeof(folder), "%s/tests/fuzz/corpus/%s",
             srcdir ? srcdir : ".", name ? name + strlen("fuzz_") : "?");
    n = scandir(folder, &entries, is_visible, alphasort);
    tap_ok(n > 0, "there are inputs in %s", folder);
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
        n_good += replay(path);
        free(entries[i]);
    }
    free(entries);
    tap_ok(n_good == n, "all %d of them end well", n);
}

int main(int argc, char **argv)
{
    if (argc == 1)
        replay_corpus(argv[0]);
    for (int i = 1; i < argc; i++)
        tap_ok(replay(argv[i]), "%s ends well", argv[i]);
    return tap_done();
}
