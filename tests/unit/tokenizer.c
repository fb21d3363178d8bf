/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The golden values of both kinds of file, streaming against whole decoding,
 * special tokens, and damaged files.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/tap.h"
#include "tests/unit/tokenizer_check.h"

/* Byte runs of a tokenizer.json: one bad byte spoils the whole run. */
static void check_json_bytes(const struct weir_tokenizer *t)
{
    int32_t b = 10; /* <0x00> */

    tap_ok(DECODES(t, 1, "\xc3\xa9", b + 0xc3, b + 0xa9) &&
               DECODES(t, 1, "\xef\xbf\xbd", b + 0xc3) &&
               DECODES(t, 1, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", b + 0xc3,
                       b + 0xa9, b + 0xc3) &&
               DECODES(t, 1, "\xef\xbf\xbd<|bom|>\xef\xbf\xbd", b + 0xc3, 4,
                       b + 0xa9) &&
               DECODES(t, 0, "\xc3\xa9", b + 0xc3, 4, b + 0xa9),
           "tokenizer.json: runs of bytes");
    tap_ok(DECODES(t, 1, "  a", 430, 430, 436) && DECODES(t, 1, "", 430) &&
               DECODES(t, 1, "<|bom|> ", 4, 430),
           "tokenizer.json: the first space is stripped");
}

static void check_small(void)
{
    char dir[4096];
    struct weir_buf file;
    struct weir_tokenizer *t;

    snprintf(dir, sizeof(dir), "%s/tests/golden/tokenizer",
             getenv("srcdir") ? getenv("srcdir") : ".");
    file = tok_load(dir, "small.tokenizer.json");
    t = tok_parse(file.data, file.n_bytes);
    tap_ok(t && weir_tokenizer_n_vocab(t) == 2048 &&
               weir_tokenizer_bos(t) == -1,
           "small.tokenizer.json loads");
    if (t) {
        tok_check_rows(t, dir, "small.golden.json");
        tok_check_streaming(t, "small.tokenizer.json", 10);
        tok_check_bad_text(t);
        tok_check_bad_ids(t);
        check_json_bytes(t);
        tok_check_long_run(t, 10);
        tap_ok(tok_finds(t, "<|bom|><|user|>", 1, 0, 10) == 1 &&
                   tok_finds(t, "<|bom|><|user|>", 0, 0, 10) == 0,
               "special tokens only on request");
        tok_check_damage(&file, "small.tokenizer.json", 300, 997);
    }
    weir_tokenizer_free(t);
    weir_buf_fini(&file);
}

/* Byte runs of SentencePiece: each bad byte by itself. */
static void check_spm_bytes(const struct weir_tokenizer *t)
{
    int32_t b = 1544;

    tap_ok(
        DECODES(t, 1, "\xc3\xa9\xef\xbf\xbd", b + 0xc3, b + 0xa9, b + 0xc3) &&
            DECODES(t, 1,
                    "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
                    "A",
                    b + 0xf0, b + 0x9f, b + 0x99, b + 'A') &&
            DECODES(t, 1, "\xef\xbf\xbd<|bom|>\xef\xbf\xbd", b + 0xc3, 519,
                    b + 0xa9) &&
            DECODES(t, 0, "\xef\xbf\xbd\xef\xbf\xbd", b + 0xc3, 519,
                    b + 0xa9) &&
            DECODES(t, 1, " ", 62934),
        "SentencePiece: runs of bytes");
}

/* Bytes that no character begins with are not waited upon. */
static void check_haste(const struct weir_tokenizer *t)
{
    static const unsigned char bytes[] = {0xff, 0xe2, 0x41, 0xf0,
                                          0x9f, 0x99, 0x82};
    static const size_t wanted[] = {3, 0, 4, 0, 0, 0, 4};
    struct weir_detokenizer d;
    const char *text;
    size_t n;
    int good = 1;

    if (weir_detokenizer_init(&d, t, NULL))
        return;
    for (size_t i = 0; i < sizeof(bytes); i++)
        good &=
            !weir_detokenizer_push(&d, 1544 + bytes[i], 1, &text, &n, NULL) &&
            n == wanted[i];
    tap_ok(good, "SentencePiece: bytes come out as soon as they can");
    weir_detokenizer_fini(&d);
}

static void check_jamba(const char *golden)
{
    char dir[4096];
    struct weir_buf file;
    struct weir_tokenizer *t;

    snprintf(dir, sizeof(dir), "%s/tokenizer", golden);
    file = tok_load(dir, "jamba.model");
    t = tok_parse(file.data, file.n_bytes);
    tap_ok(t && weir_tokenizer_n_vocab(t) == 65536 &&
               weir_tokenizer_bos(t) == 1,
           "jamba.model loads");
    if (t) {
        tok_check_rows(t, dir, "jamba.golden.json");
        tok_check_streaming(t, "jamba.model", 1544);
        check_spm_bytes(t);
        check_haste(t);
        tok_check_long_run(t, 1544);
        tok_check_bad_text(t);
        tok_check_bad_ids(t);
        tap_ok(ENCODES(t, "<|startoftext|><|bom|><|user|> Hi<|eom|>", 1, 1, 1,
                       519, 521, 16634, 518) &&
                   tok_finds(t, "<|bom|><|mask_0|><|unk|></documents>", 0, 0,
                             1543) == 0 &&
                   ENCODES(t, ",", 0, 1, 1, 1543),
               "special tokens only on request, a comma always");
        tok_check_damage(&file, "jamba.model", 40, file.n_bytes / 40 + 1);
    }
    weir_tokenizer_free(t);
    weir_buf_fini(&file);
}

int main(void)
{
    const char *golden = getenv("WEIR_GOLDEN_DIR");

    check_small();
    if (golden)
        check_jamba(golden);
    else
        tap_skip("WEIR_GOLDEN_DIR is not set, so there is no jamba.model");
    return tap_done();
}
