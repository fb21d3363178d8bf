/* SPDX-License-Identifier: Apache-2.0 */
/* SentencePiece models made here, piece by piece and setting by setting. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/tap.h"
#include "tests/unit/tokenizer_check.h"

#define MARK "\xe2\x96\x81" /* the metaspace */

static void put_varint(struct weir_buf *out, uint64_t value)
{
    unsigned char c;

    do {
        c = (unsigned char)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
        weir_buf_add(out, &c, 1, NULL);
        value >>= 7;
    } while (value);
}

static void put_number(struct weir_buf *out, unsigned field, uint64_t value)
{
    put_varint(out, field << 3);
    put_varint(out, value);
}

static void put_bytes(struct weir_buf *out, unsigned field, const void *data,
                      size_t n_bytes)
{
    put_varint(out, field << 3 | 2);
    put_varint(out, n_bytes);
    weir_buf_add(out, data, n_bytes, NULL);
}

static void put_message(struct weir_buf *out, unsigned field,
                        struct weir_buf *message)
{
    put_bytes(out, field, message->data, message->n_bytes);
    weir_buf_fini(message);
}

enum { NORMAL = 1, UNKNOWN, CONTROL, USER, UNUSED, BYTE };

static void put_piece(struct weir_buf *out, const char *text, float score,
                      int type)
{
    struct weir_buf piece = WEIR_BUF(1 << 16);

    put_bytes(&piece, 1, text, strlen(text));
    put_varint(&piece, 2 << 3 | 5);
    weir_buf_add(&piece, &score, sizeof(score), NULL);
    put_number(&piece, 3, (uint64_t)type);
    put_message(out, 1, &piece);
}

struct settings {
    int type;                       /* 2: BPE */
    int dummy_prefix, extra_spaces; /* of the normalizer */
};

static void put_settings(struct weir_buf *out, struct settings settings)
{
    struct weir_buf trainer = WEIR_BUF(1 << 16);
    struct weir_buf normalizer = WEIR_BUF(1 << 16);

    put_number(&trainer, 3, (uint64_t)settings.type);
    put_message(out, 2, &trainer);
    put_bytes(&normalizer, 1, "identity", 8);
    put_number(&normalizer, 3, (uint64_t)settings.dummy_prefix);
    put_number(&normalizer, 4, (uint64_t)settings.extra_spaces);
    put_message(out, 3, &normalizer);
}

/* Twelve pieces; the higher score merges first. */
static struct weir_buf small_model(struct settings settings)
{
    struct weir_buf out = WEIR_BUF(1 << 20);

    put_piece(&out, "<unk>", 0, UNKNOWN);
    put_piece(&out, "<s>", 0, CONTROL);
    put_piece(&out, "</s>", 0, CONTROL);
    put_piece(&out, MARK, -10, NORMAL);
    put_piece(&out, "a", -10, NORMAL);
    put_piece(&out, "b", -10, NORMAL);
    put_piece(&out, "ab", -1, NORMAL);
    put_piece(&out, MARK "a", -2, NORMAL);
    put_piece(&out, "aba", -0.5f, UNUSED);
    put_piece(&out, ",", 0, USER);
    put_piece(&out, "<|u|>", 0, USER);
    put_piece(&out, "ba", -1, NORMAL);
    put_settings(&out, settings);
    return out;
}

static struct weir_tokenizer *small(int dummy_prefix, int extra_spaces)
{
    struct weir_buf file =
        small_model((struct settings){2, dummy_prefix, extra_spaces});
    struct weir_tokenizer *tokenizer = tok_parse(file.data, file.n_bytes);

    tap_ok(tokenizer != NULL, "a model with dummy prefix %d, extra spaces %d",
           dummy_prefix, extra_spaces);
    weir_buf_fini(&file);
    return tokenizer;
}

static int encodes_to_nothing(const struct weir_tokenizer *t, const char *text)
{
    return tok_encodes(t, text, 1, 0, NULL, 0);
}

