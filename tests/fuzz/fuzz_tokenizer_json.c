/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json. */
#include <stdio.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tokenizer.h"

/*
 * Nothing is done to the text, every character is a piece or bytes, bytes are
 * put together again, and each piece is shown as it is spelt.
 */
static int is_exact(const struct weir_tokenizer *tokenizer)
{
    const struct weir_vocab *vocab = &tokenizer->vocab;

    if (!tokenizer->cuts || tokenizer->normalizers.n || tokenizer->metaspace ||
        !tokenizer->runs || tokenizer->n_strip)
        return 0;
    for (size_t i = 0; i < vocab->n; i++)
        if (vocab->pieces[i].text.at != vocab->pieces[i].shown.at ||
            vocab->pieces[i].text.n_bytes != vocab->pieces[i].shown.n_bytes)
            return 0;
    return 1;
}

/* An entry of the vocabulary before others. */
static void add_byte(struct weir_buf *out, unsigned byte)
{
    char entry[32];
    int n = snprintf(entry, sizeof(entry), "\"<0x%02X>\":%u,", byte, byte);

    weir_buf_add(out, entry, (size_t)n, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static const struct fuzz_tokenizer kind = {1, add_byte, is_exact};
    size_t at = 0;

    while (at < n_bytes && data[at] && strchr(" \t\r\n", data[at]))
        at++;
    if (at < n_bytes && data[at] == '{')
        fuzz_tokenizer(&kind, (const char *)data, n_bytes);
    return 0;
}
