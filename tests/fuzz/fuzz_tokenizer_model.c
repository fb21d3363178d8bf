/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.model, the protocol buffer of SentencePiece. */
#include <stdio.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tokenizer.h"
#include "base/utf8.h"

/*
 * Every character is a piece or bytes, spaces are kept and written as the
 * metaspace, and that is a piece.
 */
static int is_exact(const struct weir_tokenizer *tokenizer)
{
    static const char mark[] = WEIR_UTF8_METASPACE;
    const struct weir_vocab *vocab = &tokenizer->vocab;
    struct weir_span space = tokenizer->replacement;

    return tokenizer->byte_fallback && !tokenizer->collapses_spaces &&
           space.n_bytes == sizeof(mark) - 1 &&
           !memcmp(weir_vocab_at(vocab, space), mark, space.n_bytes) &&
           weir_vocab_find(vocab, mark, sizeof(mark) - 1) >= 0;
}

/* A piece of type 6, without a score. */
static void add_byte(struct weir_buf *out, unsigned byte)
{
    char piece[16];
    int n = snprintf(piece, sizeof(piece), "\n\n\n\x06<0x%02X>\x18\x06", byte);

    weir_buf_add(out, piece, (size_t)n, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static const struct fuzz_tokenizer kind = {(char)0xfe, add_byte, is_exact};
    size_t at = 0;

    while (at < n_bytes && data[at] && strchr(" \t\r\n", data[at]))
        at++;
    if (at == n_bytes || data[at] != '{')
        fuzz_tokenizer(&kind, (const char *)data, n_bytes);
    return 0;
}
