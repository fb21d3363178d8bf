/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "text/tokenizer_impl.h"

#define NORMAL_BYTES (4UL << 30) /* most in a normalised text */

size_t weir_text_ceiling(size_t n_bytes)
{
    size_t ceiling = (16 << 10) + 16 * n_bytes;

    return ceiling < NORMAL_BYTES ? ceiling : NORMAL_BYTES;
}

void weir_scratch_init(struct weir_scratch *scratch, size_t ceiling)
{
    memset(scratch, 0, sizeof(*scratch));
    scratch->bufs[0].ceiling = scratch->bufs[1].ceiling = ceiling;
}

void weir_scratch_fini(struct weir_scratch *scratch)
{
    weir_buf_fini(&scratch->bufs[0]);
    weir_buf_fini(&scratch->bufs[1]);
}

int weir_text_add_op(struct weir_text_ops *ops, const struct weir_text_op *op,
                     const char *what, struct weir_err *err)
{
    if (ops->n == WEIR_TEXT_OPS)
        return weir_err_set(err, WEIR_ELIMIT,
                            "%s: more than %d normalizers or decoders", what,
                            WEIR_TEXT_OPS);
    ops->ops[ops->n++] = *op;
    return 0;
}

int weir_text_replace(struct weir_buf *out, const char *text, size_t n_bytes,
                      const char *pattern, size_t n_pattern,
                      const char *content, size_t n_content,
                      struct weir_err *err)
{
    const char *end = text + n_bytes, *found;
    int rc = 0;

    while (!rc &&
           (found = memmem(text, (size_t)(end - text), pattern, n_pattern))) {
        rc = weir_buf_add(out, text, (size_t)(found - text), err);
        if (!rc)
            rc = weir_buf_add(out, content, n_content, err);
        text = found + n_pattern;
    }
    return rc ? rc : weir_buf_add(out, text, (size_t)(end - text), err);
}

static int starts_with(const char *text, size_t n_bytes, const char *content,
                       size_t n_content)
{
    return n_bytes >= n_content && !memcmp(text, content, n_content);
}

/* Needs no buffer: the result is a part of the text. */
static void strip(const struct weir_text_op *op, const char *content,
                  const char **text, size_t *n_bytes)
{
    size_t n = op->content.n_bytes;

    for (uint32_t i = 0; i < op->n_start; i++) {
        if (!starts_with(*text, *n_bytes, content, n))
            break;
        *text += n;
        *n_bytes -= n;
    }
    for (uint32_t i = 0; i < op->n_stop; i++) {
        if (*n_bytes < n || memcmp(*text + *n_bytes - n, content, n))
            break;
        *n_bytes -= n;
    }
}

static int apply_to(const struct weir_text_op *op,
                    const struct weir_vocab *vocab, int first, const char *text,
                    size_t n_bytes, struct weir_buf *out, struct weir_err *err)
{
    const char *pattern = weir_vocab_at(vocab, op->pattern);
    const char *content = weir_vocab_at(vocab, op->content);
    size_t n_content = op->content.n_bytes;
    int rc;

    if (op->kind == WEIR_OP_PREPEND) {
        rc = weir_buf_add(out, content, n_bytes ? n_content : 0, err);
        return rc ? rc : weir_buf_add(out, text, n_bytes, err);
    }
    if (op->kind == WEIR_OP_METASPACE) {
        content = " ";
        n_content = !(first && op->n_start);
    }
    return weir_text_replace(out, text, n_bytes, pattern, op->pattern.n_bytes,
                             content, n_content, err);
}

int weir_text_apply(const struct weir_text_ops *ops,
                    const struct weir_vocab *vocab,
                    struct weir_scratch *scratch, int first, const char **text,
                    size_t *n_bytes, struct weir_err *err)
{
    const struct weir_text_op *op;
    struct weir_buf *out = &scratch->bufs[0];
    int rc;

    for (size_t i = 0; i < ops->n; i++) {
        op = &ops->ops[i];
        if (op->kind == WEIR_OP_STRIP) {
            strip(op, weir_vocab_at(vocab, op->content), text, n_bytes);
            continue;
        }
        out->n_bytes = 0;
        rc = apply_to(op, vocab, first, *text, *n_bytes, out, err);
        if (rc)
            return rc;
        *text = out->data ? out->data : "";
        *n_bytes = out->n_bytes;
        out = out == &scratch->bufs[0] ? &scratch->bufs[1] : &scratch->bufs[0];
    }
    return 0;
}
