/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The causal convolution, written once over the vectors of a level: the file
 * that includes this has included them before.
 *
 * It goes along the channels.  Weights and window lie channel by channel and
 * are turned once a call; a group of channels then passes all tokens.  The sum
 * of a token runs from the bias up, tap by tap, in one rounding each.
 */
#ifndef WEIR_KERNELS_CPU_CONV_H
#define WEIR_KERNELS_CPU_CONV_H

#include "kernels/cpu/ref.h"

#define GROUP    (64 / LANES) /* vectors of channels that pass together */
#define MAX_TAPS 8            /* that vectors are kept for */

struct group {
    vec w[GROUP][MAX_TAPS];
    vec past[GROUP][MAX_TAPS]; /* the inputs before the first token */
    vec bias[GROUP];
};

/* Input number i of `some` channels from c, counted from the oldest past one */
INLINE vec input_at(const struct weir_conv *conv, const vec *past, size_t width,
                    size_t i, size_t c, size_t some)
{
    if (i < width)
        return past[i];
    return vec_load(conv->x + (i - width) * conv->ld_x + c, some);
}

INLINE void group_load(const struct weir_conv *conv, struct group *group,
                       size_t from, size_t to, size_t k)
{
    size_t width = k - 1;

    for (size_t c = from, v = 0; c < to; c += LANES, v++) {
        size_t some = lanes_of(to, c);

        for (size_t j = 0; j < k; j++)
            group->w[v][j] = vec_gather(conv->w + c * k + j, k, some);
        for (size_t j = 0; j < width; j++)
            group->past[v][j] =
                vec_gather(conv->state + c * width + j, width, some);
        group->bias[v] =
            conv->bias ? vec_load(conv->bias + c, some) : vec_all(0.0f);
    }
}

/* Leaves the last k - 1 inputs; an old one only ever moves to the front. */
INLINE void group_keep(const struct weir_conv *conv, const struct group *group,
                       size_t from, size_t to, size_t k)
{
    size_t width = k - 1;

    for (size_t c = from, v = 0; c < to; c += LANES, v++) {
        size_t some = lanes_of(to, c);

        for (size_t j = 0; j < width; j++)
            vec_scatter(
                conv->state + c * width + j, width,
                input_at(conv, group->past[v], width, conv->n_tok + j, c, some),
                some);
    }
}

INLINE void conv_of(const struct weir_conv *conv, size_t k)
{
    struct group group;

    for (size_t from = 0, to; from < conv->n_ch; from = to) {
        to = conv->n_ch - from < GROUP * LANES ? conv->n_ch
                                               : from + GROUP * LANES;
        group_load(conv, &group, from, to, k);
        for (size_t t = 0; t < conv->n_tok; t++)
            for (size_t c = from, v = 0; c < to; c += LANES, v++) {
                size_t some = lanes_of(to, c);
                vec sum = group.bias[v];

                for (size_t j = 0; j < k; j++)
                    sum = vec_fma(
                        group.w[v][j],
                        input_at(conv, group.past[v], k - 1, t + j, c, some),
                        sum);
                vec_store(conv->y + t * conv->ld_y + c, vec_silu(sum), some);
            }
        group_keep(conv, &group, from, to, k);
    }
}

static void conv(const struct weir_conv *conv)
{
    if (conv->k > MAX_TAPS)
        weir_ref_conv(conv);
    else if (conv->k == 4) /* of all published models */
        conv_of(conv, 4);
    else
        conv_of(conv, conv->k);
}

#endif
