/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the families of the reference level share: its one way to sum, and the
 * functions that its table is made of.  The contracts stand in kernels.h.
 */
#ifndef WEIR_KERNELS_CPU_REF_H
#define WEIR_KERNELS_CPU_REF_H

#include <math.h>

#include "kernels/kernels.h"

/*
 * Sums that run over a row are kept in 16 lanes: element c goes to lane
 * c mod 16, c ascending, and at the end the upper half of the lanes is added
 * to the lower (8, 4, 2, 1).  That fixes the order of rounding whatever the
 * width of the vectors that a compiler uses for it.
 */
#define REF_LANES 16

/* Elements c to c + 15 of a row, widened. */
static inline __attribute__((always_inline)) void ref_widen_lanes(
    enum weir_dtype dtype, const void *row, size_t c, float *w)
{
    const uint16_t *h = (const uint16_t *)row + c;
    const int8_t *b = (const int8_t *)row + c;

    switch (dtype) {
    case WEIR_F32:
        memcpy(w, (const float *)row + c, REF_LANES * sizeof(*w));
        break;
    case WEIR_BF16:
        for (unsigned i = 0; i < REF_LANES; i++)
            w[i] = weir_bf16_to_f32(h[i]);
        break;
    case WEIR_F16:
        for (unsigned i = 0; i < REF_LANES; i++)
            w[i] = weir_f16_to_f32(h[i]);
        break;
    default:
        for (unsigned i = 0; i < REF_LANES; i++)
            w[i] = b[i];
        break;
    }
}

static inline __attribute__((always_inline)) float ref_widen_one(
    enum weir_dtype dtype, const void *row, size_t c)
{
    switch (dtype) {
    case WEIR_F32:
        return ((const float *)row)[c];
    case WEIR_BF16:
        return weir_bf16_to_f32(((const uint16_t *)row)[c]);
    case WEIR_F16:
        return weir_f16_to_f32(((const uint16_t *)row)[c]);
    default:
        return ((const int8_t *)row)[c];
    }
}

/* Sum over c < n of row[c] * x[c]; `dtype` constant where it is called. */
static inline __attribute__((always_inline)) float ref_dot(
    enum weir_dtype dtype, const void *row, const float *x, size_t n)
{
    float lane[REF_LANES] = {0}, w[REF_LANES];
    size_t c;

    for (c = 0; c + REF_LANES <= n; c += REF_LANES) {
        ref_widen_lanes(dtype, row, c, w);
        for (unsigned i = 0; i < REF_LANES; i++)
            lane[i] += w[i] * x[c + i];
    }
    for (; c < n; c++)
        lane[c % REF_LANES] += ref_widen_one(dtype, row, c) * x[c];
    for (unsigned half = REF_LANES / 2; half; half /= 2)
        for (unsigned i = 0; i < half; i++)
            lane[i] += lane[i + half];
    return lane[0];
}

static inline float ref_silu(float v)
{
    return v / (1.0f + expf(-v));
}

void weir_ref_matmul(const struct weir_tile *w, const float *x, size_t ld_x,
                     size_t n_tok, float *y, size_t ld_y);
void weir_ref_block_fold(float *partial, size_t ld, size_t n, unsigned block);
void weir_ref_scale_bias(const float *src, size_t ld_src, size_t n_tok,
                         size_t n, const float *scale, const float *bias,
                         float *y, size_t ld_y);
void weir_ref_turn_scale_bias(const float *src, size_t ld_src, size_t n_tok,
                              size_t n, const float *scale, const float *bias,
                              float *y, size_t ld_y);
void weir_ref_rms_norm(const float *x, size_t ld_x, size_t n_tok, size_t n,
                       const float *weight, float eps, float *y, size_t ld_y);
void weir_ref_silu_mul(float *gate, size_t ld_gate, const float *up,
                       size_t ld_up, size_t n_tok, size_t n);
void weir_ref_add_scaled(float *y, size_t ld_y, const float *x, size_t ld_x,
                         const float *weight, size_t n_tok, size_t n);
void weir_ref_route(const float *logits, size_t ld_logits, size_t n_tok,
                    size_t n_experts, size_t k, uint32_t *expert, float *prob);
void weir_ref_conv(const struct weir_conv *conv);
void weir_ref_scan(const struct weir_scan *scan);
void weir_ref_attention(const struct weir_attention *attention);
void weir_ref_attention_join(float *part, size_t ld_part, size_t n_parts,
                             size_t n_heads, size_t head_dim, float *y);
size_t weir_ref_argmax(const float *x, size_t n);
uint64_t weir_ref_probe_read(const void *data, size_t n_bytes);
uint64_t weir_ref_probe_flop(uint64_t n_steps, float a, float b,
                             unsigned *width, float *sum);

#endif
