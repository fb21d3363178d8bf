/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each piece decodes to a text that was fixed when the file was read, so what
 * is left to do is to put bytes together and to strip the front of the text.
 */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/token_text.h"
#include "text/tokenizer_impl.h"

#define DECODED_BYTES (8UL << 30) /* most that one call decodes to */

static void restart(struct weir_detokenizer *d)
{
    d->n_held = d->n_out = d->n_pieces = 0;
    d->n_strip = d->tokenizer->n_strip;
    d->strips_piece = d->tokenizer->strips_first;
    d->stripped = d->visible = 0;
}

int weir_detokenizer_init(struct weir_detokenizer *d,
                          const struct weir_tokenizer *tokenizer,
                          struct weir_err *err)
{
    size_t n_out = 3 * WEIR_RUN_BYTES + 1 + tokenizer->max_shown_bytes;

    memset(d, 0, sizeof(*d));
    d->tokenizer = tokenizer;
    d->out = malloc(n_out);
    d->held = malloc(WEIR_RUN_BYTES);
    if (!d->out || !d->held) {
        weir_detokenizer_fini(d);
        return weir_err_nomem(err, n_out + WEIR_RUN_BYTES, "decoding");
    }
    restart(d);
    return 0;
}

void weir_detokenizer_fini(struct weir_detokenizer *d)
{
    free(d->out);
    free(d->held);
    memset(d, 0, sizeof(*d));
}

static void put(struct weir_detokenizer *d, const void *text, size_t n_bytes)
{
    memcpy(d->out + d->n_out, text, n_bytes);
    d->n_out += n_bytes;
}

static void drop_held(struct weir_detokenizer *d, size_t n_bytes)
{
    d->n_held -= n_bytes;
    memmove(d->held, d->held + n_bytes, d->n_held);
}

static void replace_held(struct weir_detokenizer *d, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++)
        put(d, WEIR_UTF8_REPLACEMENT, strlen(WEIR_UTF8_REPLACEMENT));
    drop_held(d, n_bytes);
}

/*
 * SentencePiece: characters come out as soon as they are whole, bytes that
 * begin none become U+FFFD one by one.
 */
static void release_chars(struct weir_detokenizer *d, int run_ends)
{
    size_t length;

    while (d->n_held) {
        length = weir_utf8_char(d->held, d->n_held);
        if (length) {
            put(d, d->held, length);
            drop_held(d, length);
        } else if (run_ends || !weir_utf8_unfinished(d->held, d->n_held)) {
            replace_held(d, 1);
        } else {
            break;
        }
    }
}

/*
 * tokenizer.json: one bad byte spoils the whole run.  A run that fills the
 * memory for it is ended by force, but never inside a character.
 */
static void release_run(struct weir_detokenizer *d, int run_ends)
{
    size_t valid;

    if (!run_ends && d->n_held < WEIR_RUN_BYTES)
        return;
    valid = weir_utf8_valid(d->held, d->n_held);
    if (valid < d->n_held &&
        (run_ends ||
         !weir_utf8_unfinished(d->held + valid, d->n_held - valid))) {
        replace_held(d, d->n_held);
        return;
    }
    put(d, d->held, valid);
    drop_held(d, valid);
}

static void release(struct weir_detokenizer *d, int run_ends)
{
    if (d->tokenizer->is_sentencepiece)
        release_chars(d, run_ends);
    else if (d->n_held)
        release_run(d, run_ends);
    if (d->n_out)
        d->visible = 1;
}

/* How much is left to strip once what is held has come out as it is */
static uint32_t strip_left(const struct weir_detokenizer *d)
{
    const char *strip =
        weir_vocab_at(&d->tokenizer->vocab, d->tokenizer->strip);
    size_t n = d->tokenizer->strip.n_bytes, at = 0;
    uint32_t left = d->n_strip;

    for (; left && at < d->n_held; at += n, left--)
        if (d->n_held - at < n || memcmp(d->held + at, strip, n))
            return 0;
    return left;
}

struct weir_token_front weir_detokenizer_front(const struct weir_detokenizer *d)
{
    return (struct weir_token_front){
        .n_strip = strip_left(d),
        .is_first = d->n_pieces == 0,
        .strips_piece =
            d->strips_piece && !d->stripped && !d->visible && !d->n_held,
    };
}

/* SentencePiece: which of the pieces that are left may lose their space */
static void see_piece(struct weir_detokenizer *d,
                      const struct weir_piece *piece,
                      struct weir_token_front front, int hidden)
{
    d->strips_piece = front.strips_piece;
    d->stripped = !hidden && front.strips_piece &&
                  piece->first.n_bytes < piece->shown.n_bytes &&
                  !d->tokenizer->strips_more;
}

