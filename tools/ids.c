/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/ids.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"

/*
 * Both forms are read as words with separators between them: white space, or
 * in an array white space and one comma.
 */
struct ids_reader {
    const char *text;
    size_t n_bytes, at;
    const char *what;
    int32_t *ids;
    size_t n_ids, capacity;
};

static int is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static void skip_space(struct ids_reader *reader)
{
    while (reader->at < reader->n_bytes && is_space(reader->text[reader->at]))
        reader->at++;
}

/* The next character, or -1 at the end. */
static int peek(const struct ids_reader *reader)
{
    if (reader->at == reader->n_bytes)
        return -1;
    return (unsigned char)reader->text[reader->at];
}

static size_t word_end(const struct ids_reader *reader)
{
    size_t at = reader->at;

    while (at < reader->n_bytes && !is_space(reader->text[at]) &&
           reader->text[at] != ',' && reader->text[at] != ']')
        at++;
    return at > reader->at ? at : at + (at < reader->n_bytes);
}

static int bad_word(const struct ids_reader *reader, struct weir_err *err)
{
    size_t n = word_end(reader) - reader->at;

    return weir_err_at(err, WEIR_EFORMAT, reader->at,
                       "%s: byte %zu: '%.*s'%s is not a token id; ids are "
                       "whole numbers from 0 to %d",
                       reader->what, reader->at, (int)(n < 32 ? n : 32),
                       reader->text + reader->at, n > 32 ? "..." : "",
                       INT32_MAX);
}

static int add_id(struct ids_reader *reader, int32_t id, struct weir_err *err)
{
    size_t capacity = reader->capacity * 2;
    int32_t *ids;

    if (reader->n_ids == reader->capacity) {
        ids = realloc(reader->ids, capacity * sizeof(*ids));
        if (!ids)
            return weir_err_nomem(err, capacity * sizeof(*ids), "token ids");
        reader->ids = ids;
        reader->capacity = capacity;
    }
    reader->ids[reader->n_ids++] = id;
    return 0;
}

static int read_word(struct ids_reader *reader, struct weir_err *err)
{
    size_t end = word_end(reader);
    int64_t id = 0;

    for (size_t i = reader->at; i < end; i++) {
        if (reader->text[i] < '0' || reader->text[i] > '9')
            return bad_word(reader, err);
        id = id * 10 + (reader->text[i] - '0');
        if (id > INT32_MAX)
            return bad_word(reader, err);
    }
    reader->at = end;
    return add_id(reader, (int32_t)id, err);
}

static int read_words(struct ids_reader *reader, struct weir_err *err)
{
    int rc;

    for (;;) {
        skip_space(reader);
        if (peek(reader) < 0)
            return 0;
        rc = read_word(reader, err);
        if (rc)
            return rc;
    }
}

static int array_broken(const struct ids_reader *reader, const char *wanted,
                        struct weir_err *err)
{
    return weir_err_at(err, WEIR_EFORMAT, reader->at,
                       "%s: byte %zu: %s was expected in the JSON array of "
                       "token ids",
                       reader->what, reader->at, wanted);
}

static int read_array_rest(struct ids_reader *reader, struct weir_err *err)
{
    int rc;

    for (;;) {
        skip_space(reader);
        if (peek(reader) < 0)
            return array_broken(reader, "']'", err);
        rc = read_word(reader, err);
        if (rc)
            return rc;
        skip_space(reader);
        if (peek(reader) == ']')
            return 0;
        if (peek(reader) != ',')
            return array_broken(reader, "',' or ']'", err);
        reader->at++;
    }
}

static int read_array(struct ids_reader *reader, struct weir_err *err)
{
    int rc = 0;

    reader->at++;
    skip_space(reader);
    if (peek(reader) != ']')
        rc = read_array_rest(reader, err);
    if (rc)
        return rc;
    reader->at++;
    skip_space(reader);
    return peek(reader) < 0 ? 0 : array_broken(reader, "nothing more", err);
}

int ids_parse(const char *text, size_t n_bytes, const char *what, int32_t **ids,
              size_t *n_ids, struct weir_err *err)
{
    struct ids_reader reader = {
        .text = text, .n_bytes = n_bytes, .what = what, .capacity = 256};
    int rc;

    *ids = NULL;
    *n_ids = 0;
    reader.ids = malloc(reader.capacity * sizeof(*reader.ids));
    if (!reader.ids)
        return weir_err_nomem(err, reader.capacity * sizeof(*reader.ids),
                              "token ids");
    skip_space(&reader);
    rc = peek(&reader) == '[' ? read_array(&reader, err)
                              : read_words(&reader, err);
    if (rc) {
        free(reader.ids);
        return rc;
    }
    *ids = reader.ids;
    *n_ids = reader.n_ids;
    return 0;
}

int ids_read(const char *path, int32_t **ids, size_t *n_ids,
             struct weir_err *err)
{
    struct weir_buf buf = WEIR_BUF(IDS_FILE_BYTES);
    const char *what = strcmp(path, "-") ? path : "standard input";
    int rc;

    *ids = NULL;
    *n_ids = 0;
    rc = what == path ? weir_buf_add_file(&buf, path, err)
                      : weir_buf_add_fd(&buf, STDIN_FILENO, what, err);
    if (!rc)
        rc = ids_parse(buf.data, buf.n_bytes, what, ids, n_ids, err);
    weir_buf_fini(&buf);
    if (!rc && *n_ids == 0) {
        free(*ids);
        *ids = NULL;
        rc = weir_err_set(err, WEIR_EFORMAT,
                          "%s: holds no token ids; write numbers with spaces "
                          "between them, or a JSON array",
                          what);
    }
    return rc;
}
