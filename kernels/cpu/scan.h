/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The selective scan, written once over the vectors of a level: the file that
 * includes this has included them before.
 *
 * It goes along the states of a channel: all channels share B and C of a token,
 * and the rows of A and of the state are read as they lie, so that one token
 * needs nothing turned.  Nearly all work is e^(delta A), which is taken as
 * 2^(log2(e) delta A).
 *
 * The sum over states is kept in LANES lanes: state n goes to lane n mod LANES,
 * n ascending, in one rounding each; then the lanes are added as vec_sum_each()
 * has it.  delta * u is rounded before B multiplies it.
 */
#ifndef WEIR_KERNELS_CPU_SCAN_H
#define WEIR_KERNELS_CPU_SCAN_H

#include "kernels/kernels.h"

/*
 * Channels that all tokens pass together: their rates and states stay in the
 * first cache, and their softplus, of which each takes long, overlap.
 */
#define BLOCK 64
#define LINE  16 /* floats */

/* What one token brings to a block of channels and takes from it */
struct token {
    float rate[BLOCK]; /* log2(e) delta */
    float push[BLOCK]; /* delta u */
    vec sum[BLOCK];
};

/* Token t's part for the n channels from c, before their states move */
INLINE void bring(const struct weir_scan *scan, size_t t, size_t c, size_t n,
                  struct token *token)
{
    const float *dt = scan->dt + t * scan->ld_dt + c;
    const float *u = scan->u + t * scan->ld_u + c;
    const float *z = scan->z + t * scan->ld_z + c;

    for (size_t i = 0; i < n; i += LINE) { /* of the next token */
        _mm_prefetch((const char *)(dt + scan->ld_dt + i), _MM_HINT_T0);
        _mm_prefetch((const char *)(u + scan->ld_u + i), _MM_HINT_T0);
        _mm_prefetch((const char *)(z + scan->ld_z + i), _MM_HINT_T0);
    }
    for (size_t i = 0; i < n; i += LANES) {
        size_t some = lanes_of(n, i);
        vec delta = vec_softplus(vec_load(dt + i, some) +
                                 vec_load(scan->dt_bias + c + i, some));

        vec_store(token->rate + i, delta * vec_all(LOG2_E), LANES);
        vec_store(token->push + i, delta * vec_load(u + i, some), LANES);
    }
}

/* Moves one channel on by one token; its sum over states, still in lanes */
INLINE vec step(float *state, const float *a, const float *b, const float *c,
                size_t n_state, float rate, float push)
{
    vec sum = vec_all(0.0f);

    for (size_t n = 0; n < n_state; n += LANES) {
        size_t some = lanes_of(n_state, n);
        vec decay = vec_exp2(vec_all(rate) * vec_load(a + n, some));
        vec s = vec_fma(decay, vec_load(state + n, some),
                        vec_all(push) * vec_load(b + n, some));

        vec_store(state + n, s, some);
        /* an infinite rate or push is no number where a and b end */
        sum = vec_fma(vec_cut(s, some), vec_load(c + n, some), sum);
    }
    return sum;
}

/* What is read out of the channels after they moved, and the gate */
INLINE void take(const struct weir_scan *scan, size_t t, size_t c, size_t n,
                 const struct token *token)
{
    const float *u = scan->u + t * scan->ld_u + c;
    const float *z = scan->z + t * scan->ld_z + c;
    float *y = scan->y + t * scan->ld_y + c;

    for (size_t i = 0; i < n; i += LANES) {
        size_t some = lanes_of(n, i);
        vec sum = vec_fma(vec_load(scan->d + c + i, some),
                          vec_load(u + i, some), vec_sum_each(token->sum + i));

        vec_store(y + i, sum * vec_silu(vec_load(z + i, some)), some);
    }
}

INLINE void scan_of(const struct weir_scan *scan, size_t n_state)
{
    struct token token;

    for (size_t i = 0; i < BLOCK; i++)
        token.sum[i] = vec_all(0.0f);
    for (size_t c = 0; c < scan->n_ch; c += BLOCK) {
        size_t n = scan->n_ch - c < BLOCK ? scan->n_ch - c : BLOCK;
        float *state = scan->state + c * n_state;
        const float *a = scan->a + c * n_state;

        for (size_t t = 0; t < scan->n_tok; t++) {
            const float *b = scan->b + t * scan->ld_bc;
            const float *read_out = scan->c + t * scan->ld_bc;

            bring(scan, t, c, n, &token);
            for (size_t i = 0; i < n; i++)
                token.sum[i] =
                    step(state + i * n_state, a + i * n_state, b, read_out,
                         n_state, token.rate[i], token.push[i]);
            take(scan, t, c, n, &token);
        }
    }
}

static void scan(const struct weir_scan *scan)
{
    if (scan->n_state == 16) /* of all published models */
        scan_of(scan, 16);
    else
        scan_of(scan, scan->n_state);
}

#endif
