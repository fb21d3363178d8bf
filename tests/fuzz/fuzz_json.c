/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any JSON: what is taken, and the values that are made of it, are those of
 * jansson's own parser.  That one passes over some NUL bytes and cannot be
 * told how deep it may go, so that texts with either are only parsed.
 */
#include <string.h>

#include "base/json.h"
#include "tests/fuzz/fuzz.h"

#define MAX_LEVELS 64

/* More brackets than there may be levels. */
static int may_be_deep(const char *text, size_t n_bytes)
{
    size_t n = 0;

    for (size_t i = 0; i < n_bytes; i++)
        n += text[i] == '[' || text[i] == '{';
    return n > MAX_LEVELS;
}

static unsigned levels_of(const json_t *value)
{
    unsigned most = 0, n;
    const char *key;
    json_t *child;
    size_t i;

    json_array_foreach(value, i, child)
    {
        n = levels_of(child);
        most = n > most ? n : most;
    }
    json_object_foreach((json_t *)value, key, child)
    {
        n = levels_of(child);
        most = n > most ? n : most;
    }
    return most + (json_is_array(value) || json_is_object(value));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    const char *text = (const char *)data;
    struct weir_err err = {0};
    json_t *root, *wanted = NULL;
    int rc = weir_json_parse(text, n_bytes, "text", &root, &err);
    int compares =
        n_bytes && !memchr(data, '\0', n_bytes) && !may_be_deep(text, n_bytes);

    FUZZ_CHECK(!rc == (root != NULL));
    if (rc) {
        fuzz_check_refused(rc, &err);
        FUZZ_CHECK(err.offset <= n_bytes);
    } else {
        FUZZ_CHECK(levels_of(root) <= MAX_LEVELS);
    }
    if (compares) {
        wanted = json_loadb(text, n_bytes, JSON_REJECT_DUPLICATES, NULL);
        FUZZ_CHECK(!root == !wanted);
        FUZZ_CHECK(!root || json_equal(root, wanted));
    }
    json_decref(root);
    json_decref(wanted);
    return 0;
}
