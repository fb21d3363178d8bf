/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of operations that a forward pass is made of, and the contract of
 * each.  Everything above reaches arithmetic through this table only.
 *
 * Common to all: matrices are row-major, `ld_` is the distance between rows in
 * elements, operands do not overlap unless said, pointers to f32 are aligned to
 * 4 bytes and may be aligned better, nothing is allocated, nothing is kept
 * between calls, any number of threads may call at once.  A result depends on
 * its operands only: not on how many tokens or rows a call holds, so that a
 * caller may cut work as it likes and get the same bits.  The `ref` level is
 * the oracle: f32 throughout, sums in the order that is documented here; other
 * levels agree with it to 1e-5 of the 2-norm unless an entry says otherwise.
 */
#ifndef WEIR_KERNELS_H
#define WEIR_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/err.h"

/*
 * Rows of one column block of a weight matrix as they lie in a weir file:
 * [rows][cols], each row padded with zeros to row_bytes, a multiple of 64.
 * `data` is aligned to 64 bytes.
 */
struct weir_tile {
    const void *data;
    enum weir_dtype dtype;
    size_t rows;
    size_t cols;
    size_t row_bytes;
};

/* Partial sums that block_fold keeps alive for 8 column blocks. */
#define WEIR_MAX_PARTIALS 4

/* Where the sum of column block `block` goes before it is folded. */
static inline unsigned weir_partial_of(unsigned block)
{
    return (unsigned)__builtin_popcount(block);
}

/*
 * The selective scan of Mamba-1 (Gu and Dao 2023, algorithm 2), for channels
 * [0, n_ch) and tokens [0, n_tok) in order, with everything that follows
 * dt_proj up to the gate (steps 6 to 10 of a Jamba mixer):
 *
 *   delta = softplus(dt[t][c] + dt_bias[c])   v > 20: v, else log1p(exp(v))
 *   S[c][n] = exp(delta * A[c][n]) * S[c][n] + delta * B[t][n] * u[t][c]
 *   y[t][c] = (sum over n of S[c][n] * C[t][n] + D[c] * u[t][c])
 *             * silu(z[t][c])
 *
 * All f32.  y may be u or z.
 */
struct weir_scan {
    size_t n_tok, n_ch, n_state;
    const float *u;       /* [n_tok][ld_u], after conv and silu */
    const float *dt;      /* [n_tok][ld_dt], W_dt times dt, without its bias */
    const float *dt_bias; /* [n_ch] */
    const float *a;       /* [n_ch][n_state], -exp(A_log) */
    const float *b;       /* [n_tok][ld_bc], after its norm */
    const float *c;       /* [n_tok][ld_bc], after its norm */
    const float *d;       /* [n_ch] */
    const float *z;       /* [n_tok][ld_z], before silu */
    float *state;         /* [n_ch][n_state], updated */
    float *y;             /* [n_tok][ld_y] */
    size_t ld_u, ld_dt, ld_bc, ld_z, ld_y;
};

/*
 * The causal depthwise convolution and its activation, for channels [0, n_ch):
 *
 *   v[t][c] = bias[c] + sum over j of w[c][j] * x[t - (k - 1) + j][c]
 *   y[t][c] = silu(v[t][c])
 *
 * x before the first token comes from `state`, which is left holding the last
 * k - 1 inputs, oldest first.  The sum runs from the bias up, j ascending.
 */
struct weir_conv {
    size_t n_tok, n_ch, k;
    const float *x;    /* [n_tok][ld_x] */
    const float *w;    /* [n_ch][k]; w[c][k - 1] multiplies the current token */
    const float *bias; /* [n_ch], or NULL for zeros */
    float *state;      /* [n_ch][k - 1] */
    float *y;          /* [n_tok][ld_y], not x */
    size_t ld_x, ld_y;
};

/*
 * Causal attention over the positions [first, first + n_pos), for tokens
 * [0, n_tok), of which token t sees positions [0, n_past + t].  Query heads
 * share heads of K and V in groups of n_heads / n_kv neighbours.  Softmax of
 * q.k * scale in one pass over positions ascending (Milakov and Gimelshein
 * 2018), f32; q.k summed as in matmul.
 *
 * What is left of each token and head is a part, which attention_join() goes on
 * with: the largest score m, the sum of exp(score - m), and the sum of
 * exp(score - m) * v; of no position at all: -infinity, 0 and zeros.
 */
struct weir_attention {
    size_t n_tok, n_past, n_heads, n_kv, head_dim;
    size_t first, n_pos;
    float scale;
    enum weir_dtype kv_dtype; /* WEIR_F32 or WEIR_BF16 */
    const float *q;           /* [n_tok][ld_q], of it [n_heads][head_dim] */
    const void *k; /* [position][ld_kv] of kv_dtype, of it [n_kv][head_dim] */
    const void *v; /* the same; both from position 0 on */
    float *part;   /* [n_tok][ld_part], of it [n_heads][weir_part_size()] */
    size_t ld_q, ld_kv, ld_part;
};

