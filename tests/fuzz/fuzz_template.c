/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A chat template of a stranger, up to the first NUL, and behind it its
 * variables as JSON: text that is UTF-8, or a refusal that says where.
 */
#include <string.h>

#include "base/utf8.h"
#include "tests/fuzz/fuzz.h"
#include "text/jinja.h"

#define TEXT_BYTES (1UL << 20)

static const char before[] = "before";

static void render(const struct weir_jinja *jinja, const json_t *variables)
{
    struct weir_buf out = WEIR_BUF(TEXT_BYTES);
    struct weir_err err = {0};
    size_t n = strlen(before);
    int rc;

    FUZZ_CHECK(!weir_buf_add(&out, before, n, &err));
    rc = weir_jinja_render(jinja, &variables, 1, 1, &out, &err);
    FUZZ_CHECK(out.n_bytes >= n && !memcmp(out.data, before, n));
    FUZZ_CHECK(weir_utf8_valid(out.data, out.n_bytes) == out.n_bytes);
    FUZZ_CHECK(!out.data[out.n_bytes]);
    if (rc) {
        FUZZ_CHECK(out.n_bytes == n);
        fuzz_check_refused(rc, &err);
        FUZZ_CHECK(!strncmp(err.message, "t:", 2));
    }
    weir_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    const char *text = (const char *)data;
    const char *json = n_bytes ? memchr(text, '\0', n_bytes) : NULL;
    size_t n = json ? (size_t)(json - text) : n_bytes;
    struct weir_jinja *jinja;
    json_t *variables = NULL;
    struct weir_err err = {0};
    int rc = weir_jinja_parse(text, n, "t", &jinja, &err);

    FUZZ_CHECK(!rc == !!jinja);
    if (rc) {
        fuzz_check_refused(rc, &err);
        return 0;
    }
    if (json && weir_json_parse(json + 1, n_bytes - n - 1, "variables",
                                &variables, &err))
        variables = NULL;
    render(jinja, json_is_object(variables) ? variables : NULL);
    json_decref(variables);
    weir_jinja_free(jinja);
    return 0;
}
