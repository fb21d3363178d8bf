/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/tokenizer_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"
#include "tests/tap.h"
#include "text/token_text.h"

static uint32_t seed = 12345;

uint32_t tok_random(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)(seed >> 8) * n >> 24);
}

/* The file at DIR/NAME; the program ends without it. */
struct weir_buf tok_load(const char *dir, const char *name)
{
    struct weir_buf buf = WEIR_BUF(64 << 20);
    struct weir_err err;
    char path[4096];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (weir_buf_add_file(&buf, path, &err)) {
        tap_ok(0, "%s", err.message);
        exit(tap_done());
    }
    return buf;
}

struct weir_tokenizer *tok_parse(const char *data, size_t n_bytes)
{
    struct weir_tokenizer *tokenizer;
    struct weir_err err;

    if (weir_tokenizer_parse(data, n_bytes, "file", &tokenizer, &err)) {
        tap_diag("%s", err.message);
        return NULL;
    }
    return tokenizer;
}

static int same_ids(const json_t *wanted, const int32_t *ids, size_t n_ids)
{
    if (json_array_size(wanted) != n_ids)
        return 0;
    for (size_t i = 0; i < n_ids; i++)
        if (json_integer_value(json_array_get(wanted, i)) != ids[i])
            return 0;
    return 1;
}

/* The token's own bytes stand where it does, or U+FFFD for its one byte. */
static int stands(const struct weir_tokenizer *tokenizer,
                  const struct weir_token_place *place, int shown,
                  const char *text)
{
    struct weir_buf own = WEIR_BUF(1 << 20);
    size_t n = place->to - place->from;
    int good =
        !weir_token_text(tokenizer, place->id, place->front, shown, &own, NULL);

    good &= own.n_bytes == n
                ? !n || !memcmp(text + place->from, own.data, n)
                : own.n_bytes == 1 && n == 3 &&
                      !memcmp(text + place->from, WEIR_UTF8_REPLACEMENT, 3);
    weir_buf_fini(&own);
    return good;
}

/* The places of all tokens, as their text comes out, are one after the other.
 */
static int places_stand(const struct weir_tokenizer *tokenizer,
                        const int32_t *ids, size_t n_ids, int shown,
                        const struct weir_buf *out)
{
    struct weir_token_place *places = calloc(n_ids + 1, sizeof(*places));
    size_t n_settled = 0, n_out = 0, at = 0, n;
    struct weir_detokenizer d;
    const char *text;
    int good = places && !weir_detokenizer_init(&d, tokenizer, NULL);

    for (size_t i = 0; good && i <= n_ids; i++) {
        if (i < n_ids) {
            places[i].id = ids[i];
            places[i].front = weir_detokenizer_front(&d);
            weir_detokenizer_push(&d, ids[i], shown, &text, &n, NULL);
        } else {
            weir_detokenizer_finish(&d, &text, &n);
        }
        n_settled = weir_token_settle(&d, places, n_settled,
                                      i < n_ids ? i + 1 : i, n_out, n);
        n_out += n;
        good = n_settled ? places[n_settled - 1].to == n_out : n_out == 0;
    }
    for (size_t i = 0; good && i < n_ids; at = places[i++].to)
        good = places[i].from == at && places[i].to <= n_out &&
               stands(tokenizer, &places[i], shown, out->data);
    good = good && n_settled == n_ids && at == out->n_bytes;
    if (places)
        weir_detokenizer_fini(&d);
    free(places);
    return good;
}

/* Feeds all ids and returns what comes out; checks each piece for itself. */
static struct weir_buf stream(const struct weir_tokenizer *tokenizer,
                              const int32_t *ids, size_t n_ids, int shown,
                              int *whole_characters)
{
    struct weir_buf out = WEIR_BUF(64 << 20);
    struct weir_detokenizer d;
    const char *text;
    size_t n;

    *whole_characters = 1;
    if (weir_detokenizer_init(&d, tokenizer, NULL))
        return out;
    for (size_t i = 0; i < n_ids; i++) {
        if (weir_detokenizer_push(&d, ids[i], shown, &text, &n, NULL))
            break;
        *whole_characters &= weir_utf8_valid(text, n) == n;
        weir_buf_add(&out, text, n, NULL);
    }
    weir_detokenizer_finish(&d, &text, &n);
    *whole_characters &= weir_utf8_valid(text, n) == n;
    weir_buf_add(&out, text, n, NULL);
    weir_detokenizer_fini(&d);
    return out;
}

