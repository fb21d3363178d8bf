/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encoding goes inwards: tokens that stand for raw text are cut out of it;
 * what lies between is normalised; tokens that stand for normalised text are
 * cut out of that; what lies between is pre-tokenized, and merged (bpe.c).
 * Each stretch between tokens is normalised by itself, so that a prepended
 * metaspace appears after every such token: that is how the tokenizers library
 * does it.  SentencePiece has the same shape, with the special pieces in the
 * first place and the user defined ones in the second.
 */
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "offload/file.h"
#include "text/bpe.h"

#define FILE_BYTES (256UL << 20) /* most in a tokenizer file */

struct encoder {
    const struct weir_tokenizer *tokenizer;
    int special;
    struct weir_ids ids;
    struct weir_scratch normal, pre;
    struct weir_buf unguarded;
    struct weir_bpe bpe;
};

/* A stretch of text on its way; `first` when the text begins with it. */
typedef int encode_fn(struct encoder *encoder, const char *text, size_t n_bytes,
                      int first, struct weir_err *err);

/* Encodes the tokens that `matcher` finds, and by `inner` what is between. */
static int encode_between(struct encoder *encoder,
                          const struct weir_matcher *matcher, encode_fn *inner,
                          const char *text, size_t n_bytes, int first,
                          struct weir_err *err)
{
    const struct weir_vocab *vocab = &encoder->tokenizer->vocab;
    size_t from = 0, at = 0, length;
    int32_t id;
    int rc = 0;

    while (!rc && matcher->n && at < n_bytes) {
        id = weir_matcher_find(matcher, vocab, text + at, n_bytes - at,
                               encoder->special, &length);
        if (id < 0) {
            at++;
            continue;
        }
        if (at > from)
            rc = inner(encoder, text + from, at - from, first && !from, err);
        if (!rc)
            rc = weir_ids_add(&encoder->ids, id, err);
        from = at += length;
    }
    if (rc || from == n_bytes)
        return rc;
    return inner(encoder, text + from, n_bytes - from, first && !from, err);
}

static int starts_with(const char *text, size_t n_bytes, const char *with,
                       size_t n_with)
{
    return n_bytes >= n_with && !memcmp(text, with, n_with);
}

/* Encodes each part of the text from one `mark` to the next. */
static int encode_split(struct encoder *encoder, const char *text,
                        size_t n_bytes, const char *mark, size_t n_mark,
                        struct weir_err *err)
{
    const char *end = text + n_bytes, *next;
    size_t skip;
    int rc = 0;

    while (!rc && text < end) {
        skip =
            starts_with(text, (size_t)(end - text), mark, n_mark) ? n_mark : 0;
        next = memmem(text + skip, (size_t)(end - text) - skip, mark, n_mark);
        if (!next)
            next = end;
        rc = weir_bpe_encode(&encoder->bpe, text, (size_t)(next - text), err);
        text = next;
    }
    return rc;
}

static int encode_metaspace(struct encoder *encoder, const char *text,
                            size_t n_bytes, int first, struct weir_err *err)
{
    const struct weir_tokenizer *tokenizer = encoder->tokenizer;
    const char *mark = weir_vocab_at(&tokenizer->vocab, tokenizer->replacement);
    size_t n_mark = tokenizer->replacement.n_bytes;
    struct weir_buf *out = &encoder->pre.bufs[0];
    int prepend = tokenizer->prepend == WEIR_PREPEND_ALL ||
                  (tokenizer->prepend == WEIR_PREPEND_FIRST && first);
    int rc = 0;

    out->n_bytes = 0;
    if (prepend && text[0] != ' ' && !starts_with(text, n_bytes, mark, n_mark))
        rc = weir_buf_add(out, mark, n_mark, err);
    if (!rc)
        rc = weir_text_replace(out, text, n_bytes, " ", 1, mark, n_mark, err);
    if (rc)
        return rc;
    if (tokenizer->splits)
        return encode_split(encoder, out->data, out->n_bytes, mark, n_mark,
                            err);
    return weir_bpe_encode(&encoder->bpe, out->data, out->n_bytes, err);
}

