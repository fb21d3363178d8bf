/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/quantize.h"

#include <math.h>
#include <string.h>

#define LANES    16
#define INF_BITS 0x7f800000u

static uint32_t magnitude_bits(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof(bits));
    return bits & 0x7fffffff;
}

/* Magnitudes of floats order as their bits do, infinities and NaNs on top. */
static uint32_t largest_magnitude(const float *row, size_t n)
{
    uint32_t lane[LANES] = {0}, largest = 0;
    size_t i = 0;

    for (; i + LANES <= n; i += LANES)
        for (size_t l = 0; l < LANES; l++) {
            uint32_t bits = magnitude_bits(row[i + l]);

            lane[l] = bits > lane[l] ? bits : lane[l];
        }
    for (; i < n; i++)
        if (magnitude_bits(row[i]) > largest)
            largest = magnitude_bits(row[i]);
    for (size_t l = 0; l < LANES; l++)
        largest = lane[l] > largest ? lane[l] : largest;
    return largest;
}

/*
 * Adding and taking away 1.5 * 2^23 leaves no bits for a fraction, so the
 * addition rounds to a whole number in the current mode: nearest, even.
 */
static int8_t round_to_int8(float x)
{
    const float magic = 12582912.0f;

    x = x > 127.0f ? 127.0f : x;
    x = x < -127.0f ? -127.0f : x;
    return (int8_t)((x + magic) - magic);
}

float weir_quantize_row(const float *row, size_t n, int8_t *q)
{
    uint32_t largest = largest_magnitude(row, n);
    float scale;
    size_t i = 0;

    if (largest >= INF_BITS)
        return NAN;
    memcpy(&scale, &largest, sizeof(scale));
    scale /= 127.0f;
    if (scale == 0.0f) {
        memset(q, 0, n);
        return 1.0f;
    }
    for (; i + LANES <= n; i += LANES)
        for (size_t l = 0; l < LANES; l++)
            q[i + l] = round_to_int8(row[i + l] / scale);
    for (; i < n; i++)
        q[i] = round_to_int8(row[i] / scale);
    return scale;
}
