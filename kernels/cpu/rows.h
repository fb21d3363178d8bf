/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operations on rows, written once over the vectors of a level: the file
 * that includes this has included the level's vectors and its exp before.
 *
 * What is done to an element by itself takes the same roundings in the same
 * order as in the reference, but for exp().  The squares of rms_norm are summed
 * in 4 vectors, element i in lane i mod (4 * LANES), each with one rounding;
 * the vectors are added as (0+1)+(2+3), then their lanes as vec_sum() has it.
 */
#ifndef WEIR_KERNELS_CPU_ROWS_H
#define WEIR_KERNELS_CPU_ROWS_H

#include <math.h>

#include "kernels/kernels.h"

#define N_SUMS      4
#define MAX_EXPERTS 1024

static void block_fold(float *partial, size_t ld, size_t n, unsigned block)
{
    float *sum = partial + weir_partial_of(block) * ld;

    for (; block & 1; block >>= 1, sum -= ld)
        for (size_t i = 0; i < n; i += LANES) {
            size_t some = lanes_of(n, i);
            vec both = vec_load(sum - ld + i, some) + vec_load(sum + i, some);

            vec_store(sum - ld + i, both, some);
        }
}

INLINE void scale_row(const float *src, size_t n, const float *scale,
                      const float *bias, float *y)
{
    for (size_t i = 0; i < n; i += LANES) {
        size_t some = lanes_of(n, i);
        vec s = scale ? vec_load(scale + i, some) : vec_all(1.0f);
        vec b = bias ? vec_load(bias + i, some) : vec_all(0.0f);

        vec_store(y + i, vec_load(src + i, some) * s + b, some);
    }
}

static void scale_bias(const float *src, size_t ld_src, size_t n_tok, size_t n,
                       const float *scale, const float *bias, float *y,
                       size_t ld_y)
{
    for (size_t t = 0; t < n_tok; t++, src += ld_src, y += ld_y)
        scale_row(src, n, scale, bias, y);
}

/* Tokens run inside: the lines of src that a gather wants serve several. */
static void turn_scale_bias(const float *src, size_t ld_src, size_t n_tok,
                            size_t n, const float *scale, const float *bias,
                            float *y, size_t ld_y)
{
    for (size_t i = 0; i < n; i += LANES, src += LANES * ld_src) {
        size_t some = lanes_of(n, i);
        vec s = scale ? vec_load(scale + i, some) : vec_all(1.0f);
        vec b = bias ? vec_load(bias + i, some) : vec_all(0.0f);

        for (size_t t = 0; t < n_tok; t++)
            vec_store(y + t * ld_y + i,
                      vec_gather(src + t, ld_src, some) * s + b, some);
    }
}