/* Text without any added token in it. */
static int encode_plain(struct encoder *encoder, const char *text,
                        size_t n_bytes, int first, struct weir_err *err)
{
    if (encoder->tokenizer->metaspace)
        return encode_metaspace(encoder, text, n_bytes, first, err);
    return weir_bpe_encode(&encoder->bpe, text, n_bytes, err);
}

/* One space for each run of them, and none at the start. */
static int collapse_spaces(struct weir_buf *out, const char *text,
                           size_t n_bytes, struct weir_err *err)
{
    size_t at = 0, from;
    int rc = 0;

    out->n_bytes = 0;
    while (!rc) {
        while (at < n_bytes && text[at] == ' ')
            at++;
        if (at == n_bytes)
            break;
        for (from = at; at < n_bytes && text[at] != ' ';)
            at++;
        rc = weir_buf_add(out, text + from, at - from + (at < n_bytes), err);
    }
    return rc;
}

static void trim_end(const char *text, size_t *n_bytes, const char *mark,
                     size_t n_mark)
{
    while (*n_bytes >= n_mark &&
           !memcmp(text + *n_bytes - n_mark, mark, n_mark))
        *n_bytes -= n_mark;
}

/* Text between raw tokens, without guards. */
static int encode_unguarded(struct encoder *encoder, const char *text,
                            size_t n_bytes, int first, struct weir_err *err)
{
    const struct weir_tokenizer *tokenizer = encoder->tokenizer;
    int rc = 0;

    if (tokenizer->collapses_spaces) {
        rc = collapse_spaces(&encoder->pre.bufs[1], text, n_bytes, err);
        text = encoder->pre.bufs[1].data;
        n_bytes = encoder->pre.bufs[1].n_bytes;
    }
    if (rc || n_bytes == 0)
        return rc;
    rc = weir_text_apply(&tokenizer->normalizers, &tokenizer->vocab,
                         &encoder->normal, first, &text, &n_bytes, err);
    if (rc == WEIR_ELIMIT)
        return weir_err_set(err, rc,
                            "the tokenizer's normalizer makes more than %zu "
                            "bytes of the text; use another tokenizer",
                            encoder->normal.bufs[0].ceiling);
    if (rc)
        return rc;
    if (tokenizer->collapses_spaces)
        trim_end(text, &n_bytes,
                 weir_vocab_at(&tokenizer->vocab, tokenizer->replacement),
                 tokenizer->replacement.n_bytes);
    return encode_between(encoder, &tokenizer->normalized, encode_plain, text,
                          n_bytes, first, err);
}

static int drop_guards(struct weir_buf *out, const char *text, size_t n_bytes,
                       struct weir_err *err)
{
    return weir_text_replace(out, text, n_bytes, WEIR_TEXT_GUARD,
                             strlen(WEIR_TEXT_GUARD), "", 0, err);
}

/* What has guards in it holds no special token, not even a normalised one. */
static int encode_raw(struct encoder *encoder, const char *text, size_t n_bytes,
                      int first, struct weir_err *err)
{
    struct weir_buf *out = &encoder->unguarded;
    int special = encoder->special, rc;

    if (special != WEIR_SPECIAL_GUARDED ||
        !memmem(text, n_bytes, WEIR_TEXT_GUARD, strlen(WEIR_TEXT_GUARD)))
        return encode_unguarded(encoder, text, n_bytes, first, err);
    out->n_bytes = 0;
    rc = drop_guards(out, text, n_bytes, err);
    if (rc || !out->n_bytes)
        return rc;
    encoder->special = WEIR_SPECIAL_PLAIN;
    rc = encode_unguarded(encoder, out->data, out->n_bytes, first, err);
    encoder->special = special;
    return rc;
}

