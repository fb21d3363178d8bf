/* SPDX-License-Identifier: Apache-2.0 */
/* Element types of weights, and their exact widening to f32. */
#ifndef WEIR_BASE_DTYPE_H
#define WEIR_BASE_DTYPE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The values stand in weir files; weir-file(5). */
enum weir_dtype {
    WEIR_F32 = 0,
    WEIR_BF16 = 1,
    WEIR_F16 = 2,
    WEIR_I8 = 3,
    WEIR_N_DTYPES
};

/* Bytes of one element; `dtype` must be valid. */
size_t weir_dtype_bytes(enum weir_dtype dtype);

/* "f32", "bf16", "f16", "i8"; never NULL. */
const char *weir_dtype_name(enum weir_dtype dtype);

/* Widens `n` elements at `src` to f32, exactly. */
void weir_dtype_widen(enum weir_dtype dtype, const void *src, float *dst,
                      size_t n);

static inline float weir_bf16_to_f32(uint16_t h)
{
    uint32_t bits = (uint32_t)h << 16;
    float f;

    memcpy(&f, &bits, sizeof(f));
    return f;
}

/* Round to nearest, ties to even; NaN stays NaN. */
static inline uint16_t weir_f32_to_bf16(float f)
{
    uint32_t bits;

    memcpy(&bits, &f, sizeof(bits));
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float weir_f16_to_f32(uint16_t h);

#endif
