/* SPDX-License-Identifier: Apache-2.0 */
/* The reader of token ids. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/tap.h"
#include "tools/ids.h"

/* The text without what would break a line of TAP. */
static const char *shown(const char *text)
{
    static char line[64];
    size_t n = strlen(text);

    for (size_t i = 0; i <= n && i < sizeof(line) - 1; i++)
        line[i] = text[i] && (text[i] < ' ' || text[i] == '#') ? '_' : text[i];
    return line;
}

static void good(const char *text, size_t n, int32_t a, int32_t b)
{
    const int32_t wanted[] = {a, b};
    struct weir_err err = {0};
    int32_t *ids;
    size_t n_ids;
    int rc = ids_parse(text, strlen(text), "file", &ids, &n_ids, &err);

    tap_ok(!rc && n_ids == n && !memcmp(ids, wanted, n * sizeof(*ids)),
           "'%s' is read", shown(text));
    if (rc)
        tap_diag("%s", err.message);
    free(ids);
}

static void bad(const char *text, uint64_t offset, const char *says)
{
    struct weir_err err = {0};
    int32_t *ids;
    size_t n_ids;
    int rc = ids_parse(text, strlen(text), "file", &ids, &n_ids, &err);

    tap_ok(rc == WEIR_EFORMAT && !ids && err.offset == offset &&
               strstr(err.message, says),
           "'%s' is refused: %s", shown(text), says);
    if (err.offset != offset)
        tap_diag("%llu %s", (unsigned long long)err.offset, err.message);
    free(ids);
}

static void check_file(const char *content, int code, size_t n)
{
    char path[] = "ids-XXXXXX";
    int fd = mkstemp(path);
    struct weir_err err = {0};
    int32_t *ids = NULL;
    size_t n_ids;
    int rc;

    if (write(fd, content, strlen(content)) < 0)
        tap_diag("cannot write %s", path);
    rc = ids_read(path, &ids, &n_ids, &err);
    tap_ok(rc == code && n_ids == n, "a file with '%s'", content);
    free(ids);
    close(fd);
    unlink(path);
}

int main(void)
{
    int32_t *ids;
    size_t n_ids;

    good("", 0, 0, 0);
    good(" \n", 0, 0, 0);
    good("7", 1, 7, 0);
    good("0 2147483647\n", 2, 0, INT32_MAX);
    good("\t1\r\n  2", 2, 1, 2);
    good("[]", 0, 0, 0);
    good(" [ 1 ,2 ]\n", 2, 1, 2);
    good("[00012]", 1, 12, 0);
    bad("1 x2 3", 2, "'x2'");
    bad("1 2x", 2, "'2x'");
    bad("-1", 0, "'-1'");
    bad("1.5", 0, "'1.5'");
    bad("5 2147483648", 2, "'2147483648'");
    bad("99999999999999999999999", 0, "not a token id");
    bad("1,2", 1, "','");
    bad("[1 2]", 3, "',' or ']'");
    bad("[1,]", 3, "']'");
    bad("[1, 2", 5, "',' or ']'");
    bad("[1,", 3, "']'");
    bad("[", 1, "']'");
    bad("[1] 2", 4, "nothing more");
    bad("[[1]]", 1, "'[1'");
    check_file("1 2 3", 0, 3);
    check_file("", WEIR_EFORMAT, 0);
    tap_ok(ids_read("no/such/file", &ids, &n_ids, NULL) == WEIR_EIO,
           "a file that is not there");
    return tap_done();
}