int weir_tokenizer_guard(const struct weir_tokenizer *tokenizer,
                         const char *text, size_t n_bytes, struct weir_buf *out,
                         struct weir_err *err)
{
    const size_t n_guard = strlen(WEIR_TEXT_GUARD);
    const struct weir_vocab *vocab = &tokenizer->vocab;
    struct weir_buf own = WEIR_BUF(n_bytes);
    size_t length;
    int rc = drop_guards(&own, text, n_bytes, err);

    for (size_t at = 0; !rc && at < own.n_bytes; at += length) {
        const char *s = own.data + at;
        const size_t n = own.n_bytes - at;

        length = weir_utf8_length((unsigned char)*s);
        rc = weir_buf_add(out, s, length, err);
        if (!rc &&
            (weir_matcher_may_begin(&tokenizer->raw, vocab, s, n) ||
             weir_matcher_may_begin(&tokenizer->normalized, vocab, s, n)))
            rc = weir_buf_add(out, WEIR_TEXT_GUARD, n_guard, err);
    }
    weir_buf_fini(&own);
    return rc;
}

static int encoder_init(struct encoder *encoder,
                        const struct weir_tokenizer *tokenizer, int special,
                        size_t n_bytes, struct weir_err *err)
{
    size_t ceiling = weir_text_ceiling(n_bytes);

    memset(encoder, 0, sizeof(*encoder));
    encoder->tokenizer = tokenizer;
    encoder->special = special;
    weir_scratch_init(&encoder->normal, ceiling);
    weir_scratch_init(&encoder->pre, ceiling);
    encoder->unguarded = (struct weir_buf)WEIR_BUF(n_bytes);
    return weir_bpe_init(&encoder->bpe, tokenizer, &encoder->ids, err);
}

static void encoder_fini(struct encoder *encoder)
{
    weir_bpe_fini(&encoder->bpe);
    weir_scratch_fini(&encoder->normal);
    weir_scratch_fini(&encoder->pre);
    weir_buf_fini(&encoder->unguarded);
    free(encoder->ids.data);
}

static int check_text(const char *text, size_t n_bytes, struct weir_err *err)
{
    size_t valid;

    if (n_bytes > WEIR_TEXT_BYTES)
        return weir_err_set(err, WEIR_ELIMIT,
                            "text of %zu bytes; %lu is the most", n_bytes,
                            WEIR_TEXT_BYTES);
    valid = weir_utf8_valid(text, n_bytes);
    if (valid == n_bytes)
        return 0;
    return weir_err_at(err, WEIR_EFORMAT, valid,
                       "the text is not UTF-8 at byte %zu; convert it, for "
                       "example with iconv",
                       valid);
}

/* Begins the ids with `bos`, unless the text did; at least one entry. */
static int put_bos(struct weir_ids *ids, int32_t bos, struct weir_err *err)
{
    int rc;

    if (bos < 0 || (ids->n && ids->data[0] == bos))
        bos = -1;
    rc = weir_ids_add(ids, bos, err);
    if (rc || bos < 0) {
        ids->n -= !rc;
        return rc;
    }
    memmove(ids->data + 1, ids->data, (ids->n - 1) * sizeof(*ids->data));
    ids->data[0] = bos;
    return 0;
}

int weir_tokenizer_encode(const struct weir_tokenizer *tokenizer,
                          const char *text, size_t n_bytes, int special,
                          int bos, int32_t **ids, size_t *n_ids,
                          struct weir_err *err)
{
    struct encoder encoder;
    int rc;

    *ids = NULL;
    *n_ids = 0;
    rc = check_text(text, n_bytes, err);
    if (rc)
        return rc;
    rc = encoder_init(&encoder, tokenizer, special, n_bytes, err);
    if (!rc)
        rc = encode_between(&encoder, &tokenizer->raw, encode_raw, text,
                            n_bytes, 1, err);
    if (!rc)
        rc = put_bos(&encoder.ids, bos ? tokenizer->bos : -1, err);
    if (!rc) {
        *ids = encoder.ids.data;
        *n_ids = encoder.ids.n;
        encoder.ids.data = NULL;
    }
    encoder_fini(&encoder);
    return rc;
}

