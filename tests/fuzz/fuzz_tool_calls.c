/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a model wrote, with calls of tools in it or not.  However it is cut, the
 * same comes out; without calls it is all there.
 */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "serve/tool_calls.h"
#include "tests/fuzz/fuzz.h"

/* Parts of one kind, each with a byte before it that says which kind */
struct result {
    struct weir_buf buf;
    int last;
    size_t n_text;
};

static int collect(void *ctx, enum weir_call_part kind, const char *text,
                   size_t n_bytes)
{
    struct result *result = ctx;
    char mark = (char)kind;

    FUZZ_CHECK(n_bytes > 0 || kind == WEIR_CALL_NAME);
    if (kind != (enum weir_call_part)result->last || kind == WEIR_CALL_NAME)
        weir_buf_add(&result->buf, &mark, 1, NULL);
    weir_buf_add(&result->buf, text, n_bytes, NULL);
    result->last = (int)kind;
    result->n_text += kind == WEIR_CALL_TEXT ? n_bytes : 0;
    return 0;
}

/* Pieces lie in memory of their own that is gone when the next one comes. */
static size_t parse(const struct weir_tool_style *style, const uint8_t *data,
                    size_t n_bytes, size_t n_piece, struct result *result)
{
    struct weir_tool_parser parser;

    *result = (struct result){.buf = WEIR_BUF(1 << 24), .last = -1};
    weir_tool_parser_init(&parser, style);
    for (size_t at = 0; at < n_bytes; at += n_piece) {
        size_t n = n_bytes - at < n_piece ? n_bytes - at : n_piece;
        char *piece = malloc(n);

        if (piece) {
            memcpy(piece, data + at, n);
            weir_tool_parser_push(&parser, piece, n, collect, result);
        }
        free(piece);
    }
    weir_tool_parser_finish(&parser, collect, result);
    return parser.n_calls;
}

static void try_style(const struct weir_tool_style *style, const uint8_t *data,
                      size_t n_bytes)
{
    size_t n_calls;
    struct result whole, cut;

    n_calls = parse(style, data, n_bytes, n_bytes + 1, &whole);
    FUZZ_CHECK(whole.n_text <= n_bytes);
    FUZZ_CHECK(memmem(data, n_bytes, style->begin, strlen(style->begin)) ||
               whole.n_text == n_bytes);
    for (size_t n_piece = 1; n_piece < 6; n_piece++) {
        FUZZ_CHECK(parse(style, data, n_bytes, n_piece, &cut) == n_calls);
        FUZZ_CHECK(cut.buf.n_bytes == whole.buf.n_bytes);
        FUZZ_CHECK(whole.buf.n_bytes == 0 ||
                   !memcmp(cut.buf.data, whole.buf.data, whole.buf.n_bytes));
        weir_buf_fini(&cut.buf);
    }
    weir_buf_fini(&whole.buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static const struct weir_tool_style styles[] = {
        {"<tool_calls>", "</tool_calls>", 1},
        {"<tool_call>", "</tool_call>", 0},
        {"aabaaab", "b", 0}};
    struct weir_choice choice = {.text = (const char *)data,
                                 .n_bytes = n_bytes,
                                 .finish_reason = "stop"};

    for (int i = 0; i < 3; i++)
        try_style(&styles[i], data, n_bytes);
    if (n_bytes)
        json_decref(weir_tool_message(&choice, &styles[n_bytes & 1], "x"));
    return 0;
}
