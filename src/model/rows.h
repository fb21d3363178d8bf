/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operations on rows of kernels.h, with the tokens of a chunk shared among
 * the threads of the model's pool.  Few tokens are done by the caller alone.
 */
#ifndef WEIR_MODEL_ROWS_H
#define WEIR_MODEL_ROWS_H

#include "model/jamba.h"

/* y[t] = norm(x[t]) of n values, x [n_tok][ld] and y [n_tok][ld]; y may be x */
void weir_rows_norm(const struct weir_jamba *jamba, const float *x, size_t ld,
                    size_t n_tok, size_t n, const float *weight, float *y);

/* gate[t] = silu(gate[t]) * up[t], [n_tok][n] */
void weir_rows_silu_mul(const struct weir_jamba *jamba, float *gate,
                        const float *up, size_t n_tok, size_t n);

/* y[t] += x[t], [n_tok][n] */
void weir_rows_add(const struct weir_jamba *jamba, float *y, const float *x,
                   size_t n_tok, size_t n);

/* y[t] = 0, [n_tok][n] */
void weir_rows_clear(const struct weir_jamba *jamba, float *y, size_t n_tok,
                     size_t n);

/* y[t] = norm(x[from[t]]), [n_tok][n] */
void weir_rows_gather_norm(const struct weir_jamba *jamba, const float *x,
                           const uint32_t *from, size_t n_tok, size_t n,
                           const float *weight, float *y);

/* y[to[t]] += weight[t] * x[t], t ascending, x [n_tok][n] */
void weir_rows_scatter_add(const struct weir_jamba *jamba, const float *x,
                           const uint32_t *to, const float *weight,
                           size_t n_tok, size_t n, float *y);

/* y[t] = x[t] as `dtype`, WEIR_F32 or WEIR_BF16, [n_tok][n] */
void weir_rows_convert(const struct weir_jamba *jamba, const float *x,
                       size_t n_tok, size_t n, enum weir_dtype dtype, void *y);

#endif
