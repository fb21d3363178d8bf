/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a detokenizer holds back are byte tokens, each of which comes out as
 * its byte or, when that is part of no character, as U+FFFD.
 */
#include "text/token_text.h"

#include <string.h>

#include "base/utf8.h"
#include "text/tokenizer_impl.h"

struct weir_span weir_piece_text(const struct weir_tokenizer *tokenizer,
                                 const struct weir_piece *piece,
                                 struct weir_token_front front, int hidden)
{
    static const struct weir_span none = {0, 0};

    if (hidden)
        return piece->flags & WEIR_PIECE_UNKNOWN && tokenizer->is_sentencepiece
                   ? tokenizer->unknown_shown
                   : none;
    if (!tokenizer->is_sentencepiece)
        return front.is_first ? piece->first : piece->shown;
    return front.strips_piece && piece->first.n_bytes < piece->shown.n_bytes
               ? piece->first
               : piece->shown;
}

int weir_token_is_special(const struct weir_tokenizer *tokenizer, int32_t id)
{
    return weir_tokenizer_has(tokenizer, id) &&
           tokenizer->vocab.pieces[id].flags & WEIR_PIECE_SPECIAL;
}

/* How many of the bytes are stripped from the front of the text */
static size_t n_stripped(const struct weir_tokenizer *tokenizer,
                         struct weir_token_front front, const char *text,
                         size_t n_bytes)
{
    const char *strip = weir_vocab_at(&tokenizer->vocab, tokenizer->strip);
    size_t n = tokenizer->strip.n_bytes, at = 0;

    while (front.n_strip && n_bytes - at >= n && !memcmp(text + at, strip, n)) {
        at += n;
        front.n_strip--;
    }
    return at;
}

int weir_token_text(const struct weir_tokenizer *tokenizer, int32_t id,
                    struct weir_token_front front, int special_shown,
                    struct weir_buf *out, struct weir_err *err)
{
    int hidden = weir_token_is_special(tokenizer, id) && !special_shown;
    const struct weir_piece *piece;
    struct weir_span span;
    const char *text;
    char byte;
    size_t n;
    int rc = 0;

    if (!weir_tokenizer_has(tokenizer, id))
        return 0;
    piece = &tokenizer->vocab.pieces[id];
    span = weir_piece_text(tokenizer, piece, front, hidden);
    text = weir_vocab_at(&tokenizer->vocab, span);
    n = span.n_bytes;
    if (weir_piece_is_byte(tokenizer, piece)) {
        byte = (char)piece->byte;
        text = &byte;
        n = 1;
    }
    if (tokenizer->joins_with_space && !front.is_first && !hidden)
        rc = weir_buf_add(out, " ", 1, err);
    span.at = (uint32_t)n_stripped(tokenizer, front, text, n);
    return rc ? rc : weir_buf_add(out, text + span.at, n - span.at, err);
}

/* ---- where they stand ---- */

static const struct weir_piece *byte_of(const struct weir_tokenizer *tokenizer,
                                        int32_t id)
{
    const struct weir_piece *piece;

    if (!weir_tokenizer_has(tokenizer, id))
        return NULL;
    piece = &tokenizer->vocab.pieces[id];
    return weir_piece_is_byte(tokenizer, piece) ? piece : NULL;
}

/* Bytes of a run that are part of no character, as its file's kind has it */
static void find_bad(const struct weir_tokenizer *tokenizer, const char *run,
                     size_t n, char *is_bad)
{
    size_t length;

    if (!tokenizer->is_sentencepiece) {
        memset(is_bad, weir_utf8_valid(run, n) < n, n);
        return;
    }
    for (size_t i = 0; i < n; i += length) {
        length = weir_utf8_char(run + i, n - i);
        is_bad[i] = !length;
        length = length ? length : 1;
        memset(is_bad + i, is_bad[i], length);
    }
}

/* The byte tokens that have come out; returns how many. */
static size_t find_run(const struct weir_detokenizer *d,
                       const struct weir_token_place *places, size_t n,
                       char run[WEIR_RUN_BYTES])
{
    const struct weir_piece *piece;
    size_t n_run = 0;

    for (size_t i = 0; i < n && n_run < WEIR_RUN_BYTES; i++) {
        piece = byte_of(d->tokenizer, places[i].id);
        if (piece)
            run[n_run++] = (char)piece->byte;
    }
    return n_run > d->n_held ? n_run - d->n_held : 0;
}

/* Bytes of text that a byte token became; what is replaced is not stripped. */
static size_t byte_size(const struct weir_tokenizer *tokenizer,
                        struct weir_token_place *place, char byte, int is_bad)
{
    if (!is_bad)
        return 1 - n_stripped(tokenizer, place->front, &byte, 1);
    place->front.n_strip = 0;
    return strlen(WEIR_UTF8_REPLACEMENT);
}

size_t weir_token_settle(const struct weir_detokenizer *d,
                         struct weir_token_place *places, size_t from, size_t n,
                         size_t at, size_t n_out)
{
    char run[WEIR_RUN_BYTES], is_bad[WEIR_RUN_BYTES];
    size_t n_run = find_run(d, places + from, n - from, run), k = 0, size;
    size_t end = at + n_out;

    find_bad(d->tokenizer, run, n_run, is_bad);
    for (; from < n; from++) {
        struct weir_token_place *place = &places[from];
        int is_byte = byte_of(d->tokenizer, place->id) != NULL;

        if (is_byte && k == n_run)
            break;
        if (is_byte)
            size = byte_size(d->tokenizer, place, run[k], is_bad[k]);
        else
            size = from + 1 == n ? end - at : 0;
        k += (size_t)is_byte;
        place->from = (uint32_t)at;
        at += size < end - at ? size : end - at;
        place->to = (uint32_t)at;
    }
    return from;
}