int tok_streams(const struct weir_tokenizer *tokenizer, const int32_t *ids,
                size_t n_ids, int shown)
{
    struct weir_buf out;
    char *text;
    size_t n_bytes;
    int whole_characters, same;

    if (weir_tokenizer_decode(tokenizer, ids, n_ids, shown, &text, &n_bytes,
                              NULL))
        return 0;
    out = stream(tokenizer, ids, n_ids, shown, &whole_characters);
    same = out.n_bytes == n_bytes && !memcmp(out.data, text, n_bytes) &&
           places_stand(tokenizer, ids, n_ids, shown, &out);
    weir_buf_fini(&out);
    free(text);
    return same && whole_characters;
}

static void check_row(const struct weir_tokenizer *tokenizer, const json_t *row,
                      size_t number)
{
    const json_t *text = json_object_get(row, "text");
    const json_t *wanted = json_object_get(row, "decoded");
    struct weir_err err = {0};
    char *decoded = NULL;
    int32_t *ids = NULL;
    size_t n_ids = 0, n_bytes = 0;
    int rc;

    rc = weir_tokenizer_encode(tokenizer, json_string_value(text),
                               json_string_length(text), 1, 0, &ids, &n_ids,
                               &err);
    tap_ok(!rc && same_ids(json_object_get(row, "ids"), ids, n_ids),
           "row %zu encodes", number);
    rc = rc ? rc
            : weir_tokenizer_decode(tokenizer, ids, n_ids, 1, &decoded,
                                    &n_bytes, &err);
    tap_ok(!rc && n_bytes == json_string_length(wanted) &&
               !memcmp(decoded, json_string_value(wanted), n_bytes) &&
               tok_streams(tokenizer, ids, n_ids, 1),
           "row %zu decodes", number);
    if (rc)
        tap_diag("%s", err.message);
    free(ids);
    free(decoded);
}

void tok_check_rows(const struct weir_tokenizer *tokenizer, const char *dir,
                    const char *name)
{
    struct weir_buf buf = tok_load(dir, name);
    json_t *rows = json_loadb(buf.data, buf.n_bytes, JSON_ALLOW_NUL, NULL);
    const json_t *row;
    size_t i;

    tap_ok(json_array_size(rows) > 10, "%s has rows", name);
    json_array_foreach(rows, i, row) check_row(tokenizer, row, i);
    json_decref(rows);
    weir_buf_fini(&buf);
}

/* Random ids, byte tokens of both kinds of file being among the first 2048. */
void tok_check_streaming(const struct weir_tokenizer *tokenizer,
                         const char *name, int32_t first_byte)
{
    int32_t n = (int32_t)weir_tokenizer_n_vocab(tokenizer), ids[40];
    int good = 1;

    for (int round = 0; round < 4000; round++) {
        size_t n_ids = tok_random(40);

        for (size_t i = 0; i < n_ids; i++)
            ids[i] = tok_random(4) ? first_byte + (int32_t)tok_random(256)
                                   : (int32_t)tok_random((uint32_t)n);
        good &= tok_streams(tokenizer, ids, n_ids, round & 1);
    }
    tap_ok(good, "%s: streaming gives the whole text, in whole characters",
           name);
}

int tok_decodes(const struct weir_tokenizer *tokenizer, const int32_t *ids,
                size_t n_ids, int shown, const char *wanted)
{
    char *text = NULL;
    size_t n = 0;
    int good;

    if (weir_tokenizer_decode(tokenizer, ids, n_ids, shown, &text, &n, NULL))
        return 0;
    good = n == strlen(wanted) && !memcmp(text, wanted, n);
    if (!good)
        tap_diag("'%s', not '%s'", text, wanted);
    free(text);
    return good && tok_streams(tokenizer, ids, n_ids, shown);
}

int tok_encodes(const struct weir_tokenizer *tokenizer, const char *text,
                int special, int bos, const int32_t *wanted, size_t n)
{
    int32_t *ids = NULL;
    size_t n_ids = 0;
    int good;

    if (weir_tokenizer_encode(tokenizer, text, strlen(text), special, bos, &ids,
                              &n_ids, NULL))
        return 0;
    good = n_ids == n && (!n || !memcmp(ids, wanted, n * sizeof(*ids)));
    for (size_t i = 0; !good && i < n_ids; i++)
        tap_diag("id %zu: %d", i, ids[i]);
    free(ids);
    return good;
}