/* Floats of a part: head_dim sums of v, the sum, the largest score. */
static inline size_t weir_part_size(size_t head_dim)
{
    return head_dim + 2;
}

/*
 * Products of many tokens, as a prompt has them.  Activations are rounded to
 * `act` and packed once for all tiles that meet them; the products come out
 * turned round, [row][token], are summed over column blocks like that, and are
 * turned back by turn_scale_bias().
 *
 * At most WEIR_GEMM_ROWS rows and WEIR_GEMM_TOK tokens go into one call, and
 * tokens are packed in groups of WEIR_GEMM_GROUP.  A sum runs over columns
 * ascending, one by one (f32) or in pairs (bf16), and depends neither on the
 * tokens beside it nor on the rows.
 */
#define WEIR_GEMM_ROWS  64
#define WEIR_GEMM_TOK   256
#define WEIR_GEMM_GROUP 16

struct weir_gemm {
    const char *name;
    enum weir_dtype act; /* WEIR_F32 or WEIR_BF16 */
    unsigned terms;      /* of `act` that add up to an activation: 1, or 2 */
    size_t best_tok;     /* tokens that a call should have at most */

    /* Of n_tok tokens, a sum over whole groups; 0 for none.  Overflows not. */
    size_t (*packed_bytes)(size_t n_tok, size_t cols);

    /*
     * x [n_tok][ld_x] of `cols` columns into `packed`, aligned to 64.  Tokens
     * from t on, t a multiple of WEIR_GEMM_GROUP, may be packed by themselves
     * packed_bytes(t, cols) behind it.  16 ld_x fit into an int.
     */
    void (*pack)(const float *x, size_t ld_x, size_t n_tok, size_t cols,
                 void *packed);

    /* What multiply() wants for tiles of at most max_cols columns */
    size_t (*scratch_bytes)(size_t max_cols);

    /*
     * c[r][t] = sum over columns of w[r] * x[t], as matmul has it of rounded x.
     * c is aligned to 64 and ld_c a multiple of WEIR_GEMM_GROUP; rows and
     * tokens up to the next multiples of it may be written too.  scratch is
     * aligned to 64.
     */
    void (*multiply)(const struct weir_tile *w, const void *packed,
                     size_t n_tok, float *c, size_t ld_c, void *scratch);
};

/* Their kinds, by weights and by what is kept of activations */
enum weir_gemm_class {
    WEIR_GEMM_I8,
    WEIR_GEMM_I8_FINE,
    WEIR_GEMM_BF16,
    WEIR_GEMM_BF16_FINE,
    WEIR_GEMM_WIDE,
    WEIR_N_GEMM_CLASSES
};

struct weir_kernels {
    /*
     * y[t][r] = sum over c of w[r][c] * x[t][c], with x [n_tok][ld_x], y
     * [n_tok][ld_y].  Weights widen exactly; an int8 row is not scaled here.
     * ref: 16 interleaved sums (c mod 16, c ascending), then halves added
     * (8, 4, 2, 1).
     */
    void (*matmul)(const struct weir_tile *w, const float *x, size_t ld_x,
                   size_t n_tok, float *y, size_t ld_y);

    /*
     * One step of the sum over column blocks as the binary tree
     * ((0+1)+(2+3))+((4+5)+(6+7)).  partial is [WEIR_MAX_PARTIALS][ld] and the
     * first n of each row are used.  The caller computes block b = 0, 1, ...
     * into partial[weir_partial_of(b)] and calls this; after the last block
     * (1 or 8 in all) the total is in partial[0].
     */
    void (*block_fold)(float *partial, size_t ld, size_t n, unsigned block);

    /*
     * y[t][r] = src[t][r] * scale[r] + bias[r]; scale or bias may be NULL for
     * ones and zeros.  y may be src.
     */
    void (*scale_bias)(const float *src, size_t ld_src, size_t n_tok, size_t n,
                       const float *scale, const float *bias, float *y,
                       size_t ld_y);

    /* y[t][r] = src[r][t] * scale[r] + bias[r], as scale_bias; y is not src */
    void (*turn_scale_bias)(const float *src, size_t ld_src, size_t n_tok,
                            size_t n, const float *scale, const float *bias,
                            float *y, size_t ld_y);

    /*
     * y[t][i] = x[t][i] * (1 / sqrt(mean of x[t]^2 + eps)) * weight[i], the
     * squares summed as in matmul.  y may be x (Zhang and Sennrich 2019).
     */
    void (*rms_norm)(const float *x, size_t ld_x, size_t n_tok, size_t n,
                     const float *weight, float eps, float *y, size_t ld_y);