static void put_piece(struct weir_detokenizer *d,
                      const struct weir_piece *piece, int hidden)
{
    const struct weir_tokenizer *tokenizer = d->tokenizer;
    const struct weir_token_front front = weir_detokenizer_front(d);
    struct weir_span text = weir_piece_text(tokenizer, piece, front, hidden);

    if (tokenizer->is_sentencepiece)
        see_piece(d, piece, front, hidden);
    else if (tokenizer->joins_with_space && d->n_pieces)
        put(d, " ", 1);
    put(d, weir_vocab_at(&tokenizer->vocab, text), text.n_bytes);
    if (text.n_bytes)
        d->visible = 1;
    d->n_pieces++;
}

/* Gives what `out` holds, less what the decoder strips from the front. */
static void give(struct weir_detokenizer *d, const char **text, size_t *n_bytes)
{
    const struct weir_tokenizer *tokenizer = d->tokenizer;
    const char *strip = weir_vocab_at(&tokenizer->vocab, tokenizer->strip);
    size_t n = tokenizer->strip.n_bytes;

    *text = d->out;
    *n_bytes = d->n_out;
    while (d->n_strip && *n_bytes) {
        if (*n_bytes < n || memcmp(*text, strip, n)) {
            d->n_strip = 0;
            break;
        }
        *text += n;
        *n_bytes -= n;
        d->n_strip--;
    }
}

static int check_id(const struct weir_tokenizer *tokenizer, int32_t id,
                    struct weir_err *err)
{
    size_t n = tokenizer->vocab.n;

    if (id < 0 || (size_t)id >= n)
        return weir_err_set(err, WEIR_EARG,
                            "token id %d is not in the vocabulary, which has "
                            "ids from 0 to %zu",
                            id, n - 1);
    if (!tokenizer->vocab.pieces[id].flags)
        return weir_err_set(err, WEIR_EARG,
                            "token id %d is not in the vocabulary, which has "
                            "a gap there",
                            id);
    return 0;
}

int weir_detokenizer_push(struct weir_detokenizer *d, int32_t id,
                          int special_shown, const char **text, size_t *n_bytes,
                          struct weir_err *err)
{
    const struct weir_tokenizer *tokenizer = d->tokenizer;
    const struct weir_piece *piece;
    int hidden, rc = check_id(tokenizer, id, err);

    *text = d->out;
    *n_bytes = 0;
    if (rc)
        return rc;
    piece = &tokenizer->vocab.pieces[id];
    hidden = piece->flags & WEIR_PIECE_SPECIAL && !special_shown;
    if (hidden && !tokenizer->is_sentencepiece)
        return 0;
    d->n_out = 0;
    if (weir_piece_is_byte(tokenizer, piece)) {
        d->held[d->n_held++] = (unsigned char)piece->byte;
        d->n_pieces++;
        release(d, 0);
    } else {
        release(d, 1);
        put_piece(d, piece, hidden);
    }
    give(d, text, n_bytes);
    return 0;
}

void weir_detokenizer_finish(struct weir_detokenizer *d, const char **text,
                             size_t *n_bytes)
{
    d->n_out = 0;
    release(d, 1);
    give(d, text, n_bytes);
    restart(d);
}

static int decode_into(struct weir_buf *out, struct weir_detokenizer *d,
                       const int32_t *ids, size_t n_ids, int special_shown,
                       struct weir_err *err)
{
    const char *text;
    size_t n_bytes;
    int rc = 0;

    for (size_t i = 0; !rc && i < n_ids; i++) {
        rc = weir_detokenizer_push(d, ids[i], special_shown, &text, &n_bytes,
                                   err);
        if (!rc)
            rc = weir_buf_add(out, text, n_bytes, err);
    }
    if (rc)
        return rc;
    weir_detokenizer_finish(d, &text, &n_bytes);
    return weir_buf_add(out, text, n_bytes, err);
}

int weir_tokenizer_decode(const struct weir_tokenizer *tokenizer,
                          const int32_t *ids, size_t n_ids, int special_shown,
                          char **text, size_t *n_bytes, struct weir_err *err)
{
    struct weir_buf out = WEIR_BUF(DECODED_BYTES);
    struct weir_detokenizer d;
    int rc;

    *text = NULL;
    *n_bytes = 0;
    rc = weir_detokenizer_init(&d, tokenizer, err);
    if (rc)
        return rc;
    rc = decode_into(&out, &d, ids, n_ids, special_shown, err);
    weir_detokenizer_fini(&d);
    if (rc) {
        weir_buf_fini(&out);
        return rc;
    }
    *text = out.data;
    *n_bytes = out.n_bytes;
    return 0;
}