static void check_plain(void)
{
    struct weir_tokenizer *t = small(0, 0);

    if (!t)
        return;
    tap_ok(ENCODES(t, "a b ", 1, 0, 4, 3, 5, 3) &&
               ENCODES(t, "  a", 1, 0, 3, 7) && encodes_to_nothing(t, ""),
           "spaces stay as they are");
    tap_ok(ENCODES(t, "bab", 1, 0, 11, 5) &&
               ENCODES(t, "babab", 1, 0, 11, 11, 5),
           "of equal scores the leftmost merges first");
    tap_ok(ENCODES(t, "aba", 1, 0, 6, 4) && ENCODES(t, "abab", 1, 0, 6, 4, 5),
           "an unused piece comes apart again");
    tap_ok(ENCODES(t, "xyb", 1, 0, 0, 5) && ENCODES(t, "axb", 1, 0, 4, 0, 5),
           "unknown characters are one token");
    tap_ok(ENCODES(t, "a,b", 0, 0, 4, 9, 5) &&
               ENCODES(t, "a<s>b", 1, 0, 4, 1, 5) &&
               ENCODES(t, "a<|u|>b", 1, 0, 4, 10, 5) &&
               ENCODES(t, "a<s>b", 0, 0, 4, 0, 5) &&
               ENCODES(t, "a<|u|>b", 0, 0, 4, 0, 5),
           "control pieces and markers on request, other user pieces always");
    tap_ok(ENCODES(t, "b", 1, 1, 1, 5) && ENCODES(t, "<s>b", 1, 1, 1, 5),
           "BOS once");
    tap_ok(DECODES(t, 1, " ab,<|u|><s><unk>", 7, 5, 9, 10, 1, 0) &&
               DECODES(t, 0, " ab, \xe2\x81\x87 ", 7, 5, 9, 10, 1, 0),
           "special pieces are shown or not");
    weir_tokenizer_free(t);
}

static void check_prefix(void)
{
    struct weir_tokenizer *t = small(1, 0);

    if (!t)
        return;
    tap_ok(ENCODES(t, "a", 1, 0, 7) && ENCODES(t, " a", 1, 0, 3, 7) &&
               encodes_to_nothing(t, ""),
           "a dummy prefix");
    tap_ok(ENCODES(t, "a<s>b", 1, 0, 7, 1, 3, 5) &&
               ENCODES(t, "a<|u|>b", 1, 0, 7, 10, 5) &&
               ENCODES(t, ",a", 1, 0, 3, 9, 4),
           "behind a control piece too, behind a user piece not");
    tap_ok(DECODES(t, 1, "a", 7) && DECODES(t, 1, " a", 3, 7) &&
               DECODES(t, 1, "a a", 7, 7) && DECODES(t, 0, "a", 1, 7) &&
               DECODES(t, 1, "<s> a", 1, 7) && DECODES(t, 0, "", 3),
           "one space is taken from the front");
    weir_tokenizer_free(t);
}

static void check_extra_spaces(void)
{
    struct weir_tokenizer *t = small(1, 1);

    if (!t)
        return;
    tap_ok(ENCODES(t, "  a   b ", 1, 0, 7, 3, 5) && encodes_to_nothing(t, "") &&
               encodes_to_nothing(t, "    ") && encodes_to_nothing(t, MARK),
           "extra spaces are removed");
    tap_ok(DECODES(t, 1, "a", 3, 3, 7) && DECODES(t, 1, "b a", 5, 7),
           "all spaces are taken from the front");
    weir_tokenizer_free(t);
}

static void refused(struct weir_buf *file, int code, const char *name)
{
    struct weir_tokenizer *tokenizer;
    struct weir_err err = {0};
    int rc;

    rc = weir_tokenizer_parse(file->data, file->n_bytes, "file", &tokenizer,
                              &err);
    tap_ok(rc == code && !tokenizer && strstr(err.message, name), "refused: %s",
           name);
    if (rc != code || !strstr(err.message, name))
        tap_diag("%d %s", rc, err.message);
    weir_tokenizer_free(tokenizer);
    weir_buf_fini(file);
}

