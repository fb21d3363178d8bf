/* SPDX-License-Identifier: Apache-2.0 */
#include "base/dtype.h"

static const struct {
    const char *name;
    size_t n_bytes;
} dtypes[WEIR_N_DTYPES] = {
    [WEIR_F32] = {"f32", 4},
    [WEIR_BF16] = {"bf16", 2},
    [WEIR_F16] = {"f16", 2},
    [WEIR_I8] = {"i8", 1},
};

size_t weir_dtype_bytes(enum weir_dtype dtype)
{
    return dtypes[dtype].n_bytes;
}

const char *weir_dtype_name(enum weir_dtype dtype)
{
    return dtype < WEIR_N_DTYPES ? dtypes[dtype].name : "?";
}

/* IEEE 754 binary16; a subnormal is mantissa * 2^-24, exact in f32. */
float weir_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    uint32_t exponent = h >> 10 & 0x1f, mantissa = h & 0x3ff, bits;
    float f;

    if (exponent == 0) {
        f = (float)mantissa * 0x1p-24f;
        return sign ? -f : f;
    }
    if (exponent == 0x1f)
        bits = sign | 0x7f800000 | mantissa << 13;
    else
        bits = sign | (exponent + 112) << 23 | mantissa << 13;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

static void widen_bf16(const uint8_t *src, float *dst, size_t n)
{
    uint16_t h;

    for (size_t i = 0; i < n; i++) {
        memcpy(&h, src + 2 * i, sizeof(h));
        dst[i] = weir_bf16_to_f32(h);
    }
}

static void widen_f16(const uint8_t *src, float *dst, size_t n)
{
    uint16_t h;

    for (size_t i = 0; i < n; i++) {
        memcpy(&h, src + 2 * i, sizeof(h));
        dst[i] = weir_f16_to_f32(h);
    }
}

static void widen_i8(const int8_t *src, float *dst, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = src[i];
}

void weir_dtype_widen(enum weir_dtype dtype, const void *src, float *dst,
                      size_t n)
{
    switch (dtype) {
    case WEIR_F32:
        memcpy(dst, src, n * sizeof(*dst));
        break;
    case WEIR_BF16:
        widen_bf16(src, dst, n);
        break;
    case WEIR_F16:
        widen_f16(src, dst, n);
        break;
    default:
        widen_i8(src, dst, n);
        break;
    }
}
