/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on the elements of activations. */
#include "kernels/cpu/ref.h"

void weir_ref_scale_bias(const float *src, size_t ld_src, size_t n_tok,
                         size_t n, const float *scale, const float *bias,
                         float *y, size_t ld_y)
{
    for (size_t t = 0; t < n_tok; t++, src += ld_src, y += ld_y)
        for (size_t r = 0; r < n; r++)
            y[r] = src[r] * (scale ? scale[r] : 1.0f) + (bias ? bias[r] : 0.0f);
}

void weir_ref_turn_scale_bias(const float *src, size_t ld_src, size_t n_tok,
                              size_t n, const float *scale, const float *bias,
                              float *y, size_t ld_y)
{
    for (size_t r = 0; r < n; r++, src += ld_src)
        for (size_t t = 0; t < n_tok; t++)
            y[t * ld_y + r] =
                src[t] * (scale ? scale[r] : 1.0f) + (bias ? bias[r] : 0.0f);
}

/* Root mean square layer normalisation; Zhang and Sennrich 2019, equation 4 */
void weir_ref_rms_norm(const float *x, size_t ld_x, size_t n_tok, size_t n,
                       const float *weight, float eps, float *y, size_t ld_y)
{
    for (size_t t = 0; t < n_tok; t++, x += ld_x, y += ld_y) {
        float mean = ref_dot(WEIR_F32, x, x, n) / (float)n;
        float factor = 1.0f / sqrtf(mean + eps);

        for (size_t i = 0; i < n; i++)
            y[i] = x[i] * factor * weight[i];
    }
}

/* The gated linear unit of Shazeer 2020, SwiGLU */
void weir_ref_silu_mul(float *gate, size_t ld_gate, const float *up,
                       size_t ld_up, size_t n_tok, size_t n)
{
    for (size_t t = 0; t < n_tok; t++, gate += ld_gate, up += ld_up)
        for (size_t i = 0; i < n; i++)
            gate[i] = ref_silu(gate[i]) * up[i];
}

void weir_ref_add_scaled(float *y, size_t ld_y, const float *x, size_t ld_x,
                         const float *weight, size_t n_tok, size_t n)
{
    for (size_t t = 0; t < n_tok; t++, y += ld_y, x += ld_x)
        for (size_t i = 0; i < n; i++)
            y[i] += x[i] * (weight ? weight[t] : 1.0f);
}

size_t weir_ref_argmax(const float *x, size_t n)
{
    size_t best = 0;

    for (size_t i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}
