/* SPDX-License-Identifier: Apache-2.0 */
/* The short causal convolution before the scan; Gu and Dao 2023, section 3.4 */
#include "kernels/cpu/ref.h"

/* Input `back` tokens before token t, of channel c */
static float input_at(const struct weir_conv *conv, size_t t, size_t back,
                      size_t c)
{
    size_t width = conv->k - 1;

    if (back <= t)
        return conv->x[(t - back) * conv->ld_x + c];
    return conv->state[c * width + width + t - back];
}

/* Keeps the last k - 1 inputs; an old one only ever moves to the front. */
static void keep_window(const struct weir_conv *conv, size_t c)
{
    size_t width = conv->k - 1;

    for (size_t i = 0; i < width; i++)
        conv->state[c * width + i] =
            input_at(conv, conv->n_tok - 1, width - 1 - i, c);
}

void weir_ref_conv(const struct weir_conv *conv)
{
    if (!conv->n_tok)
        return;
    for (size_t t = 0; t < conv->n_tok; t++)
        for (size_t c = 0; c < conv->n_ch; c++) {
            const float *w = conv->w + c * conv->k;
            float v = conv->bias ? conv->bias[c] : 0.0f;

            for (size_t j = 0; j < conv->k; j++)
                v += w[j] * input_at(conv, t, conv->k - 1 - j, c);
            conv->y[t * conv->ld_y + c] = ref_silu(v);
        }
    for (size_t c = 0; c < conv->n_ch; c++)
        keep_window(conv, c);
}
