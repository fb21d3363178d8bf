/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Words of gemm.h that are two columns in bf16, the first in the lower half.
 * Activations are rounded to the nearest, ties to even; int8 widens exactly.
 */
#ifndef WEIR_KERNELS_CPU_GEMM_BF16_H
#define WEIR_KERNELS_CPU_GEMM_BF16_H

#include "kernels/kernels.h"

#define GEMM_ACT  WEIR_BF16
#define GEMM_COLS 2

/* A term of column 0 of 16 tokens, as bf16 in lanes of 32 bits */
INLINE __m512i round_column(const float *x, size_t ld_x, size_t n_tok,
                            unsigned term)
{
    vec v = vec_gather(x, ld_x, n_tok);
    __m512i rounded = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(v));

    if (term == 0)
        return rounded;
    v -= _mm512_castsi512_ps(_mm512_slli_epi32(rounded, 16));
    return _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(v));
}

INLINE void pack_words(const float *x, size_t ld_x, size_t n_tok, size_t left,
                       unsigned term, uint32_t *to)
{
    __m512i words = round_column(x, ld_x, n_tok, term);

    if (left > 1)
        words = _mm512_or_si512(
            words,
            _mm512_slli_epi32(round_column(x + 1, ld_x, n_tok, term), 16));
    _mm512_storeu_si512(to, words);
}

/* Upper and lower bytes of the numbers 0 to 127 as bf16 */
static const _Alignas(64) uint8_t upper[128] = {
    0x00, 0x3f, 0x40, 0x40, 0x40, 0x40, 0x40, 0x40, 0x41, 0x41, 0x41, 0x41,
    0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41,
    0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x42, 0x42, 0x42, 0x42,
    0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42,
    0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42,
    0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42,
    0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42,
    0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42,
    0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42,
    0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42,
    0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42,
};
static const _Alignas(64) uint8_t lower[128] = {
    0x00, 0x80, 0x00, 0x40, 0x80, 0xa0, 0xc0, 0xe0, 0x00, 0x10, 0x20, 0x30,
    0x40, 0x50, 0x60, 0x70, 0x80, 0x88, 0x90, 0x98, 0xa0, 0xa8, 0xb0, 0xb8,
    0xc0, 0xc8, 0xd0, 0xd8, 0xe0, 0xe8, 0xf0, 0xf8, 0x00, 0x04, 0x08, 0x0c,
    0x10, 0x14, 0x18, 0x1c, 0x20, 0x24, 0x28, 0x2c, 0x30, 0x34, 0x38, 0x3c,
    0x40, 0x44, 0x48, 0x4c, 0x50, 0x54, 0x58, 0x5c, 0x60, 0x64, 0x68, 0x6c,
    0x70, 0x74, 0x78, 0x7c, 0x80, 0x82, 0x84, 0x86, 0x88, 0x8a, 0x8c, 0x8e,
    0x90, 0x92, 0x94, 0x96, 0x98, 0x9a, 0x9c, 0x9e, 0xa0, 0xa2, 0xa4, 0xa6,
    0xa8, 0xaa, 0xac, 0xae, 0xb0, 0xb2, 0xb4, 0xb6, 0xb8, 0xba, 0xbc, 0xbe,
    0xc0, 0xc2, 0xc4, 0xc6, 0xc8, 0xca, 0xcc, 0xce, 0xd0, 0xd2, 0xd4, 0xd6,
    0xd8, 0xda, 0xdc, 0xde, 0xe0, 0xe2, 0xe4, 0xe6, 0xe8, 0xea, 0xec, 0xee,
    0xf0, 0xf2, 0xf4, 0xf6, 0xf8, 0xfa, 0xfc, 0xfe,
};

/*
 * 64 int8 as bf16, the first 32 and then the others: the bytes of their
 * magnitudes are looked up, which takes a third of the time that conversion by
 * way of f32 does.  -128 has no magnitude in a byte: it is put in by itself.
 */
INLINE void widen_64(__m512i v, __m512i out[2])
{
    const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
    const __m512i least = _mm512_set1_epi8(-128);
    __m512i low, high, size;

    v = _mm512_permutexvar_epi64(order, v);
    size = _mm512_abs_epi8(v);
    low = _mm512_permutex2var_epi8(_mm512_load_si512(lower), size,
                                   _mm512_load_si512(lower + 64));
    high = _mm512_permutex2var_epi8(_mm512_load_si512(upper), size,
                                    _mm512_load_si512(upper + 64));
    high = _mm512_or_si512(high, _mm512_and_si512(v, least));
    high = _mm512_mask_mov_epi8(high, _mm512_cmpeq_epi8_mask(size, least),
                                _mm512_set1_epi8((char)0xc3));
    out[0] = _mm512_unpacklo_epi8(low, high);
    out[1] = _mm512_unpackhi_epi8(low, high);
}

/* Lanes i to i + 63 of those below n */
INLINE __mmask64 below(size_t n, size_t i)
{
    size_t left = n > i ? n - i : 0;

    return left < 64 ? (UINT64_C(1) << left) - 1 : ~UINT64_C(0);
}

INLINE void widen_int8(const uint8_t *row, size_t cols, size_t n, uint32_t *to)
{
    __m512i out[2];

    for (size_t i = 0; i < 2 * n; i += 64) {
        widen_64(_mm512_maskz_loadu_epi8(below(cols, i), row + i), out);
        _mm512_storeu_si512(to + i / 2, out[0]);
        if (i + 32 < 2 * n)
            _mm512_storeu_si512(to + i / 2 + 16, out[1]);
    }
}

INLINE void copy_bf16(const uint16_t *row, size_t cols, size_t n, uint32_t *to)
{
    for (size_t i = 0; i < 2 * n; i += 32)
        _mm512_storeu_si512(
            to + i / 2,
            _mm512_maskz_loadu_epi16((__mmask32)below(cols, i), row + i));
}

/* `dtype` is WEIR_BF16 or WEIR_I8 */
static void widen_words(enum weir_dtype dtype, const uint8_t *row, size_t c,
                        size_t cols, size_t n, uint32_t *to)
{
    if (dtype == WEIR_BF16)
        copy_bf16((const uint16_t *)row + c, cols, n, to);
    else
        widen_int8(row + c, cols, n, to);
}

/* sum + w0 * x0 + w1 * x1, as VDPBF16PS rounds it */
INLINE vec step(vec sum, vec w, vec x)
{
    return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_castps_si512(w),
                            (__m512bh)_mm512_castps_si512(x));
}

#endif