    /* gate[t][i] = silu(gate[t][i]) * up[t][i]; silu(v) = v / (1 + exp(-v)) */
    void (*silu_mul)(float *gate, size_t ld_gate, const float *up, size_t ld_up,
                     size_t n_tok, size_t n);

    /* y[t][i] += x[t][i] * (weight ? weight[t] : 1) */
    void (*add_scaled)(float *y, size_t ld_y, const float *x, size_t ld_x,
                       const float *weight, size_t n_tok, size_t n);

    /*
     * The router: softmax over all n_experts logits of each token in f32, then
     * the k most probable, in ascending order of expert; their probabilities
     * are not renormalised.  Of equals the lower expert wins; levels may see
     * probabilities as equal that differ in their last bits at another.
     * expert [n_tok][k], prob [n_tok][k]; k <= n_experts <= 1024.
     */
    void (*route)(const float *logits, size_t ld_logits, size_t n_tok,
                  size_t n_experts, size_t k, uint32_t *expert, float *prob);

    void (*conv)(const struct weir_conv *conv);
    void (*scan)(const struct weir_scan *scan);
    void (*attention)(const struct weir_attention *attention);

    /*
     * Joins the n_parts parts of neighbouring spans of positions, each
     * [n_heads][weir_part_size()] and ld_part after the one before, into the
     * first, one by one.  y [n_heads][head_dim] receives the sums of v over
     * the sum, the attention; NULL when other parts are still to come.
     */
    void (*attention_join)(float *part, size_t ld_part, size_t n_parts,
                           size_t n_heads, size_t head_dim, float *y);

    /*
     * How products of many tokens are done: with weights of int8 and bf16; with
     * the same, where activations must keep 16 bits at least; and with weights
     * of any type, in f32.  NULL where matmul does them.
     */
    const struct weir_gemm *gemm, *gemm_fine, *gemm_wide;

    /* A library's that does a class better, as kernels/levels.h has it; NULL */
    const struct weir_gemm *chosen[WEIR_N_GEMM_CLASSES];

    /*
     * Index of the largest of n > 0 values; the lowest of equals.  NaN is
     * passed over, but in x[0], which then is the answer.
     */
    size_t (*argmax)(const float *x, size_t n);

    /*
     * What bounds a forward pass, to be measured: memory and arithmetic.
     *
     * Reads n_bytes at `data`, both multiples of 64, once from end to end as
     * fast as one core can at this level; returns the exclusive or of their
     * 64-bit words, which is the same at all levels.
     */
    uint64_t (*probe_read)(const void *data, size_t n_bytes);

    /*
     * n_steps steps of the instruction that products of many tokens are made
     * of, on registers alone: each of some f32 numbers, which are 0, 1, 2 and
     * so on at first, grows by the sum of `width` products of a and b, which
     * are powers of two.  *sum is what the numbers add up to; returns the
     * floating-point operations done, 2 * width for each number and step.
     */
    uint64_t (*probe_flop)(uint64_t n_steps, float a, float b, unsigned *width,
                           float *sum);
};

/* What products of many tokens are done with; NULL: matmul */
static inline const struct weir_gemm *weir_gemm_for(
    const struct weir_kernels *kernels, enum weir_dtype dtype, int fine)
{
    const struct weir_gemm *own = fine ? kernels->gemm_fine : kernels->gemm;
    unsigned class = fine != 0;

    if (dtype == WEIR_BF16) {
        class += WEIR_GEMM_BF16;
    } else if (dtype != WEIR_I8) {
        class = WEIR_GEMM_WIDE;
        own = kernels->gemm_wide;
    }
    return kernels->chosen[class] ? kernels->chosen[class] : own;
}

/* The operations by name: WEIR_KERNELS(DO) is DO(matmul) and so on. */
#define WEIR_KERNELS(DO)                                                       \
    DO(matmul)                                                                 \
    DO(block_fold)                                                             \
    DO(scale_bias)                                                             \
    DO(turn_scale_bias)                                                        \
    DO(rms_norm)                                                               \
    DO(silu_mul)                                                               \
    DO(add_scaled)                                                             \
    DO(route)                                                                  \
    DO(conv)                                                                   \
    DO(scan)                                                                   \
    DO(attention)                                                              \
    DO(attention_join)                                                         \
    DO(gemm)                                                                   \
    DO(gemm_fine)                                                              \
    DO(gemm_wide)                                                              \
    DO(argmax)                                                                 \
    DO(probe_read)                                                             \
    DO(probe_flop)

/*
 * The fastest operations that this machine can run, as kernels/levels.h has
 * it; the same at every call.  WEIR_EARG when the environment variable
 * WEIR_CPU names no level.
 */
int weir_kernels_select(struct weir_kernels *kernels, struct weir_err *err);

extern const struct weir_kernels weir_kernels_ref;

#endif