/* The small model with one more field, which comes last and so counts. */
static void refused_with(unsigned message, unsigned field, uint64_t number,
                         const char *bytes, const char *name)
{
    struct weir_buf file = small_model((struct settings){2, 0, 0});
    struct weir_buf inner = WEIR_BUF(1 << 16);

    if (bytes)
        put_bytes(&inner, field, bytes, strlen(bytes));
    else
        put_number(&inner, field, number);
    put_message(&file, message, &inner);
    refused(&file, WEIR_ENOTSUP, name);
}

static void refused_piece(const char *text, float score, int type, int code,
                          const char *name)
{
    struct weir_buf file = small_model((struct settings){2, 0, 0});

    put_piece(&file, text, score, type);
    refused(&file, code, name);
}

static void check_refusals(void)
{
    struct weir_buf empty = WEIR_BUF(1 << 16), prose = WEIR_BUF(1 << 16);
    struct weir_buf fallback = small_model((struct settings){2, 0, 0});
    struct weir_buf trainer = WEIR_BUF(1 << 16);

    refused(&empty, WEIR_EFORMAT, "neither");
    weir_buf_add(&prose, "Hello, world", 12, NULL);
    refused(&prose, WEIR_EFORMAT, "neither");
    put_settings(&empty, (struct settings){2, 0, 0});
    refused(&empty, WEIR_EFORMAT, "without pieces");
    put_piece(&empty, "a", 0, NORMAL);
    put_settings(&empty, (struct settings){2, 0, 0});
    refused(&empty, WEIR_EFORMAT, "no unknown piece");
    put_number(&trainer, 35, 1);
    put_message(&fallback, 2, &trainer);
    refused(&fallback, WEIR_EFORMAT, "0 byte pieces");
    refused_with(2, 3, 1, NULL, "unigram");
    refused_with(2, 3, 4, NULL, "char");
    refused_with(2, 24, 1, NULL, "treat_whitespace_as_suffix");
    refused_with(3, 2, 0, "map", "identity");
    refused_with(5, 2, 0, "map", "denormalizer");
    refused_piece("", 0, NORMAL, WEIR_EFORMAT, "empty");
    refused_piece("\xff", 0, NORMAL, WEIR_EFORMAT, "not UTF-8");
    refused_piece("ab", 0, NORMAL, WEIR_EFORMAT, "the same");
    refused_piece("z", NAN, NORMAL, WEIR_EFORMAT, "not finite");
    refused_piece("z", 0, 9, WEIR_ENOTSUP, "type 9");
    refused_piece("z", 0, UNKNOWN, WEIR_EFORMAT, "two unknown");
    refused_piece("<0x00>", 0, BYTE, WEIR_EFORMAT, "1 byte pieces");
    refused_piece("<0xZ0>", 0, BYTE, WEIR_EFORMAT, "malformed");
}

/* A marker that merging could spell. */
static void check_marker(void)
{
    struct weir_buf file = small_model((struct settings){2, 0, 0});
    struct weir_tokenizer *t;

    put_piece(&file, "<", -10, NORMAL);
    put_piece(&file, ">", -10, NORMAL);
    put_piece(&file, "<a", -3, NORMAL);
    put_piece(&file, "<a>", -1, USER);
    t = tok_parse(file.data, file.n_bytes);
    tap_ok(t && ENCODES(t, "<a>", 1, 0, 15) && ENCODES(t, "<a>", 0, 0, 14, 13),
           "merging gives no marker");
    weir_tokenizer_free(t);
    weir_buf_fini(&file);
}

static void check_damage(void)
{
    struct weir_buf file = small_model((struct settings){2, 1, 1});

    tok_check_damage(&file, "a small model", 20000, 1);
    weir_buf_fini(&file);
}

int main(void)
{
    check_plain();
    check_prefix();
    check_extra_spaces();
    check_marker();
    check_refusals();
    check_damage();
    return tap_done();
}
