/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "base/utf8.h"

#define MAX_PIECES 32  /* of the vocabulary, that are tried as text */
#define MAX_TEXT   512 /* most bytes of it */
#define MAX_FILE   (64 << 10)

/* Decodes the ids one by one; the result must be `text`. */
static void check_stream(const struct weir_tokenizer *tokenizer,
                         const int32_t *ids, size_t n_ids, int shown,
                         const char *text, size_t n_bytes)
{
    struct weir_detokenizer d;
    const char *part;
    size_t n, at = 0;

    FUZZ_CHECK(!weir_detokenizer_init(&d, tokenizer, NULL));
    for (size_t i = 0; i <= n_ids; i++) {
        if (i == n_ids)
            weir_detokenizer_finish(&d, &part, &n);
        else
            FUZZ_CHECK(
                !weir_detokenizer_push(&d, ids[i], shown, &part, &n, NULL));
        FUZZ_CHECK(weir_utf8_valid(part, n) == n);
        FUZZ_CHECK(n <= n_bytes - at && !memcmp(text + at, part, n));
        at += n;
    }
    FUZZ_CHECK(at == n_bytes);
    weir_detokenizer_fini(&d);
}

/* Decodes ids that are in the vocabulary; `wanted` may be NULL. */
static void check_decode(const struct weir_tokenizer *tokenizer,
                         const int32_t *ids, size_t n_ids, int shown,
                         const char *wanted, size_t n_wanted)
{
    struct weir_err err = {0};
    char *text;
    size_t n_bytes;
    int rc = weir_tokenizer_decode(tokenizer, ids, n_ids, shown, &text,
                                   &n_bytes, &err);

    FUZZ_CHECK(!rc && text && text[n_bytes] == '\0');
    FUZZ_CHECK(weir_utf8_valid(text, n_bytes) == n_bytes);
    if (wanted)
        FUZZ_CHECK(n_bytes == n_wanted && !memcmp(text, wanted, n_bytes));
    check_stream(tokenizer, ids, n_ids, shown, text, n_bytes);
    free(text);
}

static void check_ids(const struct weir_tokenizer *tokenizer,
                      const int32_t *ids, size_t n_ids)
{
    const struct weir_vocab *vocab = &tokenizer->vocab;

    for (size_t i = 0; i < n_ids; i++) {
        FUZZ_CHECK(ids[i] >= 0 && (size_t)ids[i] < vocab->n);
        FUZZ_CHECK(vocab->pieces[ids[i]].flags & WEIR_PIECE_PRESENT);
    }
}

static void check_text(const struct weir_tokenizer *tokenizer, const char *text,
                       size_t n_bytes, int special, int is_exact)
{
    struct weir_err err = {0};
    int bos = special && weir_tokenizer_bos(tokenizer) >= 0;
    int32_t *ids;
    size_t n_ids;
    int rc = weir_tokenizer_encode(tokenizer, text, n_bytes, special, bos, &ids,
                                   &n_ids, &err);

    if (rc) {
        FUZZ_CHECK(!ids);
        fuzz_check_refused(rc, &err);
        return;
    }
    FUZZ_CHECK(ids);
    check_ids(tokenizer, ids, n_ids);
    if (bos)
        FUZZ_CHECK(n_ids && ids[0] == weir_tokenizer_bos(tokenizer));
    check_decode(tokenizer, ids, n_ids, 0, NULL, 0);
    check_decode(tokenizer, ids, n_ids, 1, is_exact && !special ? text : NULL,
                 n_bytes);
    free(ids);
}