INLINE float sum_of_squares(const float *x, size_t n)
{
    vec sum[N_SUMS], v;
    size_t i = 0;

    for (unsigned j = 0; j < N_SUMS; j++)
        sum[j] = vec_all(0.0f);
    for (; i + N_SUMS * LANES <= n; i += N_SUMS * LANES)
        UNROLL
    for (unsigned j = 0; j < N_SUMS; j++) {
        v = vec_load(x + i + j * LANES, LANES);
        sum[j] = vec_fma(v, v, sum[j]);
    }
    for (unsigned j = 0; j < N_SUMS && i < n; j++, i += LANES) {
        v = vec_load(x + i, lanes_of(n, i));
        sum[j] = vec_fma(v, v, sum[j]);
    }
    return vec_sum((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

static void rms_norm(const float *x, size_t ld_x, size_t n_tok, size_t n,
                     const float *weight, float eps, float *y, size_t ld_y)
{
    for (size_t t = 0; t < n_tok; t++, x += ld_x, y += ld_y) {
        float mean = sum_of_squares(x, n) / (float)n;
        vec factor = vec_all(1.0f / sqrtf(mean + eps));

        for (size_t i = 0; i < n; i += LANES) {
            size_t some = lanes_of(n, i);

            vec_store(y + i,
                      vec_load(x + i, some) * factor *
                          vec_load(weight + i, some),
                      some);
        }
    }
}

static void silu_mul(float *gate, size_t ld_gate, const float *up, size_t ld_up,
                     size_t n_tok, size_t n)
{
    for (size_t t = 0; t < n_tok; t++, gate += ld_gate, up += ld_up)
        for (size_t i = 0; i < n; i += LANES) {
            size_t some = lanes_of(n, i);

            vec_store(gate + i,
                      vec_silu(vec_load(gate + i, some)) *
                          vec_load(up + i, some),
                      some);
        }
}

static void add_scaled(float *y, size_t ld_y, const float *x, size_t ld_x,
                       const float *weight, size_t n_tok, size_t n)
{
    for (size_t t = 0; t < n_tok; t++, y += ld_y, x += ld_x) {
        vec w = vec_all(weight ? weight[t] : 1.0f);

        for (size_t i = 0; i < n; i += LANES) {
            size_t some = lanes_of(n, i);

            vec_store(y + i, vec_load(y + i, some) + vec_load(x + i, some) * w,
                      some);
        }
    }
}

/* The largest of n > 0 values, NaN passed over; NaN if x[0] is */
INLINE float largest_of(const float *x, size_t n)
{
    vec best[N_SUMS];
    size_t i = 0;

    for (unsigned j = 0; j < N_SUMS; j++)
        best[j] = vec_all(x[0]);
    for (; i + N_SUMS * LANES <= n; i += N_SUMS * LANES)
        for (unsigned j = 0; j < N_SUMS; j++)
            best[j] = vec_max(vec_load(x + i + j * LANES, LANES), best[j]);
    for (; i + LANES <= n; i += LANES)
        best[0] = vec_max(vec_load(x + i, LANES), best[0]);
    for (; i < n; i++)
        best[0] = vec_max(vec_all(x[i]), best[0]);
    return vec_largest(
        vec_max(vec_max(best[0], best[1]), vec_max(best[2], best[3])));
}

/* The first of n that equals `value`; `none` if there is none */
INLINE size_t first_equal(const float *x, size_t n, float value, size_t none)
{
    vec wanted = vec_all(value);
    size_t i = 0;

    for (; i + LANES <= n; i += LANES) {
        unsigned found = vec_equal(vec_load(x + i, LANES), wanted);

        if (found)
            return i + (size_t)__builtin_ctz(found);
    }
    for (; i < n; i++)
        if (x[i] == value)
            return i;
    return none;
}

/* As in the reference: no number at 0 stays, elsewhere it is passed over. */
static size_t argmax(const float *x, size_t n)
{
    return first_equal(x, n, largest_of(x, n), 0);
}

/* exp(x - the largest), lanes past n of the last vector 0; their sum */
INLINE float exp_row(const float *x, size_t n, float *p)
{
    vec largest = vec_all(x[argmax(x, n)]), sum = vec_all(0.0f);

    for (size_t i = 0; i < n; i += LANES) {
        size_t some = lanes_of(n, i);

        vec_store(p + i, vec_exp(vec_load(x + i, some) - largest), some);
        sum += vec_load(p + i, some);
    }
    return vec_sum(sum);
}

/* Takes the k most probable by turns: what is taken is -1 from then on. */
INLINE void choose(float *left, size_t n, size_t k)
{
    for (size_t i = 0; i < k; i++)
        left[argmax(left, n)] = -1.0f;
}

/*
 * Where one logit is no number, all probabilities are none, and the choice
 * falls on the first k.
 */
static void route(const float *logits, size_t ld_logits, size_t n_tok,
                  size_t n_experts, size_t k, uint32_t *expert, float *prob)
{
    float p[MAX_EXPERTS], left[MAX_EXPERTS];

    for (size_t t = 0; t < n_tok; t++, logits += ld_logits) {
        vec sum = vec_all(exp_row(logits, n_experts, p));

        for (size_t e = 0; e < n_experts; e += LANES) {
            size_t some = lanes_of(n_experts, e);
            vec share = vec_load(p + e, some) / sum;

            vec_store(p + e, share, some);
            vec_store(left + e, share, some);
        }
        if (!isnan(p[0]))
            choose(left, n_experts, k);
        for (size_t e = 0, n = 0; n < k && e < n_experts; e++)
            if (left[e] < 0.0f || isnan(p[0])) {
                *expert++ = (uint32_t)e;
                *prob++ = p[e];
                n++;
            }
    }
}

#define ROWS_TABLE                                                             \
    {                                                                          \
        .block_fold = block_fold, .scale_bias = scale_bias,                    \
        .turn_scale_bias = turn_scale_bias, .rms_norm = rms_norm,              \
        .silu_mul = silu_mul, .add_scaled = add_scaled, .route = route,        \
        .argmax = argmax,                                                      \
    }

#endif