int tok_finds(const struct weir_tokenizer *tokenizer, const char *text,
              int special, int32_t low, int32_t high)
{
    int32_t *ids = NULL;
    size_t n_ids = 0;
    int found = 0;

    if (weir_tokenizer_encode(tokenizer, text, strlen(text), special, 0, &ids,
                              &n_ids, NULL))
        return -1;
    for (size_t i = 0; i < n_ids; i++)
        found |= ids[i] >= low && ids[i] < high;
    free(ids);
    return found;
}

void tok_check_bad_text(const struct weir_tokenizer *tokenizer)
{
    static const char *const bad[] = {
        "ab\xff",     "ab\xc3",         "ab\xed\xa0\x80", "ab\xf4\x90\x80\x80",
        "ab\xc0\x80", "ab\xe0\x80\x80", "ab\x80"};
    int32_t *ids;
    size_t n_ids;
    int good = 1;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct weir_err err = {0};

        good &= weir_tokenizer_encode(tokenizer, bad[i], strlen(bad[i]), 1, 0,
                                      &ids, &n_ids, &err) == WEIR_EFORMAT &&
                err.offset == 2 && strstr(err.message, "iconv") && !ids;
    }
    tap_ok(good, "text that is not UTF-8 is refused with its offset");
}

void tok_check_bad_ids(const struct weir_tokenizer *tokenizer)
{
    int32_t n = (int32_t)weir_tokenizer_n_vocab(tokenizer);
    const int32_t bad[] = {-1, n, INT32_MAX, INT32_MIN};
    struct weir_err err;
    size_t n_bytes;
    char *text;
    int good = 1;

    for (size_t i = 0; i < 4; i++)
        good &= weir_tokenizer_decode(tokenizer, &bad[i], 1, 1, &text, &n_bytes,
                                      &err) == WEIR_EARG &&
                strstr(err.message, "not in the vocabulary") && !text;
    tap_ok(good, "ids outside the vocabulary are refused");
}

/* Every truncation and many flips are refused or load; none crashes. */
void tok_check_damage(const struct weir_buf *file, const char *name,
                      size_t n_rounds, size_t step)
{
    struct weir_tokenizer *tokenizer;
    char *copy = malloc(file->n_bytes);
    int32_t *ids;
    size_t n_ids;

    for (size_t n = 0; n < file->n_bytes; n += step) {
        char *part = malloc(n + 1);

        memcpy(part, file->data, n);
        weir_tokenizer_parse(part, n, name, &tokenizer, NULL);
        weir_tokenizer_free(tokenizer);
        free(part);
    }
    for (size_t round = 0; round < n_rounds; round++) {
        memcpy(copy, file->data, file->n_bytes);
        for (uint32_t i = 0; i <= tok_random(3); i++)
            copy[tok_random((uint32_t)file->n_bytes)] ^=
                (char)(1 << tok_random(8));
        if (weir_tokenizer_parse(copy, file->n_bytes, name, &tokenizer, NULL))
            continue;
        if (!weir_tokenizer_encode(tokenizer, "Hello, world <|bom|> 12", 23, 1,
                                   1, &ids, &n_ids, NULL))
            tok_streams(tokenizer, ids, n_ids, 1);
        free(ids);
        weir_tokenizer_free(tokenizer);
    }
    free(copy);
    tap_ok(1, "%s: damaged files are refused or load", name);
}

/* A run longer than what is kept comes out in parts, the same each time. */
void tok_check_long_run(const struct weir_tokenizer *t, int32_t first_byte)
{
    static const unsigned char euro[] = {0xe2, 0x82, 0xac};
    size_t n_ids = 3 * WEIR_RUN_BYTES;
    int32_t *ids = malloc(n_ids * sizeof(*ids));
    char *text = NULL;
    size_t n = 0;

    for (size_t i = 0; i < n_ids; i++)
        ids[i] = first_byte + euro[i % 3];
    tap_ok(!weir_tokenizer_decode(t, ids, n_ids, 1, &text, &n, NULL) &&
               n == n_ids && weir_utf8_valid(text, n) == n &&
               !memmem(text, n, WEIR_UTF8_REPLACEMENT, 3) &&
               tok_streams(t, ids, n_ids, 1),
           "a long run of bytes");
    free(text);
    free(ids);
}