static void check_texts(const struct weir_tokenizer *tokenizer, int is_exact)
{
    static const char *const texts[] = {
        "",
        " ",
        "ab abc  cab",
        "hello, world\n",
        "<s><unk><|u|> a",
        "a\xc3\xa9\xe4\xbd\xa0\xf0\x9f\x98\x80",
        "aaaaaaaaaaaaaaaaabababababab",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        for (int special = 0; special < 2; special++)
            check_text(tokenizer, texts[i], strlen(texts[i]), special,
                       is_exact);
    check_text(tokenizer, "a\0b", 3, 1, is_exact);
    /* these may decode to something else */
    check_text(tokenizer, "<0x41>" WEIR_UTF8_METASPACE " b", 11, 0, 0);
}

/* The texts of the first pieces, one behind the other, as text. */
static void check_pieces(const struct weir_tokenizer *tokenizer)
{
    const struct weir_vocab *vocab = &tokenizer->vocab;
    size_t n = vocab->n < MAX_PIECES ? vocab->n : MAX_PIECES, n_ids = 0;
    struct weir_buf text = WEIR_BUF(MAX_TEXT);
    int32_t ids[MAX_PIECES];

    for (size_t i = 0; i < n; i++) {
        struct weir_span span = vocab->pieces[i].text;

        if (!vocab->pieces[i].flags)
            continue;
        ids[n_ids++] = (int32_t)i;
        weir_buf_add(&text, weir_vocab_at(vocab, span), span.n_bytes, NULL);
    }
    check_text(tokenizer, text.data ? text.data : "", text.n_bytes, 0, 0);
    check_text(tokenizer, text.data ? text.data : "", text.n_bytes, 1, 0);
    check_decode(tokenizer, ids, n_ids, 0, NULL, 0);
    check_decode(tokenizer, ids, n_ids, 1, NULL, 0);
    weir_buf_fini(&text);
}

/* Each of the last bytes of the input as an id, if there is such. */
static void check_any_ids(const struct weir_tokenizer *tokenizer,
                          const char *data, size_t n_bytes)
{
    size_t n = n_bytes < MAX_PIECES ? n_bytes : MAX_PIECES, n_ids = 0;
    int32_t ids[MAX_PIECES];

    for (size_t i = 0; i < n; i++) {
        size_t id = (unsigned char)data[n_bytes - n + i] % tokenizer->vocab.n;

        if (tokenizer->vocab.pieces[id].flags)
            ids[n_ids++] = (int32_t)id;
    }
    check_decode(tokenizer, ids, n_ids, 0, NULL, 0);
    check_decode(tokenizer, ids, n_ids, 1, NULL, 0);
}

/* Ids that are not in the vocabulary, and text that is not UTF-8. */
static void check_refusals(const struct weir_tokenizer *tokenizer)
{
    size_t n = weir_tokenizer_n_vocab(tokenizer), n_out;
    int32_t bad[] = {-1, (int32_t)n, INT32_MAX}, *ids;
    struct weir_err err = {0};
    char *text;
    int rc;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        rc = weir_tokenizer_decode(tokenizer, &bad[i], 1, 0, &text, &n_out,
                                   &err);
        FUZZ_CHECK(rc == WEIR_EARG && !text);
        fuzz_check_refused(rc, &err);
    }
    rc = weir_tokenizer_encode(tokenizer, "a\xff", 2, 0, 0, &ids, &n_out, &err);
    FUZZ_CHECK(rc == WEIR_EFORMAT && !ids && err.offset == 1);
}

/* The file that the input stands for. */
static struct weir_buf make_file(const struct fuzz_tokenizer *kind,
                                 const char *data, size_t n_bytes)
{
    const char *mark = n_bytes ? memchr(data, kind->mark, n_bytes) : NULL;
    size_t n = mark ? (size_t)(mark - data) : n_bytes;
    struct weir_buf file = WEIR_BUF(MAX_FILE);

    weir_buf_add(&file, data, n, NULL);
    for (unsigned i = 0; mark && i < 256; i++)
        kind->add_byte(&file, i);
    if (mark)
        weir_buf_add(&file, mark + 1, n_bytes - n - 1, NULL);
    return file;
}

void fuzz_tokenizer(const struct fuzz_tokenizer *kind, const char *data,
                    size_t n_bytes)
{
    struct weir_buf file = make_file(kind, data, n_bytes);
    struct weir_tokenizer *tokenizer;
    struct weir_err err = {0};
    int rc =
        weir_tokenizer_parse(file.data, file.n_bytes, "file", &tokenizer, &err);

    weir_buf_fini(&file);
    if (rc) {
        FUZZ_CHECK(!tokenizer);
        fuzz_check_refused(rc, &err);
        return;
    }
    FUZZ_CHECK(weir_tokenizer_n_vocab(tokenizer) > 0);
    FUZZ_CHECK(weir_tokenizer_bos(tokenizer) <
               (int64_t)weir_tokenizer_n_vocab(tokenizer));
    check_texts(tokenizer, kind->is_exact(tokenizer));
    check_pieces(tokenizer);
    check_any_ids(tokenizer, data, n_bytes);
    check_refusals(tokenizer);
    weir_tokenizer_free(tokenizer);
}
