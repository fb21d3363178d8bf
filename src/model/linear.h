/* SPDX-License-Identifier: Apache-2.0 */
/* Products of activations with the matrices of the file. */
#ifndef WEIR_MODEL_LINEAR_H
#define WEIR_MODEL_LINEAR_H

#include "model/jamba.h"

/*
 * How a product is shared out: a slice of the rows of a row group times a slice
 * of the tokens is an item that any thread may take.
 */
struct weir_cut {
    const struct weir_gemm *gemm; /* NULL: matmul */
    const uint8_t *packed;        /* [col_blocks] packed activations of gemm */
    int packs;                    /* x is not that of the product before */
    uint32_t rows, n_row_slices;  /* of a group */
    size_t tok, n_tok_slices;
    size_t first_pack, first_item;
};

/*
 * What a prompt keeps of the activations that go into a product, at the levels
 * that have something narrower than f32.  Experts and MLPs bear bf16.  Mixers
 * do not: what is rounded there goes through exponentials and stays in the
 * state for all tokens that follow.
 */
enum weir_precision {
    WEIR_COARSE, /* as `gemm` rounds them */
    WEIR_FINE,   /* as `gemm_fine` does: 16 bits */
    WEIR_EXACT,  /* f32 */
};

/* What is not part of a prompt keeps all. */
static inline enum weir_precision weir_precision_of(
    enum weir_precision of_prompt, int prompt)
{
    return prompt ? of_prompt : WEIR_EXACT;
}

/*
 * y[t][r] = (sum over c of W[r][c] * x[t][c]) * scale[r] + bias[r] for n_tok <=
 * WEIR_CHUNK_TOK tokens, with x [n_tok][ld_x] and y [n_tok][ld_y] apart from
 * each other.  Sums over column blocks are the tree of block_fold(); scale and
 * bias come after.
 */
struct weir_product {
    const struct weir_linear *linear;
    const float *x;
    size_t ld_x, n_tok;
    float *y;
    size_t ld_y;
    enum weir_precision precision;
    struct weir_cut cut; /* set and used within weir_linear_run() */
};

static inline struct weir_product weir_product(const struct weir_linear *linear,
                                               const float *x, size_t ld_x,
                                               size_t n_tok, float *y,
                                               size_t ld_y)
{
    return (struct weir_product){.linear = linear,
                                 .x = x,
                                 .ld_x = ld_x,
                                 .n_tok = n_tok,
                                 .y = y,
                                 .ld_y = ld_y};
}

/*
 * Computes n products that do not need each other, side by side.  Every thread
 * of the model's pool takes part; the result does not depend on how many they
 * are.  Neighbours with the same x share what is packed of it.  Allocates
 * nothing.  The error, if tiles are bad, is that of the first of them.
 */
int weir_linear_run(struct weir_jamba *jamba, struct weir_product *products,
                    size_t n, struct weir_err *err);

/* One product that is fine if the chunk is of a prompt, and one exact. */
int weir_linear_apply(struct weir_jamba *jamba,
                      const struct weir_linear *linear, const float *x,
                      size_t ld_x, size_t n_tok, float *y, size_t ld_y,
                      struct weir_err *err);
int weir_linear_apply_exact(struct weir_jamba *jamba,
                            const struct weir_linear *linear, const float *x,
                            size_t ld_x, size_t n_tok, float *y, size_t ld_y,
                            struct weir_err *err);

/*
 * Widens row ids[t] of the matrix `tensor` into y[t] [cols], for n_tok tokens
 * of a span: embeddings.  Asks for each tile once, however many rows of it are
 * wanted.  Uses work.expert and work.order.
 */
int weir_linear_rows(struct weir_jamba *jamba, uint32_t tensor,
                     const int32_t *ids, size_t n_tok, float *y,
                     struct weir_err *err);

#endif