static int is_json(const char *data, size_t n_bytes)
{
    size_t at = 0;

    while (at < n_bytes && data[at] && strchr(" \t\r\n", data[at]))
        at++;
    return at < n_bytes && data[at] == '{';
}

/* What both kinds need once everything is read. */
static int seal(struct weir_tokenizer *tokenizer, struct weir_err *err)
{
    const struct weir_vocab *vocab = &tokenizer->vocab;
    size_t most = tokenizer->unknown_shown.n_bytes;

    for (size_t i = 0; i < vocab->n; i++) {
        const struct weir_piece *piece = &vocab->pieces[i];

        if (piece->shown.n_bytes > most)
            most = piece->shown.n_bytes;
        if (piece->first.n_bytes > most)
            most = piece->first.n_bytes;
    }
    tokenizer->max_shown_bytes = most;
    weir_matcher_seal(&tokenizer->raw, vocab);
    weir_matcher_seal(&tokenizer->normalized, vocab);
    /* Without bytes a run of unknown characters is one token: do not cut. */
    tokenizer->cuts &= tokenizer->byte_fallback;
    return weir_joins_init(&tokenizer->joins, vocab, err);
}

int weir_tokenizer_parse(const char *data, size_t n_bytes, const char *what,
                         struct weir_tokenizer **tokenizer,
                         struct weir_err *err)
{
    struct weir_tokenizer *made;
    int rc;

    *tokenizer = NULL;
    if (n_bytes > FILE_BYTES)
        return weir_err_set(err, WEIR_ELIMIT,
                            "%s: %zu bytes; %lu is the most for a tokenizer",
                            what, n_bytes, FILE_BYTES);
    made = calloc(1, sizeof(*made));
    if (!made)
        return weir_err_nomem(err, sizeof(*made), what);
    made->bos = made->unknown = -1;
    rc = is_json(data, n_bytes)
             ? weir_tokenizer_read_json(made, data, n_bytes, what, err)
             : weir_tokenizer_read_spm(made, data, n_bytes, what, err);
    if (!rc)
        rc = seal(made, err);
    if (rc)
        weir_tokenizer_free(made);
    else
        *tokenizer = made;
    return rc;
}

int weir_tokenizer_from_file(const struct weir_file *file,
                             struct weir_tokenizer **tokenizer,
                             struct weir_err *err)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer.model"};
    char *data = NULL;
    size_t n_bytes = 0;
    int rc = 0;

    *tokenizer = NULL;
    for (size_t i = 0; !rc && !data && i < 2; i++) {
        rc = weir_file_read_blob(file, names[i], &data, &n_bytes, err);
        if (!rc && data)
            rc = weir_tokenizer_parse(data, n_bytes, names[i], tokenizer, err);
    }
    free(data);
    return rc;
}

void weir_tokenizer_free(struct weir_tokenizer *tokenizer)
{
    if (!tokenizer)
        return;
    weir_vocab_fini(&tokenizer->vocab);
    weir_merges_fini(&tokenizer->merges);
    weir_joins_fini(&tokenizer->joins);
    weir_matcher_fini(&tokenizer->raw);
    weir_matcher_fini(&tokenizer->normalized);
    free(tokenizer->ranks);
    free(tokenizer);
}

size_t weir_tokenizer_n_vocab(const struct weir_tokenizer *tokenizer)
{
    return tokenizer->vocab.n;
}

int weir_tokenizer_has(const struct weir_tokenizer *tokenizer, int32_t id)
{
    return id >= 0 && (size_t)id < tokenizer->vocab.n &&
           tokenizer->vocab.pieces[id].flags;
}

int32_t weir_tokenizer_bos(const struct weir_tokenizer *tokenizer)
{
    return tokenizer->bos;
}
