/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/keys.h"

#include <string.h>
#include <strings.h>

#include "base/buf.h"

#define FILE_BYTES ((size_t)WEIR_MAX_KEYS * WEIR_KEY_BYTES * 4)

int weir_keys_add(struct weir_keys *keys, const char *key, size_t n_bytes,
                  struct weir_err *err)
{
    if (keys->n == WEIR_MAX_KEYS)
        return weir_err_set(err, WEIR_EARG, "at most %d API keys",
                            WEIR_MAX_KEYS);
    if (n_bytes == 0 || n_bytes >= WEIR_KEY_BYTES)
        return weir_err_set(err, WEIR_EARG,
                            "an API key must have 1 to %d characters",
                            WEIR_KEY_BYTES - 1);
    for (size_t i = 0; i < n_bytes; i++)
        if (key[i] <= ' ' || key[i] > '~')
            return weir_err_set(err, WEIR_EARG,
                                "an API key must be of visible ASCII "
                                "characters");
    memset(keys->text[keys->n], 0, WEIR_KEY_BYTES);
    memcpy(keys->text[keys->n++], key, n_bytes);
    return 0;
}

static int add_line(struct weir_keys *keys, const char *line, size_t n,
                    const char *path, unsigned number, struct weir_err *err)
{
    struct weir_err why;
    int rc;

    while (n && (line[n - 1] == '\r' || line[n - 1] == ' '))
        n--;
    if (n == 0 || *line == '#')
        return 0;
    rc = weir_keys_add(keys, line, n, &why);
    if (rc)
        weir_err_set(err, rc, "%s: line %u: %s", path, number, why.message);
    return rc;
}

int weir_keys_add_file(struct weir_keys *keys, const char *path,
                       struct weir_err *err)
{
    struct weir_buf buf = WEIR_BUF(FILE_BYTES);
    int rc = weir_buf_add_file(&buf, path, err);
    size_t n_before = keys->n, at = 0;

    for (unsigned number = 1; !rc && at < buf.n_bytes; number++) {
        const char *line = buf.data + at;
        const char *end = memchr(line, '\n', buf.n_bytes - at);
        size_t n = end ? (size_t)(end - line) : buf.n_bytes - at;

        rc = add_line(keys, line, n, path, number, err);
        at += n + 1;
    }
    if (!rc && keys->n == n_before)
        rc = weir_err_set(err, WEIR_EARG, "%s: there is no key in it", path);
    if (buf.data)
        explicit_bzero(buf.data, buf.n_bytes);
    weir_buf_fini(&buf);
    return rc;
}

static int is_equal(const char *a, const char *b)
{
    volatile unsigned char difference = 0;

    for (size_t i = 0; i < WEIR_KEY_BYTES; i++)
        difference |= (unsigned char)(a[i] ^ b[i]);
    return difference == 0;
}

int weir_keys_allow(const struct weir_keys *keys, const char *authorization)
{
    static const char scheme[] = "Bearer ";
    char key[WEIR_KEY_BYTES] = "";
    size_t n;
    int found = 0;

    if (keys->n == 0)
        return 1;
    if (!authorization || strncasecmp(authorization, scheme, strlen(scheme)))
        return 0;
    authorization += strlen(scheme);
    n = strlen(authorization);
    if (n >= sizeof(key))
        return 0;
    memcpy(key, authorization, n);
    for (size_t i = 0; i < keys->n; i++)
        found |= is_equal(keys->text[i], key);
    return found;
}
